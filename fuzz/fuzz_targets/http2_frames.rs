//! Frames are tracked identically however their bytes are split, and according to the lengths in their heads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use paster_fuzz::follow;

const PREFACE_BYTES: usize = 24;

/// What is to be told, of all the bytes at once.
fn expected(input: &[u8]) -> Option<(bool, u64)> {
    let Some(mut input) = input.get(PREFACE_BYTES..) else { return Some((true, 0)) };
    let (mut whole, mut block) = (1, false);
    while let [a, b, c, kind, flags, _, _, _, _, rest @ ..] = input {
        if whole == 1 && *kind != 4 {
            return None;
        }
        if matches!(kind, 1 | 9) {
            block = flags & 4 == 0;
        }
        let Some(next) = rest.get(u32::from_be_bytes([0, *a, *b, *c]) as usize..) else {
            return Some((*kind != 0 || block, whole));
        };
        input = next;
        whole += u64::from(!block);
    }
    Some((!input.is_empty() || block, whole))
}

fuzz_target!(|input: &[u8]| {
    let expected = expected(input);
    let step = input.last().map_or(1, |byte| usize::from(byte % 16) + 1);
    assert_eq!(follow([input].into_iter()), expected);
    assert_eq!(follow(input.chunks(step)), expected);
});
