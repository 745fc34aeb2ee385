//! Draws samples of stacks as a flame graph.

use std::collections::BTreeMap;
use std::fmt::Write;

use handlebars::html_escape;

/// Width of the image, and height of a row, in pixels.
const WIDTH: f64 = 1200.0;
const ROW: f64 = 17.0;
/// Height of the title.
const HEADING: f64 = 26.0;
/// Width of a letter: longer names are cut.
const LETTER: f64 = 6.8;
/// Narrower boxes are left out.
const NARROWEST: f64 = 0.3;

/// The samples below one function.
#[derive(Debug, Default)]
pub(super) struct Samples {
    count: u64,
    inner: BTreeMap<String, Samples>,
}

impl Samples {
    /// Adds `count` samples of a stack, whose outermost function is first.
    pub(super) fn add(&mut self, stack: impl Iterator<Item = String>, count: u64) {
        self.count += count;
        let mut node = self;
        for name in stack {
            node = node.inner.entry(name).or_default();
            node.count += count;
        }
    }

    fn depth(&self) -> usize {
        1 + self.inner.values().map(Samples::depth).max().unwrap_or(0)
    }

    /// The graph as SVG, below a title: the width of a box is the share of samples in this function and what it called.
    pub(super) fn svg(&self, title: &str) -> String {
        let rows = if self.count == 0 { 1 } else { self.depth() };
        let height = ROW * rows as f64 + HEADING;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" font-family=\"monospace\" font-size=\"11\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"4\" y=\"16\" font-size=\"13\">{}</text>\n",
            html_escape(title)
        );
        if self.count == 0 {
            let _ = writeln!(svg, "<text x=\"4\" y=\"{}\">Nothing was running.</text>", HEADING + 12.0);
        }
        self.draw(&mut svg, "all", 0.0, height - ROW, WIDTH / self.count.max(1) as f64, self.count);
        svg + "</svg>\n"
    }

    fn draw(&self, svg: &mut String, name: &str, left: f64, top: f64, scale: f64, all: u64) {
        let width = self.count as f64 * scale;
        if width < NARROWEST {
            return;
        }
        let percent = 100.0 * self.count as f64 / all.max(1) as f64;
        let title = format!("{name}: {} samples, {percent:.1} %", self.count);
        let shown: String = name.chars().take(((width - 4.0) / LETTER).max(0.0) as usize).collect();
        let (height, text) = (ROW - 1.0, top + 12.0);
        // Writing to a string does not fail.
        let _ = writeln!(
            svg,
            "<g><title>{}</title><rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height}\" \
             fill=\"{}\"/><text x=\"{:.1}\" y=\"{text:.1}\">{}</text></g>",
            html_escape(&title),
            colour(name),
            left + 2.0,
            html_escape(&shown),
        );
        let mut left = left;
        for (name, inner) in &self.inner {
            inner.draw(svg, name, left, top - ROW, scale, all);
            left += inner.count as f64 * scale;
        }
    }
}

/// A warm colour that is always the same for a name.
fn colour(name: &str) -> String {
    let hash = name.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    format!("rgb({},{},{})", 205 + hash % 50, 90 + hash / 50 % 120, hash / 6000 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_shares_and_names_are_escaped() {
        let mut samples = Samples::default();
        let stack =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().into_iter();
        samples.add(stack(&["main", "f<T>"]), 3);
        samples.add(stack(&["main", "g"]), 1);
        let svg = samples.svg("Two <functions>");
        assert!(
            svg.contains(
                "<title>f&lt;T&gt;: 3 samples, 75.0 %</title><rect x=\"0.0\" y=\"26.0\" width=\"900.0\""
            ),
            "{svg}"
        );
        assert!(
            svg.contains("<title>g: 1 samples, 25.0 %</title><rect x=\"900.0\" y=\"26.0\" width=\"300.0\""),
            "{svg}"
        );
        assert!(
            svg.contains("height=\"77\"")
                && svg.contains(">Two &lt;functions&gt;</text>")
                && svg.ends_with("</svg>\n"),
            "{svg}"
        );
    }

    #[test]
    fn a_graph_without_samples_says_so() {
        assert!(Samples::default().svg("Idle").contains(">Nothing was running.</text>"));
    }
}
