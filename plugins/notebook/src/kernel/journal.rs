//! The numbered messages of one kernel: the newest in memory, older ones in files. None are discarded below a
//! fixed limit.
//!
//! A reader is only a number. A slow reader reads files, and does not delay others.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

/// How many bytes are kept in memory.
const RING_BYTES: usize = 4 << 20;
/// The size of one file in bytes.
const SEGMENT_BYTES: u64 = 16 << 20;

/// The result of [`Journal::read`].
#[derive(Debug, PartialEq, Eq)]
pub enum JournalRead {
    /// Entries with ascending numbers, from the requested one on.
    Entries(Vec<(u64, Bytes)>),
    /// The entries before this number are gone; continue there.
    Gone(u64),
    /// Nothing yet: wait for [`Journal::grown`].
    End,
}

/// The messages of one kernel.
pub struct Journal {
    inner: Mutex<JournalInner>,
    grown: watch::Sender<u64>,
}

struct JournalInner {
    next: u64,
    ring: VecDeque<Bytes>,
    ring_bytes: usize,
    segments: VecDeque<Segment>,
    /// Files are named by this folder and a number.
    folder: PathBuf,
    limit_bytes: u64,
    segment_number: u64,
}

struct Segment {
    first: u64,
    /// The end of each entry in the file. The next entry starts there.
    ends: Vec<u32>,
    /// Bytes written. More if writing failed: then nothing is added here any more.
    bytes: u64,
    file: File,
}

impl Segment {
    fn read(&self, number: u64) -> io::Result<Bytes> {
        let at = (number - self.first) as usize;
        let start = if at == 0 { 0 } else { u64::from(self.ends[at - 1]) };
        let end = u64::from(self.ends[at]);
        let mut entry = vec![0; (end - start) as usize];
        self.file.read_exact_at(&mut entry, start)?;
        Ok(entry.into())
    }
}

impl Journal {
    /// An empty journal. Its files are in `folder`, which exists. Beyond `limit_bytes` in total, the oldest
    /// are deleted.
    pub fn new(folder: PathBuf, limit_bytes: u64) -> Journal {
        let inner = JournalInner {
            next: 1,
            ring: VecDeque::new(),
            ring_bytes: 0,
            segments: VecDeque::new(),
            folder,
            limit_bytes: limit_bytes.max(SEGMENT_BYTES),
            segment_number: 0,
        };
        Journal { inner: Mutex::new(inner), grown: watch::Sender::new(1) }
    }

    fn lock(&self) -> MutexGuard<'_, JournalInner> {
        self.inner.lock()
    }

    /// Appends an entry and returns its number.
    pub fn append(&self, entry: Bytes) -> u64 {
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        inner.ring_bytes += entry.len();
        inner.ring.push_back(entry);
        while inner.ring_bytes > RING_BYTES && inner.ring.len() > 1 {
            inner.spill_oldest();
        }
        let next = inner.next;
        drop(inner);
        self.grown.send_replace(next);
        number
    }

    /// The number of the next entry.
    pub fn next(&self) -> u64 {
        self.lock().next
    }

    /// Changes when an entry is appended; the value is [`Journal::next`].
    pub fn grown(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// Entries from number `from` on, about `max_bytes` in total.
    pub fn read(&self, from: u64, max_bytes: usize) -> JournalRead {
        let inner = self.lock();
        if from >= inner.next {
            return JournalRead::End;
        }
        let ring_first = inner.next - inner.ring.len() as u64;
        let mut found = Vec::new();
        let mut bytes = 0;
        if from >= ring_first {
            for (at, entry) in inner.ring.iter().enumerate().skip((from - ring_first) as usize) {
                bytes += entry.len();
                found.push((ring_first + at as u64, entry.clone()));
                if bytes >= max_bytes {
                    break;
                }
            }
            return JournalRead::Entries(found);
        }
        let oldest = inner.segments.front().map_or(ring_first, |segment| segment.first);
        if from < oldest {
            return JournalRead::Gone(oldest);
        }
        let after = inner.segments.partition_point(|segment| segment.first <= from);
        let segment = &inner.segments[after - 1];
        let end = segment.first + segment.ends.len() as u64;
        if from >= end {
            return JournalRead::Gone(inner.segments.get(after).map_or(ring_first, |segment| segment.first));
        }
        for number in from..end {
            match segment.read(number) {
                Ok(entry) => {
                    bytes += entry.len();
                    found.push((number, entry));
                }
                Err(_) if found.is_empty() => return JournalRead::Gone(number + 1),
                Err(_) => break,
            }
            if bytes >= max_bytes {
                break;
            }
        }
        JournalRead::Entries(found)
    }
}

impl JournalInner {
    /// Moves the oldest entry of the ring to a file. If that fails (disk full), the entry is lost, and
    /// readers see a gap.
    fn spill_oldest(&mut self) {
        let number = self.next - self.ring.len() as u64;
        let Some(entry) = self.ring.pop_front() else { return };
        self.ring_bytes -= entry.len();
        let fits = |segment: &Segment| {
            segment.bytes < SEGMENT_BYTES && segment.first + segment.ends.len() as u64 == number
        };
        if !self.segments.back().is_some_and(fits) {
            let path = self.folder.join(format!("journal-{}", self.segment_number));
            self.segment_number += 1;
            let opened = File::options().read(true).write(true).create_new(true).open(&path);
            // Unlinked at once, so that nothing is left behind, however the host ends.
            let Ok(file) = opened.and_then(|file| std::fs::remove_file(&path).map(|()| file)) else { return };
            self.segments.push_back(Segment { first: number, ends: Vec::new(), bytes: 0, file });
            while self.segments.len() > 1
                && self.segments.iter().map(|s| s.bytes).sum::<u64>() > self.limit_bytes
            {
                self.segments.pop_front();
            }
        }
        let Some(segment) = self.segments.back_mut() else { return };
        if segment.file.write_all(&entry).is_ok() {
            segment.bytes += entry.len() as u64;
            segment.ends.push(segment.bytes as u32);
        } else {
            // The end of the file is unknown now, so the next entry starts a new file.
            segment.bytes = segment.bytes.max(SEGMENT_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(journal: &Journal, mut from: u64) -> Vec<(u64, Bytes)> {
        let mut all = Vec::new();
        while let JournalRead::Entries(entries) = journal.read(from, 1 << 20) {
            from = entries.last().unwrap().0 + 1;
            all.extend(entries);
        }
        all
    }

    #[test]
    fn old_entries_come_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path().into(), 1 << 30);
        let entry = |n: u64| Bytes::from(vec![n as u8; 100_000]);
        for n in 1..=500 {
            assert_eq!(journal.append(entry(n)), n);
        }
        let all = read_all(&journal, 1);
        assert_eq!(all.len(), 500);
        assert!(all.iter().enumerate().all(|(at, (n, bytes))| *n == at as u64 + 1 && *bytes == entry(*n)));
        assert_eq!(read_all(&journal, 499).len(), 2);
        assert_eq!(journal.read(501, 1), JournalRead::End);
    }

    #[test]
    fn past_the_limit_the_oldest_go_and_readers_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path().into(), 1);
        for _ in 0..600 {
            journal.append(Bytes::from(vec![0; 100_000]));
        }
        let JournalRead::Gone(first) = journal.read(1, 1) else { panic!("expected a gap") };
        assert!(first > 1);
        let kept = read_all(&journal, first);
        assert_eq!((kept[0].0, kept.last().unwrap().0), (first, 600));
    }
}
