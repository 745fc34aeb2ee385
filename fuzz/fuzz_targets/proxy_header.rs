//! A PROXY header is read the same however it is split, is within its limit, and never asks for more than that.
#![no_main]

use libfuzzer_sys::fuzz_target;
use paster_fuzz::proxy_protocol::{LIMIT_BYTES, parse};

fuzz_target!(|input: &[u8]| {
    let whole = parse(input);
    for end in 0..input.len().min(256) {
        // An early answer is the final one.
        match parse(&input[..end]) {
            Ok(None) => {}
            Ok(early) => assert_eq!(Ok(early), whole),
            // What is wrong may be seen to be worse.
            Err(_) => assert!(whole.is_err()),
        }
    }
    match whole {
        Ok(Some((_, used))) => assert!(used <= input.len() && used <= LIMIT_BYTES),
        Ok(None) => assert!(input.len() < LIMIT_BYTES),
        Err(_) => {}
    }
});
