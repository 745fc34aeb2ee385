//! Checks a library's file before it is loaded (whether it is complete and for this machine), and makes a private copy.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Copies a library into `folder`, named after its content, and returns the copy's path.
///
/// Loading the same path again would return the old code, and rewriting a mapped file kills the process. So each content is
/// loaded from its own file, which is never rewritten. An existing copy is reused.
/// # Errors
/// If a file cannot be read or written, or is not a complete library for this machine.
pub fn copy_by_hash(source: &Path, folder: &Path) -> Result<PathBuf> {
    let reading = |error| cannot("read the library", source).because(error);
    let mut file = File::open(source).map_err(reading)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(reading)?;
    verify(&mut std::io::Cursor::new(&bytes), bytes.len() as u64)
        .map_err(|fault| fault.into_error(source))?;
    let hash: String = Sha256::digest(&bytes)[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    let stem = source.file_stem().unwrap_or_default().to_string_lossy();
    let copy = folder.join(format!("{stem}-{hash}.{}", std::env::consts::DLL_EXTENSION));
    if std::fs::metadata(&copy).is_ok_and(|copy| copy.len() == bytes.len() as u64) {
        return Ok(copy);
    }
    let writing = |error| cannot("write the library's copy", &copy).because(error);
    std::fs::create_dir_all(folder).map_err(writing)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(writing)?;
    temporary.write_all(&bytes).map_err(writing)?;
    temporary.persist(&copy).map_err(|error| writing(error.error))?;
    Ok(copy)
}

/// Whether `path` is a complete shared library for this machine.
pub fn is_loadable(path: &Path) -> bool {
    check(path, path).is_ok()
}

/// Checks that `path` is a complete shared library for this machine, because mapping a truncated one would kill the process.
/// Errors call it `shown`.
/// # Errors
/// If it is not.
pub(super) fn check(path: &Path, shown: &Path) -> Result<()> {
    let reading = |error| cannot("read the library", shown).because(error);
    let mut file = File::open(path).map_err(reading)?;
    let metadata = file.metadata().map_err(reading)?;
    if !metadata.is_file() {
        return Err(FileError::new("it is not a file").into_error(shown).into());
    }
    verify(&mut file, metadata.len()).map_err(|fault| fault.into_error(shown).into())
}

fn cannot(what: &str, path: &Path) -> Error {
    Error::new(format!("cannot {what} `{}`", path.display()))
}

struct FileError {
    reason: String,
    help: Option<&'static str>,
}

impl FileError {
    fn new(reason: impl Into<String>) -> FileError {
        FileError { reason: reason.into(), help: None }
    }

    fn into_error(self, path: &Path) -> Error {
        let error = cannot("load the plugin", path).because(self.reason);
        match self.help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

impl From<std::io::Error> for FileError {
    fn from(error: std::io::Error) -> FileError {
        FileError::new(error.to_string())
    }
}

/// Machines by `e_machine` of the ELF header.
const MACHINES: &[(u16, &str)] = &[
    (3, "x86"),
    (8, "mips"),
    (20, "powerpc"),
    (21, "powerpc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv64"),
    (258, "loongarch64"),
];

/// Reads the ELF header and the program headers of a file of `len` bytes.
///
/// # Source
/// System V ABI, "Object Files": ELF header and program header.
fn verify(file: &mut (impl Read + Seek), len: u64) -> Result<(), FileError> {
    if !cfg!(target_os = "linux") {
        return Ok(()); // the system's loader reports it
    }
    let mut head = [0_u8; 64];
    let count = read_up_to(file, &mut head)?;
    if count < 4 || head[..4] != *b"\x7fELF" {
        return Err(FileError {
            reason: match count {
                0 => "the file is empty".to_owned(),
                _ => "it is not a shared library (no ELF header)".to_owned(),
            },
            help: Some("set the library that cargo or cc built: `lib….so`"),
        });
    }
    let short = || FileError { reason: "the library is truncated".to_owned(), help: Some("build it again") };
    if count < head.len() {
        return Err(short());
    }
    let number = |at: usize, size: usize| {
        head[at..at + size].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    if u32::from(head[4]) * 32 != usize::BITS || (head[5] == 1) != cfg!(target_endian = "little") {
        return Err(wrong_machine(&format!("a {}-bit machine", u32::from(head[4]) * 32)));
    }
    if cfg!(target_endian = "big") || usize::BITS != 64 {
        return Ok(()); // the offsets below are those of 64-bit little-endian files
    }
    let machine = number(18, 2) as u16;
    let name =
        MACHINES.iter().find(|(number, _)| *number == machine).map_or("another machine", |(_, name)| name);
    if name != std::env::consts::ARCH {
        return Err(wrong_machine(name));
    }
    if number(16, 2) != 3 {
        return Err(FileError {
            reason: "it is not a shared library (another kind of ELF file)".to_owned(),
            help: Some("in Rust, set `crate-type = [\"cdylib\"]`; in C, link with `-shared`"),
        });
    }
    let (offset, size, entries) = (number(32, 8), number(54, 2), number(56, 2));
    if size < 56 || offset.saturating_add(size * entries) > len {
        return Err(short());
    }
    // Linkers write the section headers at the end, so this finds a file that lost its end.
    if number(40, 8).saturating_add(number(58, 2) * number(60, 2)) > len {
        return Err(short());
    }
    file.seek(std::io::SeekFrom::Start(offset))?;
    let mut table = vec![0; (size * entries) as usize];
    file.read_exact(&mut table).map_err(|_| short())?;
    for entry in table.chunks_exact(size as usize) {
        let word = |at: usize| {
            entry[at..at + 8].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let load = entry[..4] == [1, 0, 0, 0];
        if load && word(8).saturating_add(word(32)) > len {
            return Err(short());
        }
    }
    Ok(())
}

fn wrong_machine(found: &str) -> FileError {
    FileError {
        reason: format!("the library is for {found}, but this paster runs on {}", std::env::consts::ARCH),
        help: Some("build it for this machine's target"),
    }
}

fn read_up_to(file: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read(&mut buffer[count..])? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}
