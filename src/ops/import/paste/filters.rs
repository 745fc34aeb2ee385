//! Paste's own filters, and the middleware that does the same.

use serde_json::{Map, Value, json};

use super::ini::IniSection;
use super::{PasteReader, egg};

/// The filter's entry point, the name of the table, and its content.
struct PasteFilter {
    name: &'static str,
    kind: &'static str,
    /// Options from the section, if there are some.
    options: fn(&IniSection) -> Map<String, Value>,
}

/// Filters that need no Python. All others stay there, with what they wrap.
static FILTERS: [PasteFilter; 10] = [
    PasteFilter { name: "gzip", kind: "compress", options: none },
    PasteFilter { name: "translogger", kind: "access_log", options: none },
    PasteFilter { name: "lint", kind: "lint", options: none },
    PasteFilter { name: "printdebug", kind: "print_debug", options: none },
    PasteFilter { name: "profile", kind: "profile", options: none },
    PasteFilter { name: "wdg_validate", kind: "validate_html", options: none },
    PasteFilter { name: "error_catcher", kind: "error_page", options: none },
    PasteFilter { name: "cgitb", kind: "error_page", options: none },
    PasteFilter { name: "errordocument", kind: "error_document", options: pages },
    PasteFilter { name: "grantip", kind: "grant_ip", options: users },
];

fn none(_: &IniSection) -> Map<String, Value> {
    Map::new()
}

/// `404 = /errors/missing`
fn pages(section: &IniSection) -> Map<String, Value> {
    let pages = section.entries.iter().filter(|(key, ..)| key.parse::<u16>().is_ok());
    let pages: Map<String, Value> =
        pages.map(|(key, value, _)| (key.clone(), value.clone().into())).collect();
    Map::from_iter([("pages".to_owned(), pages.into())])
}

/// `192.168.0.0/24 = ann:editor`
fn users(section: &IniSection) -> Map<String, Value> {
    let networks = section.entries.iter().filter(|(key, ..)| key.starts_with(|c: char| c.is_ascii_digit()));
    let users: Map<String, Value> = networks
        .map(|(key, value, _)| (key.clone(), value.split(':').next().unwrap_or_default().into()))
        .collect();
    Map::from_iter([("users".to_owned(), users.into())])
}

impl PasteReader {
    /// The middleware for the filter `name`; `None` if it runs in Python.
    pub(super) fn filter(&mut self, name: &str) -> Option<String> {
        let section = match self.sections.get(&format!("filter:{name}")) {
            Some(section) => section.clone(),
            // `egg:Paste#gzip` in a pipeline
            None if name.starts_with("egg:") => {
                IniSection { entries: vec![("use".to_owned(), name.to_owned(), 0)], line: 0 }
            }
            None => return None,
        };
        self.filter_of(&section)
    }

    pub(super) fn filter_of(&mut self, section: &IniSection) -> Option<String> {
        let Some(("paste", entry)) = egg(section.get("use")?) else { return None };
        let filter = FILTERS.iter().find(|filter| filter.name == entry)?;
        let options = (filter.options)(section);
        if options.is_empty() {
            return Some(filter.kind.to_owned());
        }
        let mut table = json!({ "use": filter.kind });
        if let Some(table) = table.as_object_mut() {
            table.extend(options);
        }
        Some(self.draft.add("middleware", filter.kind, table))
    }
}
