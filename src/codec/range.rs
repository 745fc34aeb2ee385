//! The `Range` field: from text to the parts of a content. It does not access files.

use std::ops::Range;

/// More ranges than this are not answered in parts.
const MOST: usize = 16;

/// How to answer a `Range` field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RangeResponse {
    /// The whole content: the field is not useful, and a server may ignore it.
    Whole,
    /// One or more parts, as byte offsets, in the requested order. None is empty.
    Some(Vec<Range<u64>>),
    /// None of the requested parts exists: 416.
    Unsatisfiable,
}

/// Parses a `Range` field for a content of `size` bytes.
///
/// A field that is malformed or has another unit is ignored. So is one with more than 16 ranges, or whose
/// ranges add up to more than the content (they overlap), because it would cost more than the whole.
/// # Source
/// RFC 9110, sections 14.1.1, 14.1.2 and 14.2.
pub fn parse(value: &str, size: u64) -> RangeResponse {
    let Some((unit, set)) = value.split_once('=') else { return RangeResponse::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return RangeResponse::Whole;
    }
    let mut parts = Vec::new();
    for (index, spec) in set.split(',').enumerate() {
        if index >= MOST {
            return RangeResponse::Whole;
        }
        match one(spec.trim_matches([' ', '\t']), size) {
            Some(range) if range.is_empty() => {}
            Some(range) => parts.push(range),
            None => return RangeResponse::Whole,
        }
    }
    let mut lengths = parts.iter().map(|part| part.end - part.start);
    let sum = lengths.try_fold(0, u64::checked_add);
    match parts.len() {
        0 => RangeResponse::Unsatisfiable,
        2.. if sum.is_none_or(|sum| sum > size) => RangeResponse::Whole,
        _ => RangeResponse::Some(parts),
    }
}

/// One `first-last`, `first-` or `-length`; empty if it is beyond the end, `None` if it is malformed.
fn one(spec: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = spec.split_once('-')?;
    if first.is_empty() {
        let length = number(last)?.min(size);
        return Some(size - length..size);
    }
    let first = number(first)?;
    let last = match last {
        "" => u64::MAX,
        last => number(last)?,
    };
    if last < first {
        return None;
    }
    Some(first.min(size)..last.saturating_add(1).min(size))
}

/// Only digits; a number too large for `u64` becomes a very large one.
fn number(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ten_bytes() {
        let check = |value: &str, expected: &[(u64, u64)]| {
            let expected = expected.iter().map(|(start, end)| *start..*end).collect();
            assert_eq!(parse(value, 10), RangeResponse::Some(expected), "{value}");
        };
        check("bytes=0-0", &[(0, 1)]);
        check("Bytes = 2-4".replace(" = ", "=").as_str(), &[(2, 5)]);
        check("bytes=5-", &[(5, 10)]);
        check("bytes=-3", &[(7, 10)]);
        check("bytes=-300", &[(0, 10)]);
        check("bytes=8-99999999999999999999999999", &[(8, 10)]);
        check("bytes=0-1, 4-5 ,-1", &[(0, 2), (4, 6), (9, 10)]);
        check("bytes=0-1,50-60", &[(0, 2)]);
        // The sum of these overflows.
        assert_eq!(parse("bytes=0-,0-", u64::MAX), RangeResponse::Whole);
        for value in ["bytes=10-", "bytes=50-60", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(parse(value, 10), RangeResponse::Unsatisfiable, "{value}");
        }
        let many = format!("bytes={}", vec!["0-0"; 17].join(","));
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=a-b",
            "bytes=3-2",
            "lines=0-1",
            "bytes=+1-2",
            "bytes=0-9,0-9",
            &many,
        ] {
            assert_eq!(parse(value, 10), RangeResponse::Whole, "{value}");
        }
        assert_eq!(parse("bytes=0-", 0), RangeResponse::Unsatisfiable);
    }
}
