//! The largest notebooks on the page *Administration*.

use super::error::Result;
use super::forms::Visitor;
use super::pages::escape;
use super::percent::encode;
use crate::quota::megabytes;

/// How many are shown.
const SHOWN: usize = 20;

pub(super) async fn section(visitor: &Visitor) -> Result<String> {
    let base = visitor.place.base();
    let row = |(path, bytes): &(String, u64)| {
        format!(
            "<tr><td><a href=\"{}notebooks/{}\">{}</a></td><td>{}</td></tr>",
            escape(&base),
            escape(&encode(path)),
            escape(path),
            megabytes(*bytes)
        )
    };
    let rows: String = visitor.notebook.library.largest(SHOWN).await?.iter().map(row).collect();
    Ok(match rows.is_empty() {
        true => String::new(),
        false => {
            format!("<h2>Largest notebooks</h2><table><tr><th>Notebook</th><th>Size</th></tr>{rows}</table>")
        }
    })
}
