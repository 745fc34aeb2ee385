//! The messages of `paster attach` to the process that has the terminal of a program: keys, and the size of the terminal.
//! It gets back what the program writes.
//!
//! Each part has a byte for its kind, and two for its length, little-endian.

/// One part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input<'a> {
    /// Keys.
    Keys(&'a [u8]),
    /// The size of the terminal has changed.
    Size {
        /// Lines.
        rows: u16,
        /// Characters per line.
        columns: u16,
    },
}

/// The encoding of keys; at most 65,535 bytes count.
pub(crate) fn encode_keys(keys: &[u8]) -> Vec<u8> {
    let length = u16::try_from(keys.len()).unwrap_or(u16::MAX);
    let mut out = vec![0];
    out.extend(length.to_le_bytes());
    out.extend(&keys[..usize::from(length)]);
    out
}

/// The encoding of a size.
pub(crate) fn encode_size(rows: u16, columns: u16) -> Vec<u8> {
    let mut out = vec![1, 4, 0];
    out.extend(rows.to_le_bytes());
    out.extend(columns.to_le_bytes());
    out
}

/// The first part of `input`, and its length there; `None` if more bytes are needed. Unknown parts are no keys.
pub(crate) fn decode(input: &[u8]) -> Option<(Input<'_>, usize)> {
    let (&[kind, low, high], rest) = input.split_first_chunk::<3>()?;
    let length = usize::from(u16::from_le_bytes([low, high]));
    let content = rest.get(..length)?;
    let part = match (kind, content) {
        (0, keys) => Input::Keys(keys),
        (1, &[r0, r1, c0, c1]) => {
            Input::Size { rows: u16::from_le_bytes([r0, r1]), columns: u16::from_le_bytes([c0, c1]) }
        }
        _ => Input::Keys(&[]),
    };
    Some((part, 3 + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let mut input = encode_keys(b"n\n");
        input.extend(encode_size(40, 300));
        assert_eq!(decode(&input), Some((Input::Keys(b"n\n"), 5)));
        assert_eq!(decode(&input[5..]), Some((Input::Size { rows: 40, columns: 300 }, 7)));
        assert_eq!(decode(&input[5..11]), None);
    }
}
