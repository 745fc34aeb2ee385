//! Samples of the Python functions of an app.

use std::sync::Arc;

use super::graph::Samples;
use crate::profilers::Profiled;

/// Samples all processes of the app for `secs` seconds, and draws the result.
/// # Errors
/// For the client: no process has sent samples, and why.
pub(super) async fn flame_graph(
    app: &str,
    profiled: Arc<dyn Profiled>,
    secs: u32,
    frequency: u16,
) -> Result<String, String> {
    let results = profiled.profile(secs, frequency).await;
    let (mut samples, mut processes, mut reasons) = (Samples::default(), 0_usize, Vec::new());
    for result in results {
        match result {
            Ok(text) => {
                processes += 1;
                text.lines().for_each(|line| add(&mut samples, line));
            }
            Err(reason) => reasons.push(reason),
        }
    }
    if processes == 0 {
        let reason = reasons.first().map_or("it has no processes at the moment", String::as_str);
        return Err(format!("The app `{app}` could not be profiled: {reason}.\n"));
    }
    let title = format!(
        "Python functions of the app {app}, {processes} of {} processes, {secs} s at {frequency} samples per second",
        processes + reasons.len()
    );
    Ok(samples.svg(&title))
}

/// Adds a line such as `<module> (app.py);view (app.py) 12`.
fn add(samples: &mut Samples, line: &str) {
    if let Some((stack, count)) = line.rsplit_once(' ')
        && let Ok(count) = count.parse()
    {
        samples.add(stack.split(';').map(str::to_owned), count);
    }
}
