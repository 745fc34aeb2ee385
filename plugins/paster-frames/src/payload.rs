//! What payloads contain.

use super::Malformed;

/// Adds a name and a value to the encoding that [`Pairs`] reads.
///
/// Lengths that do not fit are the caller's fault: names are shorter than 64 KiB, values than 16 MiB.
pub fn push_pair(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let lengths = (u16::try_from(name.len()), u32::try_from(value.len()));
    let (Ok(name_length), Ok(value_length)) = lengths else { return };
    out.extend_from_slice(&name_length.to_le_bytes());
    out.extend_from_slice(&value_length.to_le_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}

/// Names and values: for each a `u16` and a `u32` with the lengths, little-endian, then the bytes.
#[derive(Debug, Clone)]
pub struct Pairs<'a>(&'a [u8]);

impl<'a> Pairs<'a> {
    /// Reads `payload`.
    pub fn new(payload: &'a [u8]) -> Pairs<'a> {
        Pairs(payload)
    }

    /// The value of the first pair of this name.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.clone().flatten().find(|pair| pair.0 == name.as_bytes()).map(|pair| pair.1)
    }

    /// The same as text, if it is UTF-8.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    fn take(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let (lengths, rest) = self.0.split_first_chunk::<6>()?;
        let [n0, n1, v0, v1, v2, v3] = *lengths;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([n0, n1])))?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes([v0, v1, v2, v3]) as usize)?;
        self.0 = rest;
        Some((name, value))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let pair = self.take();
        if pair.is_none() {
            self.0 = &[];
        }
        Some(pair.ok_or(Malformed("a pair is truncated")))
    }
}

/// Status, reason phrase and fields of a response.
#[derive(Debug, Clone)]
pub struct ResponseHead<'a> {
    /// The status.
    pub status: u16,
    /// The reason phrase; it may be empty.
    pub reason: &'a [u8],
    /// The fields.
    pub fields: Pairs<'a>,
}

impl<'a> ResponseHead<'a> {
    /// Begins the encoding of a head. The caller adds the fields with [`push_pair`].
    pub fn begin(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
        let reason = &reason[..reason.len().min(usize::from(u16::MAX))];
        out.extend_from_slice(&status.to_le_bytes());
        out.extend_from_slice(&u16::try_from(reason.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(reason);
    }

    /// Reads `payload`.
    /// # Errors
    /// When it is too short.
    pub fn read(payload: &'a [u8]) -> Result<ResponseHead<'a>, Malformed> {
        let cut = Malformed("a response head is truncated");
        let (lengths, rest) = payload.split_first_chunk::<4>().ok_or(cut)?;
        let [s0, s1, r0, r1] = *lengths;
        let (reason, fields) = rest.split_at_checked(usize::from(u16::from_le_bytes([r0, r1]))).ok_or(cut)?;
        Ok(ResponseHead { status: u16::from_le_bytes([s0, s1]), reason, fields: Pairs::new(fields) })
    }
}

/// Bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilePart {
    /// The first byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

impl FilePart {
    /// Its encoding.
    pub fn encode(self) -> [u8; 16] {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&self.offset.to_le_bytes());
        out[8..].copy_from_slice(&self.length.to_le_bytes());
        out
    }

    /// Reads `payload`.
    /// # Errors
    /// When it has another length, or the part would end beyond every file.
    pub fn read(payload: &[u8]) -> Result<FilePart, Malformed> {
        let wrong = Malformed("the place in a file");
        let (offset, length) = two_numbers(payload).ok_or(wrong)?;
        let part = FilePart { offset, length };
        let end = part.offset.checked_add(part.length).filter(|end| i64::try_from(*end).is_ok());
        end.map(|_| part).ok_or(wrong)
    }
}

/// What a process has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessStatus {
    /// How many requests it has begun.
    pub requests: u64,
    /// For how long the request that has waited longest has neither sent nor received anything, in milliseconds.
    pub stuck_ms: u64,
}

impl ProcessStatus {
    /// Its encoding.
    pub fn encode(self) -> [u8; 16] {
        FilePart { offset: self.requests, length: self.stuck_ms }.encode()
    }

    /// Reads `payload`.
    /// # Errors
    /// When it has another length.
    pub fn read(payload: &[u8]) -> Result<ProcessStatus, Malformed> {
        let (requests, stuck_ms) = two_numbers(payload).ok_or(Malformed("the status of a process"))?;
        Ok(ProcessStatus { requests, stuck_ms })
    }
}

/// The level of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// What went wrong.
    Error = 1,
    /// What may go wrong.
    Warn = 2,
    /// What happens.
    Info = 3,
}

impl Level {
    /// Reads the payload of a log frame.
    /// # Errors
    /// When it is empty or has an unknown level.
    pub fn split(payload: &[u8]) -> Result<(Level, &[u8]), Malformed> {
        let (level, text) = payload.split_first().ok_or(Malformed("the level of a log line"))?;
        let level = match level {
            1 => Level::Error,
            2 => Level::Warn,
            3 => Level::Info,
            _ => return Err(Malformed("the level of a log line")),
        };
        Ok((level, text))
    }
}

/// Two little-endian numbers.
fn two_numbers(payload: &[u8]) -> Option<(u64, u64)> {
    let (first, second) = payload.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*first), u64::from_le_bytes(second.try_into().ok()?)))
}
