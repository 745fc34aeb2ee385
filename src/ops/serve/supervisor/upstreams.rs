//! The upstreams of all proxies, from what the workers count.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::state::Supervisor;
use crate::metrics::{Counts, Series, Value, families};
use crate::ops::control::UpstreamInfo;

impl Supervisor {
    /// Asks all workers for the upstreams that they know.
    pub(super) fn upstreams(&mut self) -> impl Future<Output = Vec<UpstreamInfo>> + use<> {
        let (sender, found) = oneshot::channel();
        // If sending the answer fails, the client has gone.
        self.count(Box::new(move |sum| drop(sender.send(upstreams(&sum)))));
        async move { found.await.unwrap_or_default() }
    }
}

fn upstreams(sum: &Counts) -> Vec<UpstreamInfo> {
    let mut found = BTreeMap::<(String, String), UpstreamInfo>::new();
    for (series, value) in sum.iter() {
        let Value::Level(level) = value else { continue };
        let level = u64::try_from(*level).unwrap_or(0);
        if ![families::UPSTREAM_WORKERS.name, families::UPSTREAM_REQUESTS_IN_FLIGHT.name]
            .contains(&&*series.family)
        {
            continue;
        }
        let (app, address) = (label(series, "app"), label(series, "upstream"));
        let one = found.entry((app.clone(), address.clone())).or_default();
        (one.app, one.address) = (app, address);
        match (&*series.family == families::UPSTREAM_WORKERS.name, &*label(series, "state")) {
            (false, _) => one.in_flight = level,
            (true, "failing") => one.failing = level,
            (true, _) => one.working = level,
        }
    }
    found.into_values().collect()
}

fn label(series: &Series, wanted: &str) -> String {
    series.labels.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone()).unwrap_or_default()
}
