//! The sockets that systemd passes.

use super::Listen;
use crate::error::Error;

/// The first descriptor that systemd passes, sd_listen_fds(3).
const FIRST_PASSED: i32 = 3;

/// The entries that `systemd` stands for in this process; any other entry stands for itself.
/// # Errors
/// If systemd passed none, or none with that name.
/// # Source
/// sd_listen_fds(3): `LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`.
pub fn expand(listen: &Listen) -> Result<Vec<Listen>, Error> {
    let Listen::Systemd(name) = listen else { return Ok(vec![listen.clone()]) };
    let set = |name: &str| std::env::var(name).ok();
    of_environment(std::process::id(), name.as_deref(), set)
}

fn of_environment(
    pid: u32,
    name: Option<&str>,
    set: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Listen>, Error> {
    let meant_for = set("LISTEN_PID").and_then(|text| text.parse::<u32>().ok());
    let count = set("LISTEN_FDS").and_then(|text| text.parse::<i32>().ok()).unwrap_or(0);
    if let (Some(other), 1..) = (meant_for.filter(|meant| *meant != pid), count) {
        let message = format!("systemd passed its sockets to process {other}, not to this one ({pid})");
        return Err(Error::new(message)
            .help("a wrapper script must start paster with `exec paster serve …` to keep the process id"));
    }
    let count = meant_for.map_or(0, |_| count);
    if count <= 0 {
        return Err(Error::new("systemd passed no socket")
            .help("start it with a socket unit (`.socket` beside `.service`), or list addresses"));
    }
    let names = set("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = names.split(':').collect();
    let of_index = |index: i32| usize::try_from(index).ok().and_then(|index| names.get(index).copied());
    let wanted = |index: &i32| name.is_none_or(|name| of_index(*index) == Some(name));
    let found: Vec<Listen> =
        (0..count).filter(wanted).map(|index| Listen::Fd(FIRST_PASSED + index)).collect();
    match (found.is_empty(), name) {
        (true, Some(name)) => Err(Error::new(format!("systemd passed no socket named `{name}`"))
            .help(format!("it passed: {}", names.join(", ")))),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemds_sockets_are_ours_alone() {
        let passed = |pid: u32, name: Option<&str>| {
            let set = |name: &str| {
                let value = match name {
                    "LISTEN_PID" => "7",
                    "LISTEN_FDS" => "3",
                    _ => "web:admin:web",
                };
                Some(value.to_owned())
            };
            of_environment(pid, name, set).map_err(|error| error.to_string())
        };
        assert_eq!(passed(7, None), Ok(vec![Listen::Fd(3), Listen::Fd(4), Listen::Fd(5)]));
        assert_eq!(passed(7, Some("web")), Ok(vec![Listen::Fd(3), Listen::Fd(5)]));
        assert_eq!(passed(7, Some("x")), Err("systemd passed no socket named `x`".into()));
        let other = "systemd passed its sockets to process 7, not to this one (8)";
        assert_eq!(passed(8, None), Err(other.into()));
        assert_eq!(of_environment(8, None, |_| None).unwrap_err().to_string(), "systemd passed no socket");
    }
}
