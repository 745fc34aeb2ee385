//! One worker for another of the same generation; its siblings go on.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::super::Message;
use super::super::attempt::{self, Ready};
use super::super::crew::{Crew, Making};
use super::super::event::{Event, Why};
use super::super::message::Errand;
use super::{Supervisor, millis};
use crate::ops::fault::Fault;

/// The longest pause before a start while no worker serves.
const LONGEST_OUTAGE: Duration = Duration::from_millis(100);
/// The pause after a start that failed. What it failed of (a database, say) may take a while to come back.
const SHORTEST_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// The longest such pause while no worker serves.
const LONGEST_AFTER_FAILURE: Duration = Duration::from_secs(1);

impl Supervisor {
    /// The worker at `post` has ended after `lasted`: another one takes its place.
    pub(super) fn lost(&mut self, post: usize, lasted: Duration, status: ExitStatus) {
        let Some(crew) = &mut self.crew else { return };
        let (backoff, now) = (&mut crew.posts[post].backoff, Instant::now());
        let killed = status.signal() == Some(Signal::KILL.as_raw());
        let pause = if killed { backoff.next_of_killed(now) } else { backoff.next(now, lasted) };
        let pause = if crew.serves() {
            pause
        } else {
            // No request is answered until a worker is ready: none is held back for long.
            crew.posts.iter_mut().filter_map(|post| post.making.as_mut()).for_each(Making::start_now);
            pause.min(LONGEST_OUTAGE)
        };
        self.fill(post, Why::Ended, pause);
    }

    /// Begins to make the worker that replaces one of an older generation, in a rolling reload.
    pub(super) fn renew(&mut self, post: usize) {
        self.fill(post, Why::Rolling, Duration::ZERO);
    }

    /// Begins to make the worker that replaces one that hangs.
    pub(super) fn supersede(&mut self, post: usize) {
        self.fill(post, Why::Hung, Duration::ZERO);
    }

    /// Begins to make the worker that replaces one that has served long enough.
    pub(super) fn recycle(&mut self, post: usize, why: Why) {
        self.fill(post, why, Duration::ZERO);
    }

    /// Begins to make a worker for `post`, unless one is being made already.
    pub(super) fn fill(&mut self, post: usize, why: Why, pause: Duration) {
        let number = self.next_task();
        let (shared, bound) = (self.shared.clone(), self.bound.clone());
        let Some(crew) = &mut self.crew else { return };
        // A stand-in has nothing to say that its next attempt does not.
        if self.stopping.is_some() || crew.generation == 0 || crew.posts[post].making.is_some() {
            return;
        }
        let (plan, name) = (crew.plan.clone(), shared.name(crew.generation, post));
        // One that hangs does not answer.
        let carry = crew.posts[post].worker.as_ref().is_some_and(|worker| worker.hung.is_none());
        let start_now = Arc::<Notify>::default();
        let hurried = start_now.clone();
        let task = tokio::spawn(async move {
            let _ = tokio::time::timeout(pause, hurried.notified()).await; // as a rule it is not cut short
            let state = if carry { attempt::saved_state(&shared, post).await } else { Default::default() };
            let result =
                attempt::start(&shared, &plan, &bound, name, state, Errand::Serve).await.map(Box::new);
            shared.send(Message::Made { post, number, result });
        });
        let _task = AbortOnDropHandle::new(task);
        crew.posts[post].making =
            Some(Making { number, why, since: Instant::now(), pause, start_now, _task });
    }

    /// Lets a worker that is ready take its post, or tries again.
    pub(super) fn made(&mut self, post: usize, number: u64, result: Result<Box<Ready>, Vec<Fault>>) {
        let serves = self.crew.as_ref().is_some_and(Crew::serves);
        let place = self.crew.as_mut().and_then(|crew| crew.posts.get_mut(post));
        // Of one that was cut off nothing is wanted any more; dropping the worker ends it.
        let Some(place) = place else { return };
        let Some(making) = place.making.take_if(|making| making.number == number) else { return };
        let ready = match result {
            Ok(ready) => *ready,
            Err(faults) => {
                let pause = place.backoff.next(Instant::now(), Duration::ZERO).max(SHORTEST_AFTER_FAILURE);
                let pause = if serves { pause } else { pause.min(LONGEST_AFTER_FAILURE) };
                let all = |fault: &Fault| {
                    [std::slice::from_ref(&fault.message), &*fault.causes].concat().join(": ")
                };
                let what: Vec<_> = faults.iter().map(all).collect();
                let message = format!(
                    "worker {post} could not be started: {}; tried again in {} ms",
                    what.join("; "),
                    pause.as_millis()
                );
                self.shared.tell(&Event::Warning { message });
                return self.fill(post, making.why, pause);
            }
        };
        let (name, pid) = (ready.0.name, ready.0.pid);
        let worker = self.welcome(ready);
        let old: Vec<_> =
            self.crew.as_mut().and_then(|crew| crew.posts[post].worker.replace(worker)).into_iter().collect();
        if making.why == Why::Rolling {
            self.wait_for(&old);
        }
        let ids: Vec<_> = old.iter().map(|old| old.id()).collect();
        self.retire(old);
        ids.into_iter().for_each(|id| self.dismiss(id));
        self.shared.tell(&Event::WorkerReady {
            generation: name.generation,
            worker: name.index,
            pid,
            reason: making.why,
            ms: millis(making.since.elapsed()),
            pause_ms: millis(making.pause),
        });
        self.roll();
    }
}
