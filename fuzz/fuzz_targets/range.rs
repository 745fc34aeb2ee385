//! The parts of a content lie within it, none is empty, and together they are not more than it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use paster_fuzz::static_files::parse_range;

fuzz_target!(|input: (u64, &str)| {
    let (size, value) = input;
    for value in [value.to_owned(), format!("bytes={value}")] {
        let parts = parse_range(&value, size).unwrap_or_default();
        assert!(parts.len() <= 16);
        let mut sum = 0_u64;
        for part in &parts {
            assert!(part.start < part.end && part.end <= size, "{part:?} of {size}");
            sum = sum.checked_add(part.end - part.start).unwrap();
        }
        assert!(sum <= size);
    }
});
