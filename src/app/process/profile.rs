//! Samples of the Python stacks in the processes of an app.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use paster_frames::{Kind, push_pair};

use super::link::{BodyPart, ProcessConnection, ProcessStream, StreamState};
use super::pool::Pool;
use crate::body::BoxFuture;
use crate::profilers::Profiled;

/// How much longer than the sampling a process may take: it first looks for the interpreter in its memory.
const MORE: Duration = Duration::from_secs(15);

impl Profiled for Pool {
    fn profile(self: Arc<Self>, secs: u32, frequency: u16) -> BoxFuture<Vec<Result<String, String>>> {
        let mut request = Vec::new();
        push_pair(&mut request, b"secs", secs.to_string().as_bytes());
        push_pair(&mut request, b"frequency", frequency.to_string().as_bytes());
        let limit = Duration::from_secs(secs.into()) + MORE;
        Box::pin(async move {
            join_all(self.connections().iter().map(|link| async {
                let profile = OpenProfile::new(link, &request);
                match tokio::time::timeout(limit, profile.samples()).await {
                    Ok(samples) => samples,
                    Err(_) => Err("the process did not respond in time".to_owned()),
                }
            }))
            .await
        })
    }
}

/// The stream of a profile that is being taken.
struct OpenProfile<'a> {
    link: &'a ProcessConnection,
    id: u32,
    stream: Arc<ProcessStream>,
}

impl OpenProfile<'_> {
    fn new<'a>(link: &'a ProcessConnection, request: &[u8]) -> OpenProfile<'a> {
        let (id, stream) = link.open(ProcessStream::default());
        link.send(|out| out.push(Kind::Profile, id, request));
        OpenProfile { link, id, stream }
    }

    async fn samples(&self) -> Result<String, String> {
        std::future::poll_fn(|cx| {
            let mut state = self.stream.state.lock();
            let result = result(&mut state);
            if result.is_none() {
                state.waker = Some(cx.waker().clone());
            }
            result.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

fn result(state: &mut StreamState) -> Option<Result<String, String>> {
    if let Some(failure) = &state.failure {
        return Some(Err(failure.to_string()));
    }
    if !state.ended {
        return None;
    }
    let text = state.parts.drain(..).filter_map(|part| match part {
        BodyPart::Data(data) => Some(String::from_utf8_lossy(&data).into_owned()),
        BodyPart::Message(..) | BodyPart::File(..) => None,
    });
    Some(Ok(text.collect()))
}

impl Drop for OpenProfile<'_> {
    fn drop(&mut self) {
        self.link.close(self.id);
    }
}
