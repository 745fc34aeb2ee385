//! Python scripts: cells begin with `# %%` lines, as in Spyder, VS Code and jupytext. A script without them is one cell.

use super::NewCell;

pub(super) fn cells(text: &str) -> Vec<NewCell> {
    let mut cells = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    let mut is_markdown = false;
    for line in text.split('\n') {
        let head = line.strip_prefix("# %%").or_else(|| line.strip_prefix("#%%"));
        match head {
            Some(head) => {
                finish(&mut cells, &mut lines, is_markdown);
                is_markdown = head.contains("[markdown]") || head.contains("[md]");
            }
            None => lines.push(line),
        }
    }
    finish(&mut cells, &mut lines, is_markdown);
    cells
}

fn finish(cells: &mut Vec<NewCell>, lines: &mut Vec<&str>, is_markdown: bool) {
    let lines = std::mem::take(lines);
    if is_markdown {
        let text = lines
            .iter()
            .map(|line| line.strip_prefix("# ").unwrap_or_else(|| line.strip_prefix('#').unwrap_or(line)));
        cells.push(NewCell::markdown(text.collect::<Vec<&str>>().join("\n").trim_matches('\n')));
    } else if lines.iter().any(|line| !line.trim().is_empty()) {
        cells.push(NewCell::code(lines.join("\n").trim_matches('\n')));
    }
}

#[cfg(test)]
mod tests {
    use super::super::import;
    use super::super::tests::shown;

    #[test]
    fn cells_of_a_script() {
        let script = "#!/usr/bin/env python\nimport os\n\n# %% [markdown]\n# # Title\n#\n# words\n\n# %%\nx = 1\n\n# %% second\ny = 2\n";
        let imported = import(".py", script.as_bytes()).unwrap();
        assert_eq!(
            shown(&imported.notebook),
            ["c #!/usr/bin/env python\nimport os", "m # Title\n\nwords", "c x = 1", "c y = 2"]
        );
    }
}
