//! A head is read identically however it is split, respects its limit, and survives writing and reading it again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use paster_fuzz::cgi;
use paster_fuzz::scgi::{encode_head, parse_head};

const LIMIT: usize = 64 * 1024;

fuzz_target!(|input: &[u8]| {
    let whole = parse_head(input, LIMIT);
    for end in (0..input.len()).step_by(input.len() / 8 + 1) {
        // An early answer is the final one.
        match parse_head(&input[..end], LIMIT) {
            Ok(None) => {}
            early => assert_eq!(early, whole),
        }
    }
    if let Ok(Some((head, used))) = whole {
        assert!(used <= input.len());
        let written = encode_head(head.content_length, &head.variables).unwrap();
        let (again, all) = parse_head(&written, LIMIT + 64).unwrap().unwrap();
        assert_eq!(all, written.len());
        assert_eq!(again.content_length, head.content_length);
        assert_eq!(again.variables.get("HTTP_HOST"), head.variables.get("HTTP_HOST"));
    }
    // The answer to it, as a bridge reads it.
    if let Ok(Some((_, used))) = cgi::parse_head(input, LIMIT, 100) {
        assert!(used <= input.len());
    }
});
