//! `paster list`.

use std::process::ExitCode;

use serde_json::json;

use super::output::print;
use crate::error::Result;
use crate::ops::list::Section;

/// Lists the kinds of server, middleware, application and resource, and their options.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster list                         list every kind, one per line
  paster list middleware              list the kinds of one section
  paster list middleware compress     describe the options of one kind, with types and defaults
  paster list apps --json
  paster list --markdown              the reference of all kinds and tables (docs/kinds.md)
  paster list --order                 what happens to a request, step by step (docs/order.md)")]
pub(super) struct Args {
    /// What to list [default: all]
    #[arg(value_enum)]
    section: Option<Word>,

    /// The kind to describe
    kind: Option<String>,

    /// Print JSON, with the options
    #[arg(long)]
    json: bool,

    /// Print the reference of all kinds and of the other tables as Markdown
    #[arg(long, conflicts_with_all = ["json", "section"])]
    markdown: bool,

    /// Print the steps of a request, in order, as Markdown
    #[arg(long, conflicts_with_all = ["json", "section", "markdown"])]
    order: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Word {
    #[value(alias = "server")]
    Servers,
    Middleware,
    #[value(alias = "app")]
    Apps,
    #[value(alias = "resource")]
    Resources,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        if self.markdown {
            return print(&crate::ops::reference::markdown());
        }
        if self.order {
            return print(&crate::ops::order::markdown());
        }
        let section = self.section.map(|word| match word {
            Word::Servers => Section::Servers,
            Word::Middleware => Section::Middleware,
            Word::Apps => Section::Apps,
            Word::Resources => Section::Resources,
        });
        match (section, self.kind) {
            (Some(section), Some(name)) => {
                let kind = section.kind(&name)?;
                match self.json {
                    true => print(&format!("{:#}\n", json!(kind))),
                    false => print(&section.describe(&kind, columns())),
                }
            }
            (Some(section), None) => print_section(section, self.json),
            (None, _) if self.json => {
                let all = Section::ALL.map(|section| (section.name().to_owned(), json!(section.kinds())));
                print(&format!("{:#}\n", serde_json::Value::Object(all.into_iter().collect())))
            }
            (None, _) => {
                let parts =
                    Section::ALL.map(|section| format!("{}:\n{}", section.name(), section.text(columns())));
                print(&parts.join("\n"))
            }
        }
    }
}

/// Prints the kinds of one section; `paster serve --list-servers` and similar options use it too.
pub(super) fn print_section(section: Section, json: bool) -> Result<ExitCode> {
    match json {
        true => print(&format!("{:#}\n", json!(section.kinds()))),
        false => print(&section.text(columns())),
    }
}

fn columns() -> usize {
    terminal_columns().unwrap_or(100).clamp(40, 110)
}

fn terminal_columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}
