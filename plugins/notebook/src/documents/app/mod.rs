//! A notebook as an app: its texts, outputs and controls, without its code.
//!
//! Nothing here sends a source to a reader. `visible` decides what readers see, `controls` which messages they may send, and
//! `session` runs the notebook for one reader in a kernel of its own. The document itself never changes.

mod controls;
mod session;
mod text;
mod visible;
mod widgets;

use serde_json::{Value, json};

pub(crate) use self::session::{AppLaunch, AppSession, SessionLimits};
pub(crate) use self::widgets::add_widgets;
use super::model::Model;
use crate::format::NotebookFile;
use crate::protocol::{CellType, Document};

/// A notebook as its readers see it without a kernel.
pub(crate) struct AppView {
    /// Without sources. Markdown is HTML.
    pub(crate) document: Document,
    /// Whether it has code cells, which a session would run.
    pub(crate) has_code: bool,
}

impl AppView {
    /// Of a notebook with this title. `widgets` is the state of its widgets, if it is known better than in its metadata.
    pub(crate) fn new(file: NotebookFile, title: &str, widgets: Option<Value>) -> AppView {
        let known = [widgets, widgets::saved(&file)];
        let model = Model::new(file);
        let outputs: Vec<_> = model.cells.iter().map(|cell| &cell.shown.outputs).collect();
        let outputs = json!(outputs);
        let widgets = known.into_iter().flatten().find_map(|widgets| widgets::shown_in(&outputs, widgets));
        let has_code = has_code(&model);
        AppView { document: visible::document(title, &model, widgets), has_code }
    }
}

fn has_code(model: &Model) -> bool {
    let is_code = |cell_type, source: &str| cell_type == CellType::Code && !source.trim().is_empty();
    model.cells.iter().any(|cell| is_code(cell.shown.cell_type, &cell.shown.source))
}
