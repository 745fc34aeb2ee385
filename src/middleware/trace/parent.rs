//! The field `traceparent`.
//!
//! # Source
//! W3C Trace Context, sections 3.2 and 4: <https://www.w3.org/TR/trace-context/>.

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace that a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace: [u8; 16],
    /// The caller's span; zeros if there is none.
    pub(super) span: [u8; 8],
    pub(super) sampled: bool,
}

impl Parent {
    /// Parses the caller's field; `None` if there is none, more than one, or a malformed one.
    pub(super) fn read(headers: &HeaderMap) -> Option<Parent> {
        let mut fields = headers.get_all(TRACEPARENT).iter();
        let text = fields.next()?.to_str().ok()?;
        if fields.next().is_some() {
            return None;
        }
        Parent::parse(text)
    }

    fn parse(text: &str) -> Option<Parent> {
        let mut parts = text.split('-');
        let version: [u8; 1] = bytes(parts.next()?)?;
        let trace: [u8; 16] = bytes(parts.next()?)?;
        let span: [u8; 8] = bytes(parts.next()?)?;
        let [flags]: [u8; 1] = bytes(parts.next()?)?;
        // Version 0 has four parts; a later version may have more; 0xff is forbidden.
        let whole = version != [0] || parts.next().is_none();
        let valid = whole && version != [0xff] && trace != [0; 16] && span != [0; 8];
        valid.then_some(Parent { trace, span, sampled: flags & 1 == 1 })
    }

    /// Begins a trace; `sample` is the fraction of traces that are sampled.
    pub(super) fn begin(sample: f64) -> Parent {
        let trace = *uuid::Uuid::new_v4().as_bytes();
        // As OpenTelemetry's TraceIdRatioBased: every service of a trace decides in the same way. The last
        // seven bytes of the id are fully random.
        let mut low = [0; 8];
        low[1..].copy_from_slice(&trace[9..]);
        let place = u64::from_be_bytes(low) as f64 / (1_u64 << 56) as f64;
        Parent { trace, span: [0; 8], sampled: place < sample }
    }

    /// Makes `own` the parent for inner parts. A `tracestate` belongs to the trace that it arrived with.
    pub(super) fn write(&self, headers: &mut HeaderMap, own: [u8; 8]) {
        if self.span == [0; 8] {
            headers.remove(TRACESTATE);
        }
        let flags = u8::from(self.sampled);
        let text = format!("00-{}-{}-{flags:02x}", hex(&self.trace), hex(&own));
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(TRACEPARENT, value);
        }
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Exactly `N` bytes in lower-case hexadecimal digits.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_as_the_recommendation_has_them() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = Parent::parse(good).unwrap();
        assert!(parent.sampled);
        let mut headers = HeaderMap::new();
        parent.write(&mut headers, parent.span);
        assert_eq!(headers[TRACEPARENT], good);
        assert!(Parent::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more").is_some());
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Parent::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_part_of_the_traces_is_sampled() {
        let sampled = (0..2000).filter(|_| Parent::begin(0.25).sampled).count();
        assert!((350..650).contains(&sampled), "{sampled}");
        assert!((0..50).all(|_| Parent::begin(1.0).sampled && !Parent::begin(0.0).sampled));
    }
}
