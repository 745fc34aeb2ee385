//! `Range`, which keeps its items to its parent.

#[path = "../../src/codec/range.rs"]
mod range;

/// The parts that a `Range` field asks for: `None` for the whole, empty for 416.
pub fn parse_range(value: &str, size: u64) -> Option<Vec<std::ops::Range<u64>>> {
    match range::parse(value, size) {
        range::RangeResponse::Whole => None,
        range::RangeResponse::Some(parts) => Some(parts),
        range::RangeResponse::Unsatisfiable => Some(Vec::new()),
    }
}
