//! The protocol between the browser and the server over a document's WebSocket.
//!
//! `GET api/documents/PATH` (an upgrade) opens the notebook at `PATH`. Both sides send JSON text frames: the
//! page sends [`Request`]s, and the server sends [`ServerFrame`]s. The document lives on the server, so every
//! change, from this page, from another or from a kernel, comes back as a numbered [`Change`]. A page that
//! was disconnected connects again with `?instance=…&after=…` (from the last [`ServerFrame::Opened`] and the
//! last event that it saw). It gets what it missed, or a fresh snapshot if that is no longer kept.
//!
//! The test in this file writes the TypeScript of these types, `web/src/protocol/index.ts`. Nothing here
//! reads sockets or files.

mod change;
mod comm;
mod document;
mod frame;
mod request;

pub use self::change::Change;
pub use self::comm::{Comm, CommKind, CommMessage};
pub use self::document::{Cell, CellState, CellType, Document, InputRequest, Kernel, KernelState, Output};
pub use self::frame::{Completion, Reply, ServerFrame, Variable};
pub use self::request::{Cursor, Keep, Operation, Request};

/// A JSON object, as notebooks use it for metadata.
pub type Object = serde_json::Map<String, serde_json::Value>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Level;
    use ts_rs::{Config, TS};

    fn typescript() -> String {
        let config = Config::default().with_large_int("number");
        let mut out = String::from(
            "// Written from plugins/notebook/src/protocol by `PASTER_BLESS=1 cargo test -p notebook --lib protocol`.\n\
             // Do not edit.\n\n\
             /** Any JSON object. */\nexport type JsonObject = { [key: string]: unknown };\n",
        );
        macro_rules! write_types {
            ($($name:ty),*) => {$({
                out.push('\n');
                if let Some(docs) = <$name as TS>::docs() { out.push_str(&docs); }
                out.push_str("export ");
                out.push_str(&<$name as TS>::decl(&config));
                out.push('\n');
            })*};
        }
        write_types!(
            Request,
            Operation,
            Keep,
            Cursor,
            CellType,
            ServerFrame,
            Reply,
            Completion,
            Level,
            Document,
            Cell,
            CellState,
            Output,
            Change,
            InputRequest,
            Kernel,
            KernelState,
            Variable,
            Comm,
            CommMessage,
            CommKind
        );
        with_short_comments(&out)
    }

    /// Writes a comment of one line in one line instead of three.
    fn with_short_comments(text: &str) -> String {
        let mut out = String::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            out.push_str(line);
            if line == "/**"
                && let (Some(comment), mut rest) = (lines.peek().copied(), lines.clone().skip(1))
                && rest.next() == Some(" */")
            {
                out.push_str(&comment[2..]);
                out.push_str(" */");
                lines.nth(1);
            }
            out.push('\n');
        }
        out
    }

    #[test]
    fn typescript_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/web/src/protocol/index.ts");
        let wanted = typescript();
        if std::env::var_os("PASTER_BLESS").is_some() {
            std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
            std::fs::write(path, &wanted).unwrap();
        }
        let present = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            present == wanted,
            "{path} is stale: run PASTER_BLESS=1 cargo test -p notebook --lib protocol"
        );
    }
}
