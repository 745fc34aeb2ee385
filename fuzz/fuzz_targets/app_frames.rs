//! Frames of a process that runs an application are the same however their bytes are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use paster_frames::{FilePart, Incoming, Level, Malformed, Pairs, ProcessStatus, ResponseHead};

/// Everything about the frames of `pieces`, and the error that ends them.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Option<Malformed>) {
    let (mut incoming, mut seen) = (Incoming::default(), Vec::new());
    for piece in pieces {
        incoming.put(piece);
        loop {
            match incoming.next_frame() {
                Ok(Some(frame)) => {
                    let head = ResponseHead::read(&frame.payload).map(|head| head.fields.count());
                    let pairs = Pairs::new(&frame.payload).count();
                    let other = (FilePart::read(&frame.payload), ProcessStatus::read(&frame.payload));
                    let level = Level::split(&frame.payload).map(|(level, text)| (level, text.len()));
                    seen.push(format!("{frame:?} {head:?} {pairs} {other:?} {level:?} {:?}", frame.credit()));
                }
                Ok(None) => break,
                Err(malformed) => return (seen, Some(malformed)),
            }
        }
    }
    (seen, None)
}

fuzz_target!(|data: &[u8]| {
    let Some((step, bytes)) = data.split_first() else { return };
    let whole = read(std::iter::once(bytes));
    let split = read(bytes.chunks(usize::from(*step).max(1)));
    assert_eq!(whole, split);
});
