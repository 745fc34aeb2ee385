//! The live page of development: browsers refresh once a new generation answers, and show why one does not.

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::message::Start;
use crate::body::App;
use crate::ops::fault::Fault;

/// What the pages of developers are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(super) enum Status {
    /// All is well.
    Serving,
    /// A new generation is being made.
    Building,
    /// It could not be made.
    Failed {
        /// Why.
        errors: Vec<Fault>,
    },
}

/// The live page's state in one worker.
#[derive(Clone)]
pub(super) struct Live {
    development: bool,
    status: watch::Sender<Option<Status>>,
}

impl Live {
    pub(super) fn new(start: &Start) -> Live {
        let status = match &start.failed {
            Some(errors) => Status::Failed { errors: errors.clone() },
            None => Status::Serving,
        };
        Live { development: start.development, status: watch::Sender::new(Some(status)) }
    }

    /// Tells all pages.
    pub(super) fn set(&self, status: Status) {
        self.status.send_if_modified(|now| now.is_some() && now.replace(status.clone()) != Some(status));
    }

    /// Ends the streams to the pages: they reconnect to the next generation.
    pub(super) fn end(&self) {
        self.status.send_replace(None);
    }

    /// Puts the live page around `app`.
    pub(super) fn wrap(&self, app: App) -> App {
        app
    }
}
