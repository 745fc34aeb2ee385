//! Texts with examples as in a Python session (`>>> ` or `sage: `): plain text and reStructuredText.
//!
//! # Source
//! docutils, "reStructuredText Markup Specification": sections, literal blocks, doctest blocks, interpreted text.

use super::NewCell;

/// The prompts of the first and of further lines of input.
const PROMPTS: [(&str, &str); 2] = [(">>> ", "... "), ("sage: ", "....: ")];

/// The input of a line, and whether it begins a new one.
fn input(line: &str) -> Option<(bool, &str)> {
    let line = line.trim_start();
    for (first, next) in PROMPTS {
        for (prompt, begins) in [(first, true), (next, false)] {
            if let Some(rest) = line.strip_prefix(prompt) {
                return Some((begins, rest));
            }
            // A prompt without anything after it.
            if line == prompt.trim_end() {
                return Some((begins, ""));
            }
        }
    }
    None
}

/// Splits a text into paragraphs and examples. What follows an input up to an empty line is its output.
pub(super) fn text(text: &str) -> Vec<NewCell> {
    let mut cells = Vec::new();
    let mut words: Vec<&str> = Vec::new();
    let mut example: Option<(Vec<&str>, Vec<&str>)> = None;
    for line in text.split('\n') {
        match (input(line), &mut example) {
            (Some((false, more)), Some((source, output))) if output.is_empty() => source.push(more),
            (Some((_, source)), _) => {
                finish_words(&mut cells, &mut words);
                finish_example(&mut cells, example.take());
                example = Some((vec![source], Vec::new()));
            }
            (None, Some(_)) if line.trim().is_empty() => finish_example(&mut cells, example.take()),
            (None, Some((_, output))) => output.push(line.trim()),
            (None, None) => words.push(line),
        }
    }
    finish_example(&mut cells, example);
    finish_words(&mut cells, &mut words);
    cells
}

fn finish_words(cells: &mut Vec<NewCell>, words: &mut Vec<&str>) {
    let text = std::mem::take(words).join("\n");
    if !text.trim().is_empty() {
        cells.push(NewCell::markdown(text.trim_matches('\n')));
    }
}

fn finish_example(cells: &mut Vec<NewCell>, example: Option<(Vec<&str>, Vec<&str>)>) {
    if let Some((source, output)) = example {
        cells.push(NewCell::code(source.join("\n")).printed(&output.join("\n")));
    }
}

/// The same with headings, literal blocks and inline markup turned into Markdown.
pub(super) fn rst(source: &str) -> Vec<NewCell> {
    let lines: Vec<&str> = source.split('\n').collect();
    let mut marks: Vec<char> = Vec::new();
    let mut markdown: Vec<String> = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let (line, next) = (lines[at], lines.get(at + 1).copied().unwrap_or_default());
        // A line above the heading belongs to it.
        if underline(line).is_some()
            && underline(lines.get(at + 2).copied().unwrap_or_default()) == underline(line)
            && !next.trim().is_empty()
        {
            at += 1;
            continue;
        }
        match underline(next).filter(|_| {
            !line.trim().is_empty() && underline(line).is_none() && next.len() + 2 >= line.trim().len()
        }) {
            Some(mark) => {
                let level = marks.iter().position(|known| *known == mark).unwrap_or_else(|| {
                    marks.push(mark);
                    marks.len() - 1
                });
                markdown.push(format!("{} {}", "#".repeat((level + 1).min(6)), line.trim()));
                at += 2;
            }
            None => {
                at += literal(&lines[at..], &mut markdown);
            }
        }
    }
    text(&markdown.join("\n"))
}

/// The character of a line that underlines a heading.
fn underline(line: &str) -> Option<char> {
    let line = line.trim_end();
    let first = line.chars().next().filter(|first| "=-`:.'\"~^_*+#".contains(*first))?;
    (line.len() >= 3 && line.chars().all(|c| c == first)).then_some(first)
}

/// A literal block becomes an example, any other line Markdown. Returns how many lines were used.
fn literal(lines: &[&str], markdown: &mut Vec<String>) -> usize {
    let line = lines[0];
    let code =
        [".. code-block:: python", ".. code-block:: ipython3", ".. code:: python", ".. sourcecode:: python"]
            .iter()
            .any(|directive| line.trim() == *directive);
    let opens = line.trim_end().ends_with("::") && !line.trim_start().starts_with("..");
    if !code && !opens {
        if !line.trim_start().starts_with(".. ") {
            markdown.push(inline(line));
        }
        return 1;
    }
    if opens && line.trim() != "::" {
        markdown.push(inline(line.trim_end().trim_end_matches(':')) + ":");
    }
    let block: Vec<&str> = lines[1..]
        .iter()
        .take_while(|line| line.trim().is_empty() || line.starts_with([' ', '\t']))
        .copied()
        .collect();
    let indent = block
        .iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.len() - line.trim_start().len())
        .min()
        .unwrap_or(0);
    // Options such as `:linenos:` come before the code.
    let text = block
        .iter()
        .map(|line| line.get(indent..).unwrap_or_default())
        .skip_while(|line| line.trim().is_empty() || line.starts_with(':'));
    let text = text.collect::<Vec<&str>>().join("\n");
    markdown.push(String::new());
    if input(&text).is_some() {
        markdown.push(text);
    } else if code {
        let prompted = text
            .trim_end()
            .split('\n')
            .enumerate()
            .map(|(at, line)| format!("{}{line}", if at == 0 { ">>> " } else { "... " }));
        markdown.extend(prompted);
    } else {
        markdown.push(format!("```\n{}\n```", text.trim_end()));
    }
    markdown.push(String::new());
    1 + block.len()
}

/// Roles and double backquotes as in Markdown.
fn inline(line: &str) -> String {
    let mut line = line.replace("``", "`");
    for role in [":math:`", ":code:`"] {
        while let Some(start) = line.find(role) {
            let inside = start + role.len();
            let Some(end) = line[inside..].find('`').map(|end| inside + end) else { break };
            let mark = if role == ":math:`" { "$" } else { "`" };
            line = format!("{}{mark}{}{mark}{}", &line[..start], &line[inside..end], &line[end + 1..]);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::import;
    use super::super::tests::shown;

    #[test]
    fn sessions_in_a_text() {
        let text = "Words.\n\n>>> for i in range(2):\n...     print(i)\n...\n0\n1\n\nsage: 1+1\n2\nsage: x\n";
        let imported = import(".txt", text.as_bytes()).unwrap();
        assert_eq!(
            shown(&imported.notebook),
            ["m Words.", "c for i in range(2):\n    print(i)\n -> 0\n1", "c 1+1 -> 2", "c x"]
        );
    }

    #[test]
    fn restructured_text() {
        let text = "=====\nTitle\n=====\n\nPart\n----\n\nUse ``f`` and :math:`x^2`::\n\n    sage: f(1)\n    2\n\nThen\n\n\
            .. code-block:: python\n   :linenos:\n\n   def g():\n       return 1\n\nLiteral::\n\n    a b\n";
        let imported = import(".rst", text.as_bytes()).unwrap();
        assert_eq!(
            shown(&imported.notebook),
            [
                "m # Title\n\n## Part\n\nUse `f` and $x^2$:",
                "c f(1) -> 2",
                "m Then",
                "c def g():\n    return 1",
                "m Literal:\n\n```\na b\n```"
            ]
        );
    }
}
