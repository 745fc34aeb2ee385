//! Archives of many files: `.zip`.
//!
//! The crate `flate2` decompresses for `zip`, which has no decompressor of its own.

use std::io::{Cursor, Read, Write};

use super::{ImportError, ImportedFile, UNPACKED_BYTES, UNPACKED_FILES};

/// The files of a `.zip`. Links, hidden files and files that lead elsewhere are left out.
/// # Errors
/// [`ImportError`], also for an archive that unpacks to too much.
pub fn unpack(bytes: &[u8]) -> Result<Vec<ImportedFile>, ImportError> {
    let failed =
        |error: &dyn std::fmt::Display| ImportError::new(format!("the archive cannot be read: {error}"));
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| failed(&error))?;
    if archive.len() > UNPACKED_FILES {
        return Err(ImportError::new(format!("the archive has more than {UNPACKED_FILES} files")));
    }
    let (mut files, mut left) = (Vec::new(), UNPACKED_BYTES);
    for index in 0..archive.len() {
        let file = archive.by_index(index).map_err(|error| failed(&error))?;
        let path = file.name().map_err(|error| failed(&error))?.replace('\\', "/");
        let leads_elsewhere =
            path.starts_with('/') || path.split('/').any(|name| name.is_empty() || name.starts_with('.'));
        if !file.is_file() || leads_elsewhere || path.starts_with("__MACOSX/") {
            continue;
        }
        // The unpacked size is limited, regardless of the sizes in the archive.
        let mut content = Vec::new();
        file.take(left + 1).read_to_end(&mut content).map_err(|error| failed(&error))?;
        left = left.checked_sub(content.len() as u64).ok_or_else(|| {
            ImportError::new(format!("the archive unpacks to more than {} MB", UNPACKED_BYTES >> 20))
        })?;
        files.push(ImportedFile { path, content });
    }
    Ok(files)
}

/// A `.zip` of files.
/// # Errors
/// [`ImportError`].
pub fn pack(files: &[ImportedFile]) -> Result<Vec<u8>, ImportError> {
    let failed =
        |error: &dyn std::fmt::Display| ImportError::new(format!("cannot create the archive: {error}"));
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for file in files {
        archive.start_file(file.path.as_str(), options).map_err(|error| failed(&error))?;
        archive.write_all(&file.content).map_err(|error| failed(&error))?;
    }
    Ok(archive.finish().map_err(|error| failed(&error))?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_elsewhere_is_left_out() {
        let file = |path: &str| ImportedFile { path: path.into(), content: path.as_bytes().to_vec() };
        let all =
            ["a/b.ipynb", "../up", "/etc/x", ".hidden", "a/.git/config", "__MACOSX/a", "c.txt"].map(file);
        let unpacked = unpack(&pack(&all).unwrap()).unwrap();
        assert_eq!(unpacked, [file("a/b.ipynb"), file("c.txt")]);
        assert!(unpack(b"PK nothing").is_err());
    }
}
