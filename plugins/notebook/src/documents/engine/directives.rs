//! Directives: lines at the beginning of a cell that set how it runs or looks (`%html`, `%sh`, `%r`, `%hide`), as in the Sage
//! Notebook.
//!
//! A directive consists of a name only. So it cannot be confused with a cell magic of IPython (`%%html`) or a line magic with
//! arguments (`%time f()`). Names that are not in the tables here go to the kernel.

use serde::{Deserialize, Serialize};

use crate::protocol::Object;

/// Directives whose cells the document shows itself: names, and the MIME type.
const SHOWN: [(&str, &str); 7] = [
    ("html", "text/html"),
    ("markdown", "text/markdown"),
    ("md", "text/markdown"),
    ("latex", "text/latex"),
    ("svg", "image/svg+xml"),
    ("javascript", "application/javascript"),
    ("js", "application/javascript"),
];

/// Directives whose cells a kernel runs: names, and the language as in kernelspecs.
const LANGUAGES: [(&str, &str); 20] = [
    ("sh", "bash"),
    ("bash", "bash"),
    ("python", "python"),
    ("r", "r"),
    ("julia", "julia"),
    ("octave", "octave"),
    ("sage", "sage"),
    ("gap", "gap"),
    ("maxima", "maxima"),
    ("singular", "singular"),
    ("ruby", "ruby"),
    ("rust", "rust"),
    ("typescript", "typescript"),
    ("go", "go"),
    ("haskell", "haskell"),
    ("scala", "scala"),
    ("lua", "lua"),
    ("perl", "perl"),
    ("cpp", "c++"),
    ("sql", "sql"),
];

/// Python's magics that time a whole cell.
const TIMED: [&str; 2] = ["time", "timeit"];

/// A text that the document shows when it is the cell's turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ShownText {
    mime: String,
    text: String,
}

impl ShownText {
    pub(super) fn data(self) -> Object {
        Object::from_iter([(self.mime, self.text.into())])
    }
}

/// How a cell runs.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Plan {
    /// The document's kernel runs this code.
    Code(String),
    /// The document shows this text.
    Show(ShownText),
    /// A kernel of this language runs this code.
    Other { language: String, code: String },
}

/// The directives of a cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Directives {
    pub(super) plan: Plan,
    /// `%hide`: the page hides the source.
    pub(super) hide: bool,
    /// `%auto`: the cell runs before the first run of a new kernel.
    pub(super) auto: bool,
}

/// Reads the directives of a cell. `language` is the language of the document's kernel.
pub(super) fn directives(source: &str, language: Option<&str>) -> Directives {
    let (mut hide, mut auto) = (false, false);
    let mut rest = source;
    loop {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let plan = match line.trim_end().strip_prefix('%') {
            Some("hide") => {
                hide = true;
                None
            }
            Some("auto") => {
                auto = true;
                None
            }
            Some(name) => Some(named(name, after, rest, language)),
            None => Some(Plan::Code(rest.to_owned())),
        };
        if let Some(plan) = plan {
            return Directives { plan, hide, auto };
        }
        rest = after;
    }
}

/// The plan of a cell whose first line is `%name`, with `after` below it.
fn named(name: &str, after: &str, whole: &str, language: Option<&str>) -> Plan {
    if let Some((_, mime)) = SHOWN.iter().find(|(known, _)| *known == name) {
        return Plan::Show(ShownText { mime: (*mime).to_owned(), text: after.to_owned() });
    }
    let is = |other: &str| language.is_some_and(|language| language.eq_ignore_ascii_case(other));
    if is("python") && TIMED.contains(&name) {
        return Plan::Code(format!("%%{name}\n{after}"));
    }
    match LANGUAGES.iter().find(|(known, _)| *known == name) {
        Some((_, other)) if is(other) => Plan::Code(after.to_owned()),
        // IPython's magic of this name; the built-in kernel has it too.
        Some((_, "bash")) if is("python") => Plan::Code(format!("%%{name}\n{after}")),
        Some((_, other)) => Plan::Other { language: (*other).to_owned(), code: after.to_owned() },
        None => Plan::Code(whole.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, language: &str, plan: Plan) {
        let expected = Directives { plan, hide: source.contains("%hide"), auto: source.contains("%auto") };
        assert_eq!(directives(source, Some(language)), expected, "{source}");
    }

    fn code(text: &str) -> Plan {
        Plan::Code(text.to_owned())
    }

    #[test]
    fn lines_at_the_beginning_say_what_a_cell_is() {
        let html = ShownText { mime: "text/html".into(), text: "<b>x</b>\ny".into() };
        check("%html\n<b>x</b>\ny", "python", Plan::Show(html.clone()));
        check("%hide\n%html  \n<b>x</b>\ny", "bash", Plan::Show(html));
        check("%auto\n%hide\nx = 1", "python", code("x = 1"));
        check("%sh\nls", "python", code("%%sh\nls"));
        check("%sh\nls", "bash", code("ls"));
        check("%python\nx", "python", code("x"));
        let r = |code: &str| Plan::Other { language: "r".into(), code: code.into() };
        check("%r\nx <- 1", "python", r("x <- 1"));
        check("%r", "python", r(""));
        check("%r\nx <- 1", "R", code("x <- 1"));
        check("%time\nf()", "python", code("%%time\nf()"));
    }

    #[test]
    fn what_is_not_meant_is_left_to_the_kernel() {
        for source in
            ["%%html\n<b>", "%time f()", "%html x", "%pwd", "x = 1\n%html\n", "", "%", "\n%html", "%time\nx"]
        {
            let language = if source == "%time\nx" { "bash" } else { "python" };
            check(source, language, code(source));
        }
    }
}
