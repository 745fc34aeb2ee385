//! The workers of one generation, as the supervisor sees them.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::State;
use super::attempt::Plan;
use super::backoff::Backoff;
use super::child::Child;
use super::event::Why;

/// One worker that is ready, serves, or is retired.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) child: Child,
    /// When it became ready.
    pub(super) since: Instant,
    /// Whether it was told to serve.
    pub(super) serving: bool,
    /// When it was retired, and in which turn.
    pub(super) retired: Option<(Instant, u64)>,
    /// Which worker takes its idle connections, once it is retired.
    pub(super) heir: Option<u64>,
    /// Who waits for its saved state.
    pub(super) state_wanted: Option<oneshot::Sender<State>>,
}

impl Worker {
    pub(super) fn new(child: Child) -> Worker {
        Worker { child, since: Instant::now(), serving: false, retired: None, heir: None, state_wanted: None }
    }

    pub(super) fn id(&self) -> u64 {
        self.child.name.id
    }

    pub(super) fn generation(&self) -> u64 {
        self.child.name.generation
    }
}

/// A worker that is being made to take a post.
#[derive(Debug)]
pub(super) struct Making {
    /// Distinguishes it from earlier ones, whose results may still be on their way.
    pub(super) number: u64,
    pub(super) why: Why,
    pub(super) since: Instant,
    /// Its end ends the process that it makes.
    pub(super) _task: AbortOnDropHandle<()>,
}

/// One place of a crew: who serves there, and who is being made to.
#[derive(Debug, Default)]
pub(super) struct Post {
    /// Of an older generation while a rolling reload has not come here. `None` after its end, or before the first.
    pub(super) worker: Option<Worker>,
    pub(super) making: Option<Making>,
    pub(super) backoff: Backoff,
}

/// The generation that serves.
#[derive(Debug)]
pub(super) struct Crew {
    /// Its number; 0: a stand-in that says why nothing better can be served.
    pub(super) generation: u64,
    pub(super) plan: Plan,
    /// As many as it has workers; more while a rolling reload has workers of a larger one to retire.
    pub(super) posts: Vec<Post>,
}

impl Crew {
    /// All that serve.
    pub(super) fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.posts.iter().filter_map(|post| post.worker.as_ref())
    }

    /// The post in which the worker `id` serves.
    pub(super) fn post_of(&self, id: u64) -> Option<usize> {
        self.posts.iter().position(|post| post.worker.as_ref().is_some_and(|worker| worker.id() == id))
    }

    /// The post whose worker takes the connections of one that had the place `index`: the same where it can be, so
    /// that the connections stay as spread as they were.
    pub(super) fn heir_of(&self, index: usize) -> Option<usize> {
        let count = self.posts.len();
        (0..count)
            .map(|step| (index + step) % count)
            .find(|post| self.posts[*post].worker.as_ref().is_some_and(|worker| worker.retired.is_none()))
    }

    /// The first post whose worker is not of this generation, or is one too many.
    pub(super) fn behind(&self) -> Option<usize> {
        let behind =
            |post: &Post| post.worker.as_ref().is_none_or(|worker| worker.generation() != self.generation);
        self.posts.iter().position(behind)
    }
}

/// A switch that is told of once no worker of the generation before accepts: whoever connects then gets the new one.
#[derive(Debug)]
pub(super) struct Announcing {
    /// Whether nothing but a stand-in has served before.
    pub(super) first: bool,
    pub(super) generation: u64,
    pub(super) since: Instant,
    pub(super) cargo: Duration,
    /// The workers that have yet to say that they are retired.
    pub(super) waiting: Vec<u64>,
}
