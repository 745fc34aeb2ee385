//! Passes the types of the crates `bytes`, `http` and `http-body` across the border, for both Rust sides.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{Buffer, Frame, Header, Slice, names};
use crate::{FRAME_DATA, FRAME_END, FRAME_ERROR, FRAME_TRAILERS};

/// Passes bytes on without copying them.
pub fn buffer(bytes: Bytes) -> Buffer {
    unsafe extern "C" fn release(owner: *mut core::ffi::c_void) {
        // SAFETY: `owner` came from `Box::into_raw` below and is released once.
        let bytes = unsafe { Box::from_raw(owner.cast::<Bytes>()) };
        // The bytes may be the application's own, with a destructor that panics. It must not cross the border, and there is no
        // one to report it to.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(bytes)));
    }
    if bytes.is_empty() {
        return Buffer::EMPTY;
    }
    let (data, len) = (bytes.as_ptr(), bytes.len());
    Buffer { data, len, owner: Box::into_raw(Box::new(bytes)).cast(), release: Some(release) }
}

/// Takes a buffer over as bytes, without copying them.
/// # Safety
/// The buffer must keep the ABI's promise: `len` bytes at `data` until its release.
pub unsafe fn bytes(buffer: Buffer) -> Bytes {
    struct Owner(Buffer);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            // SAFETY: the caller of `bytes` guaranteed it.
            unsafe { self.0.bytes() }
        }
    }
    match buffer.release {
        Some(_) => Bytes::from_owner(Owner(buffer)),
        // SAFETY: without a release the bytes live as long as the process.
        None => Bytes::from_static(unsafe { Slice { data: buffer.data, len: buffer.len }.bytes() }),
    }
}

/// Appends the fields of `map` to `out`, borrowed: `out` is valid while `map` is neither changed nor moved.
pub fn lend_headers(map: &HeaderMap, out: &mut Vec<Header>) {
    out.reserve(map.len());
    for (name, value) in map {
        let name = name.as_str().as_bytes();
        out.push(Header {
            number: names::number(name),
            name: Slice::new(name),
            value: Slice::new(value.as_bytes()),
        });
    }
}

/// Whether to check the header values of the other side.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// They came from a `HeaderValue` of the host, so they are already checked.
    Values,
    /// They are checked here.
    Nothing,
}

/// Copies header fields into a map: their values into one block of memory, well-known names by number.
/// # Errors
/// A field that is not valid; names it.
/// # Safety
/// `headers` must point to `count` fields whose slices live for the call.
pub unsafe fn read_headers(headers: *const Header, count: usize) -> Result<HeaderMap, String> {
    // SAFETY: guaranteed by the caller.
    unsafe { read_head(&[], headers, count, Trust::Nothing) }.map(|(_, map)| map)
}

/// The same, with other `texts`, which are placed one after the other in the same block. Allocates no block
/// or map if this thread has spare ones: see [`recycle`].
/// # Errors
/// As [`read_headers`].
/// # Safety
/// As [`read_headers`]; `texts` live for the call too.
pub unsafe fn read_head(
    texts: &[Slice],
    headers: *const Header,
    count: usize,
    trust: Trust,
) -> Result<(Bytes, HeaderMap), String> {
    static KNOWN: LazyLock<Vec<HeaderName>> =
        LazyLock::new(|| names::NAMES.iter().map(|name| HeaderName::from_static(name)).collect());
    let fields: &[Header] = match headers.is_null() {
        true => &[],
        // SAFETY: guaranteed by the caller.
        false => unsafe { core::slice::from_raw_parts(headers, count) },
    };
    let len = texts.iter().map(|text| text.len).sum::<usize>();
    let whole = len + fields.iter().map(|field| field.value.len).sum::<usize>();
    // SAFETY: guaranteed by the caller: the slices live for the call, and `whole` is the sum of their lengths.
    let mut block =
        unsafe { spare::copied(whole, texts.iter().chain(fields.iter().map(|field| &field.value))) };
    let texts = block.split_to(len);
    let mut map = spare::map();
    map.reserve(fields.len());
    let known: &[HeaderName] = &KNOWN;
    for field in fields {
        let value = block.split_to(field.value.len);
        // SAFETY: guaranteed by the caller.
        let text = || unsafe { field.name.text() };
        let name = match field.number.checked_sub(1).and_then(|index| known.get(index)) {
            Some(name) => name.clone(),
            // SAFETY: guaranteed by the caller.
            None => HeaderName::from_bytes(unsafe { field.name.bytes() })
                .map_err(|_| format!("`{}` is not a header name", text()))?,
        };
        let value = match trust {
            // SAFETY: the values came from `HeaderValue`s.
            Trust::Values => unsafe { HeaderValue::from_maybe_shared_unchecked(value) },
            Trust::Nothing => HeaderValue::from_maybe_shared(value)
                .map_err(|_| format!("the value of the header `{}` contains a control character", text()))?,
        };
        map.append(name, value);
    }
    Ok((texts, map))
}

/// Keeps a map's memory for the next head that this thread reads.
pub fn recycle(map: HeaderMap) {
    spare::keep(map);
}

/// Memory that a thread reuses for one head after another.
mod spare {
    use core::cell::Cell;

    use bytes::{Bytes, BytesMut};
    use http::HeaderMap;

    use crate::Slice;

    /// The size of the block that small heads share. A value that is kept also keeps its block, just as one
    /// that hyper has read keeps its connection's buffer.
    const BLOCK_BYTES: usize = 4096;
    /// A larger head gets its own block.
    const SMALL_BYTES: usize = 1024;
    /// A map with more room than this is not kept.
    const MAP_FIELDS: usize = 64;

    std::thread_local! {
        static BLOCK: Cell<Option<BytesMut>> = const { Cell::new(None) };
        static MAP: Cell<Option<HeaderMap>> = const { Cell::new(None) };
    }

    /// Copies `slices` one after the other.
    /// # Safety
    /// They must live for the call, and `len` must be the sum of their lengths.
    pub(super) unsafe fn copied<'a>(len: usize, slices: impl Iterator<Item = &'a Slice>) -> Bytes {
        if len == 0 {
            return Bytes::new();
        }
        let small = len <= SMALL_BYTES;
        let kept = if small { BLOCK.take() } else { None };
        let mut block =
            kept.unwrap_or_else(|| BytesMut::with_capacity(if small { BLOCK_BYTES } else { len }));
        block.reserve(len);
        let mut at = block.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        for slice in slices {
            if slice.len > 0 {
                // SAFETY: the caller guarantees that the slice lives; the block has space for all of them.
                unsafe {
                    core::ptr::copy_nonoverlapping(slice.data, at, slice.len);
                    at = at.add(slice.len);
                }
            }
        }
        // SAFETY: the block was empty, and `len` bytes have been written.
        unsafe { block.set_len(len) };
        if !small {
            return block.freeze();
        }
        let bytes = block.split().freeze();
        BLOCK.set(Some(block));
        bytes
    }

    /// An empty map, with memory from a spare one if there is one.
    pub(super) fn map() -> HeaderMap {
        MAP.take().unwrap_or_default()
    }

    pub(super) fn keep(mut map: HeaderMap) {
        if (1..=MAP_FIELDS).contains(&map.capacity()) {
            map.clear();
            MAP.set(Some(map));
        }
    }
}

/// Trailer fields that are lent to the other side until the next call.
pub struct Trailers {
    fields: Vec<Header>,
    _map: HeaderMap,
}

// SAFETY: the fields borrow from the map beside them. Its text does not move with it and is only read.
unsafe impl Send for Trailers {}

impl Trailers {
    /// Keeps `map` and lends its fields in `frame`.
    pub fn lend(map: HeaderMap, frame: &mut Frame) -> Box<Trailers> {
        let mut fields = Vec::with_capacity(map.len());
        // The map is first moved to its place in the box, then its fields are lent.
        let mut kept = Box::new(Trailers { fields: Vec::new(), _map: map });
        lend_headers(&kept._map, &mut fields);
        kept.fields = fields;
        frame.kind = FRAME_TRAILERS;
        frame.headers = kept.fields.as_ptr();
        frame.header_count = kept.fields.len();
        kept
    }
}

/// Writes the result of polling a body. `ended` tells whether a frame of data is the last. Returns trailers,
/// which must be kept until the next call.
pub fn write_frame<E: std::fmt::Display>(
    polled: Option<Result<http_body::Frame<Bytes>, E>>,
    ended: bool,
    out: &mut Frame,
) -> Option<Box<Trailers>> {
    match polled {
        None => *out = Frame::END,
        Some(Err(error)) => *out = Frame::error(error.to_string()),
        Some(Ok(frame)) => match frame.into_data() {
            Ok(data) => *out = Frame::data(buffer(data), ended),
            Err(frame) => {
                if let Ok(map) = frame.into_trailers() {
                    return Some(Trailers::lend(map, out));
                }
                // Any other kind of frame has no meaning in HTTP.
                *out = Frame::data(Buffer::EMPTY, ended);
            }
        },
    }
    None
}

/// A frame as it was read.
pub struct ReadFrame {
    /// What `poll_frame` of an `http_body::Body` returns.
    pub frame: Option<Result<http_body::Frame<Bytes>, String>>,
    /// Whether it ended the body.
    pub ended: bool,
}

/// Reads a frame that the other side wrote.
/// # Safety
/// The frame must keep the ABI's promises.
pub unsafe fn read_frame(frame: &mut Frame) -> ReadFrame {
    match frame.kind {
        FRAME_DATA => {
            // SAFETY: guaranteed by the caller.
            let data = unsafe { bytes(frame.data.take()) };
            ReadFrame { frame: Some(Ok(http_body::Frame::data(data))), ended: frame.last != 0 }
        }
        FRAME_TRAILERS => {
            // SAFETY: guaranteed by the caller.
            let map = unsafe { read_headers(frame.headers, frame.header_count) };
            ReadFrame { frame: Some(map.map(http_body::Frame::trailers)), ended: true }
        }
        FRAME_END => ReadFrame { frame: None, ended: true },
        FRAME_ERROR => {
            // SAFETY: guaranteed by the caller.
            let reason = unsafe { frame.data.take().into_text() };
            ReadFrame { frame: Some(Err(reason)), ended: true }
        }
        kind => {
            ReadFrame { frame: Some(Err(format!("a body frame with the unknown kind {kind}"))), ended: true }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crossed(frame: http_body::Frame<Bytes>, ended: bool) -> ReadFrame {
        let mut out = Frame::NONE;
        let _kept = write_frame(Some(Ok::<_, String>(frame)), ended, &mut out);
        // SAFETY: our own side wrote it, and the trailers are kept.
        unsafe { read_frame(&mut out) }
    }

    #[test]
    fn data_crosses_without_a_copy() {
        let data = Bytes::from(vec![7; 100_000]);
        let read = crossed(http_body::Frame::data(data.clone()), true);
        let back = read.frame.unwrap().unwrap().into_data().unwrap();
        assert!(read.ended);
        assert_eq!(back, data);
        assert_eq!(back.as_ptr(), data.as_ptr());
        drop(data);
        assert_eq!(back.slice(99_990..).len(), 10);
    }

    #[test]
    fn a_panic_of_bytes_that_are_released_does_not_cross() {
        struct Falls([u8; 3]);
        impl AsRef<[u8]> for Falls {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        impl Drop for Falls {
            fn drop(&mut self) {
                panic!("a destructor fell");
            }
        }
        // SAFETY: it is our own buffer.
        let taken = unsafe { bytes(buffer(Bytes::from_owner(Falls([1, 2, 3])))) };
        assert_eq!(taken, [1, 2, 3][..]);
        drop(taken);
    }

    #[test]
    fn trailers_and_headers_cross() {
        let mut map = HeaderMap::new();
        map.append("content-type", HeaderValue::from_static("text/plain"));
        map.append("x-own", HeaderValue::from_bytes(b"a\xffb").unwrap());
        map.append("set-cookie", HeaderValue::from_static("a=1"));
        map.append("set-cookie", HeaderValue::from_static(""));
        let read = crossed(http_body::Frame::trailers(map.clone()), false);
        assert!(read.ended);
        assert_eq!(read.frame.unwrap().unwrap().into_trailers().unwrap(), map);
    }

    #[test]
    fn heads_share_blocks_and_maps() {
        let read = |values: &[&str]| {
            let fields: Vec<_> = values
                .iter()
                .map(|value| Header {
                    number: 0,
                    name: Slice::new(b"x-own"),
                    value: Slice::new(value.as_bytes()),
                })
                .collect();
            // SAFETY: the fields are on the heap for the call.
            let read =
                unsafe { read_head(&[Slice::new(b"text")], fields.as_ptr(), fields.len(), Trust::Nothing) };
            let (text, map) = read.unwrap();
            assert_eq!(text, "text");
            assert!(map.get_all("x-own").iter().eq(values.iter()));
            (text, map)
        };
        let (first, map) = read(&["a", "", "c"]);
        recycle(map);
        let (second, map) = read(&["d"]);
        assert_eq!(second.as_ptr() as usize - first.as_ptr() as usize, 6, "one block");
        // What is kept does not change while others, small and large, come and go.
        for length in [0, 1, 1000, 1024, 1025, 5000] {
            for _ in 0..10 {
                recycle(read(&[&"x".repeat(length)]).1);
            }
        }
        assert_eq!(
            (&first[..], &second[..], &map["x-own"]),
            (&b"text"[..], &b"text"[..], &"d".parse().unwrap())
        );
        assert_eq!(read(&[]).1.len(), 0);
    }

    #[test]
    fn faults_are_named() {
        for (name, value, expected) in [
            (&b"bad name"[..], &b"x"[..], "`bad name` is not a header name"),
            (b"x-a", b"a\r\nb", "the value of the header `x-a` contains a control character"),
        ] {
            let field = Header { number: 0, name: Slice::new(name), value: Slice::new(value) };
            // SAFETY: the field is on the stack.
            assert_eq!(unsafe { read_headers(&field, 1) }.unwrap_err(), expected);
        }
        let mut frame = Frame { kind: 77, ..Frame::NONE };
        // SAFETY: an unknown kind is refused before anything is read.
        let read = unsafe { read_frame(&mut frame) };
        assert_eq!(read.frame.unwrap().unwrap_err(), "a body frame with the unknown kind 77");
    }
}
