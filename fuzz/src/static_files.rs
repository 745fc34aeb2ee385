//! `Range`, which keeps its items to its parent.

#[path = "../../src/codec/range.rs"]
mod range;

/// The parts that a `Range` field asks for: `None` for the whole, empty for 416.
pub fn parse_range(value: &str, size: u64) -> Option<Vec<std::ops::Range<u64>>> {
    match range::parse(value, size) {
        range::Parts::Whole => None,
        range::Parts::Some(parts) => Some(parts),
        range::Parts::Unsatisfiable => Some(Vec::new()),
    }
}
