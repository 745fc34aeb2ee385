//! What the failed tests printed, for the end of the run: a log of 40 minutes is often cut at its beginning.

/// Lines kept of one failed test.
const LINES: usize = 40;

/// Collects the output of failed tests from the lines of a test runner.
#[derive(Default)]
pub(super) struct Failures {
    blocks: Vec<Vec<String>>,
    /// Whether the next lines belong to the last block.
    open: bool,
}

impl Failures {
    /// Reads the next line of libtest or of node's TAP reporter.
    pub(super) fn read(&mut self, line: &str) {
        if begins(line) {
            self.open = true;
            self.blocks.push(vec![line.to_owned()]);
        } else if self.open && ends(line) {
            self.open = false;
        } else if self.open
            && let Some(block) = self.blocks.last_mut()
            && block.len() < LINES
        {
            block.push(line.to_owned());
        }
    }

    /// Adds a check that has no tests.
    pub(super) fn add(&mut self, what: &str) {
        self.open = false;
        self.blocks.push(vec![what.to_owned()]);
    }

    /// The failed tests with what they printed, or nothing if all passed.
    pub(super) fn text(&self) -> String {
        let blocks: Vec<String> =
            self.blocks.iter().map(|block| block.join("\n").trim_end().to_owned()).collect();
        if blocks.is_empty() { String::new() } else { format!("=== failed:\n{}\n", blocks.join("\n\n")) }
    }
}

/// `---- NAME stdout ----` of libtest, or `not ok 7 - NAME` of TAP.
fn begins(line: &str) -> bool {
    (line.starts_with("---- ") && line.ends_with(" ----")) || line.trim_start().starts_with("not ok ")
}

/// `failures:` of libtest, or `...` of TAP, which ends the details of a test.
fn ends(line: &str) -> bool {
    line == "failures:" || line.trim() == "..."
}

#[cfg(test)]
mod tests {
    use super::Failures;

    #[test]
    fn only_the_output_of_failed_tests_is_kept() {
        let mut failures = Failures::default();
        assert_eq!(failures.text(), "");
        for line in [
            "test one ... ok",
            "failures:",
            "---- two stdout ----",
            "expected 1",
            "failures:",
            "    two",
            "ok 1 - three",
            "  ---",
            "  ...",
            "not ok 2 - four",
            "  ---",
            "  error: 'no button'",
            "  ...",
            "ok 3 - five",
        ] {
            failures.read(line);
        }
        failures.add("cargo fmt");
        let text = failures.text();
        assert_eq!(
            text,
            "=== failed:\n---- two stdout ----\nexpected 1\n\nnot ok 2 - four\n  ---\n  error: 'no button'\n\ncargo fmt\n"
        );
    }
}
