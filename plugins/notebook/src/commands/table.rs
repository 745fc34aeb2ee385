//! Tables for a terminal.

/// Formats rows in columns, each as wide as its widest cell. Replaces control characters, which could affect the terminal.
pub(super) fn table(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut all = vec![heads.iter().map(|head| (*head).to_owned()).collect::<Vec<String>>()];
    all.extend(rows);
    for cell in all.iter_mut().flatten() {
        *cell = cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    }
    let width = |column: usize| {
        all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    for row in &all {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<String>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_needed() {
        let rows = vec![vec!["ann".to_owned(), "ad\x1bmin".to_owned()], vec!["é".to_owned(), String::new()]];
        assert_eq!(table(&["NAME", "ROLE"], rows), "NAME  ROLE\nann   ad\u{fffd}min\né\n");
    }
}
