//! A text and the files that it shows, which together become a ZIP file.

use std::io::{Cursor, Write};

use base64::Engine;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A document and its files.
#[derive(Default)]
pub(super) struct Bundle {
    pub(super) text: String,
    files: Vec<(String, Vec<u8>)>,
}

impl Bundle {
    /// Adds a file. Returns its name.
    pub(super) fn add(&mut self, bytes: Vec<u8>, extension: &str) -> String {
        let name = format!("output_{}{extension}", self.files.len());
        self.files.push((name.clone(), bytes));
        name
    }

    /// Adds an image of a MIME bundle: SVG as text, the others in base64. `None` if it is damaged.
    pub(super) fn add_image(
        &mut self,
        mime: &str,
        value: &serde_json::Value,
        extension: &str,
    ) -> Option<String> {
        let bytes = match mime {
            "image/svg+xml" => super::text(value).into_bytes(),
            _ => base64::engine::general_purpose::STANDARD.decode(super::packed(value)).ok()?,
        };
        Some(self.add(bytes, extension))
    }

    /// The bytes, their media type and the extension of the name.
    pub(super) fn pack(
        self,
        title: &str,
        extension: &str,
        mime: &'static str,
    ) -> (Vec<u8>, &'static str, String) {
        if self.files.is_empty() {
            return (self.text.into_bytes(), mime, extension.to_owned());
        }
        let name = format!("{title}{extension}");
        match archive(&name, &self) {
            Ok(bytes) => (bytes, "application/zip", ".zip".to_owned()),
            // Writing to memory fails only if a file is larger than ZIP files can have.
            Err(error) => {
                tracing::warn!(%error, "cannot pack the images of a notebook");
                (self.text.into_bytes(), mime, extension.to_owned())
            }
        }
    }
}

fn archive(name: &str, bundle: &Bundle) -> zip::result::ZipResult<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    // Images are compressed already.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    archive.start_file(name, options)?;
    archive.write_all(bundle.text.as_bytes())?;
    for (name, bytes) in &bundle.files {
        archive.start_file(name.as_str(), options)?;
        archive.write_all(bytes)?;
    }
    Ok(archive.finish()?.into_inner())
}
