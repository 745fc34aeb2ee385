//! A message on the control socket of a process that runs plugins.

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use bytes::Bytes;
use paster_frames::{Frame, Kind, Outgoing};
use rustix::fs::MemfdFlags;

/// A message on the control socket of a process that runs plugins. Its starter decides what it means.
#[derive(Debug, Clone, Default)]
pub struct ControlMessage {
    /// What it says.
    pub text: Bytes,
    /// The bytes that belong to it, of any length.
    pub raw: Bytes,
}

impl ControlMessage {
    /// Adds the message as a frame. The raw bytes go along as a file in memory, because a frame is limited.
    /// # Errors
    /// When there is no such file.
    pub(super) fn push(&self, kind: Kind, out: &mut Outgoing) -> io::Result<()> {
        if self.raw.is_empty() {
            out.push(kind, 0, &self.text);
            return Ok(());
        }
        let mut file = File::from(rustix::fs::memfd_create("paster-message", MemfdFlags::CLOEXEC)?);
        file.write_all(&self.raw)?;
        file.rewind()?;
        out.push_descriptor(kind, 0, &self.text, file.into());
        Ok(())
    }

    /// The message in a frame.
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn read(frame: Frame) -> io::Result<ControlMessage> {
        let mut raw = Vec::new();
        if let Some(file) = frame.descriptor {
            File::from(file).read_to_end(&mut raw)?;
        }
        Ok(ControlMessage { text: frame.payload, raw: raw.into() })
    }
}

#[cfg(test)]
mod tests {
    use paster_frames::Incoming;

    use super::*;

    #[test]
    fn raw_bytes_pass_whatever_their_length() {
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        for raw in [Bytes::new(), Bytes::from(vec![7; paster_frames::LONGEST + 1])] {
            let (mut out, mut incoming) = (Outgoing::default(), Incoming::default());
            let sent = ControlMessage { text: "text".into(), raw };
            sent.push(Kind::Message, &mut out).unwrap();
            out.send(&one).unwrap();
            incoming.receive(&other).unwrap();
            let found = ControlMessage::read(incoming.next_frame().unwrap().unwrap()).unwrap();
            assert_eq!((found.text, found.raw == sent.raw), (sent.text, true));
        }
    }
}
