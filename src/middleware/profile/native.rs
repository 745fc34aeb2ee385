//! Samples of the native code of this process.

use std::time::Duration;

use super::graph::Samples;
use crate::error::BoxError;

/// Samples all threads for `secs` seconds, and draws the result.
/// # Errors
/// If the timer or the signal for it is in use, or if a sample cannot be resolved.
pub(super) async fn flame_graph(secs: u32, frequency: u16) -> Result<String, BoxError> {
    // A signal during an unwinding of these libraries would deadlock.
    let skipped = ["libc", "libgcc", "pthread", "vdso"];
    let profiler =
        pprof::ProfilerGuardBuilder::default().frequency(frequency.into()).blocklist(&skipped).build()?;
    tokio::time::sleep(Duration::from_secs(secs.into())).await;
    let graph = tokio::task::spawn_blocking(move || {
        let mut samples = Samples::default();
        for (stack, count) in &profiler.report().build()?.data {
            let thread = std::iter::once(stack.thread_name.clone());
            let names =
                stack.frames.iter().rev().flat_map(|frame| frame.iter().rev().map(|symbol| symbol.name()));
            samples.add(thread.chain(names), u64::try_from(*count).unwrap_or(0));
        }
        let title = format!("Native code of a worker, {secs} s at {frequency} samples per second");
        Ok::<_, pprof::Error>(samples.svg(&title))
    });
    Ok(graph.await??)
}
