//! Applies the carriage returns and backspaces of progress bars to printed text.

/// Applies the carriage returns and backspaces after byte `from` to their lines, as a terminal does, so that progress bars do
/// not pile up. Returns whether the result may differ from the plain concatenation.
pub(super) fn rewrite_lines(text: &mut String, from: usize) -> bool {
    if !text[from..].contains(['\r', '\x08']) {
        // A carriage return at the end still waits for its line.
        let waiting =
            from > 0 && text[..from].ends_with('\r') && !text[from..].starts_with('\n') && from < text.len();
        if !waiting {
            return false;
        }
    }
    let start = text[..from].rfind('\n').map_or(0, |at| at + 1);
    let tail = text.split_off(start);
    let mut lines = tail.split('\n').peekable();
    while let Some(line) = lines.next() {
        let last = lines.peek().is_none();
        text.push_str(&rewrite_line(line, last));
        if !last {
            text.push('\n');
        }
    }
    true
}

/// Rewrites one line. A carriage return at the very end of the last line is kept, because its effect depends
/// on what follows.
fn rewrite_line(line: &str, is_last: bool) -> String {
    let (line, end) = match line.strip_suffix('\r') {
        Some(rest) if is_last => (rest.trim_end_matches('\r'), "\r"),
        Some(rest) => (rest.trim_end_matches('\r'), ""),
        None => (line, ""),
    };
    let mut letters: Vec<char> = Vec::with_capacity(line.len());
    for part in line.split('\r') {
        // Color codes have no width, so lines with them are replaced as a whole.
        let coloured = part.contains('\x1b') || letters.contains(&'\x1b');
        let mut fresh: Vec<char> = Vec::with_capacity(part.len());
        for letter in part.chars() {
            if letter == '\x08' {
                fresh.pop();
            } else {
                fresh.push(letter);
            }
        }
        if !coloured && fresh.len() < letters.len() {
            letters.splice(..fresh.len(), fresh);
        } else {
            letters = fresh;
        }
    }
    letters.into_iter().chain(end.chars()).collect()
}
