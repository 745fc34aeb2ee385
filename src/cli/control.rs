//! What the commands that talk to a running server share: finding the server, and tables.

use std::path::PathBuf;

use unicode_width::UnicodeWidthStr;

use super::source::SourceArgs;
use crate::error::Result;
use crate::ops::control::{Connection, WantedServer, connect};

/// Which server to talk to. Flatten it into a command's `Args`.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct ServerArgs {
    /// The config, or the directory, that the server runs with [default: ./server.toml, or the only running server]
    #[arg(value_name = "CONFIG", value_hint = clap::ValueHint::FilePath)]
    config: Option<PathBuf>,

    /// The server's control socket
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    control: Option<PathBuf>,
}

impl ServerArgs {
    /// Connects to the server.
    pub(super) fn connect(&self) -> Result<Connection> {
        let sources = self.config.clone().map(SourceArgs::of_server);
        connect(&WantedServer { control: self.control.clone(), sources })
    }

    /// The same, for a command that has its own arguments for the config.
    pub(super) fn new(config: Option<PathBuf>, control: Option<PathBuf>) -> ServerArgs {
        ServerArgs { config, control }
    }
}

/// A table in columns, each as wide as its widest cell.
#[derive(Debug, Default)]
pub(super) struct Columns {
    rows: Vec<Vec<String>>,
}

impl Columns {
    pub(super) fn new(heads: &[&str]) -> Columns {
        Columns { rows: vec![heads.iter().map(ToString::to_string).collect()] }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| plain(&cell)).collect());
    }

    /// Whether there are no rows besides the heads.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    pub(super) fn text(&self) -> String {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..count)
            .map(|at| {
                self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width()).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line += cell;
                line += &" ".repeat(width - cell.width() + 2);
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// Text without control characters, which could change what a terminal shows; tabs become spaces.
pub(super) fn plain(text: &str) -> String {
    let harmless = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(harmless).collect()
}

/// `87 ms`, `12 s`, `3m 20s`, `2h 5m`, `4d 1h`.
pub(super) fn span(ms: u64) -> String {
    let secs = ms / 1000;
    match secs {
        0 => format!("{ms} ms"),
        1..60 => format!("{}.{} s", secs, ms % 1000 / 100),
        60..3600 => format!("{}m {}s", secs / 60, secs % 60),
        3600..86_400 => format!("{}h {}m", secs / 3600, secs % 3600 / 60),
        _ => format!("{}d {}h", secs / 86_400, secs % 86_400 / 3600),
    }
}

/// The same for seconds.
pub(super) fn span_secs(secs: f64) -> String {
    span((secs.max(0.0) * 1000.0) as u64)
}

/// `512 KiB`, `31 MiB`, `1.2 GiB`.
pub(super) fn bytes(count: Option<u64>) -> String {
    match count {
        None => "-".to_owned(),
        Some(count @ 0..1_048_576) => format!("{} KiB", count / 1024),
        Some(count @ 1_048_576..1_073_741_824) => format!("{} MiB", count >> 20),
        Some(count) => format!("{:.1} GiB", count as f64 / 1_073_741_824.0),
    }
}

/// Formats a time, in milliseconds since 1970, in local time.
pub(super) fn time(ms: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms);
    chrono::DateTime::<chrono::Local>::from(time).format("%F %T").to_string()
}
