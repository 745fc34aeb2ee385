//! The top level of a config, and the keys that every table of a section has.

use serde_json::{Value, json};

/// A key that is allowed at the top level of a config file.
pub struct TopLevel {
    /// The key.
    pub name: &'static str,
    /// Whether a profile may set it.
    pub in_profile: bool,
}

const fn top(name: &'static str, in_profile: bool) -> TopLevel {
    TopLevel { name, in_profile }
}

/// Every key at the top level.
pub const TOP_LEVEL: [TopLevel; 12] = [
    top("include", false),
    top("vars", true),
    top("profile", false),
    top("server", true),
    top("app", true),
    top("middleware", true),
    top("resource", true),
    top("program", true),
    top("task", true),
    top("process", true),
    top("log", true),
    top("otlp", true),
];

/// The top-level keys that a profile may set.
pub fn profile_keys() -> impl Iterator<Item = &'static str> {
    TOP_LEVEL.iter().filter(|key| key.in_profile).map(|key| key.name)
}

/// The sections that have one table per part, each with a kind.
pub const SECTIONS: [&str; 4] = ["server", "app", "middleware", "resource"];

/// The keys that every table of a section may have besides `use` and its kind's options, with their schemas.
pub fn common_keys(section: &str) -> Vec<(&'static str, Value)> {
    match section {
        "server" => vec![(
            "app",
            json!({ "type": "string", "default": "main", "description": "Name of the app that it serves." }),
        )],
        "app" => vec![
            (
                "middleware",
                json!({
                    "type": "array",
                    "items": { "type": "string" },
                    "description": "The stack, outermost first: names of `[middleware.NAME]` tables or of kinds.",
                }),
            ),
            (
                "isolation",
                json!({
                    "anyOf": [
                        { "const": "process" },
                        {
                            "type": "object",
                            "additionalProperties": false,
                            "properties": {
                                "processes": { "type": "integer", "minimum": 1, "maximum": 64 },
                                "start_secs": { "type": "integer", "minimum": 1 },
                                "max_requests": { "type": "integer", "minimum": 0 },
                                "max_growth_mib": { "type": "integer", "minimum": 0 },
                                "stuck_secs": { "type": "integer", "minimum": 0 },
                            },
                        },
                    ],
                    "description":
                        "With \"process\", the app runs in a separate process that all workers share, so that a crash, a leak \
                         or a blocked thread does not affect other apps. Or a table of options: `processes` (1), \
                         `start_secs` (30), and, as in the kind `wsgi`, `max_requests`, `max_growth_mib` and `stuck_secs` \
                         (300).",
                }),
            ),
            (
                "max_in_flight",
                json!({
                    "type": "integer",
                    "minimum": 1,
                    "description":
                        "Maximum number of requests in flight for the app in each worker; further ones get 503 with \
                         Retry-After. Default: all but the last tenth of its server's `max_in_flight`, \
                         if the server has several apps.",
                }),
            ),
        ],
        "middleware" => vec![
            (
                "only",
                requests(
                    "Only requests that match pass through the middleware. All others go straight to the next part.",
                ),
            ),
            ("except", requests("Requests that match do not pass through the middleware.")),
        ],
        _ => Vec::new(),
    }
}

/// The schema of a table that describes requests. A request must have one value of each key that is given.
fn requests(about: &str) -> Value {
    let list = |about: &str| json!({ "type": "array", "items": { "type": "string" }, "description": about });
    json!({
        "type": "object",
        "description": about,
        "additionalProperties": false,
        "properties": {
            "path": list(
                "Paths below the app's mount: `/login`, `/api/*` (`/api` and everything below it), `*.php`. \
                 A `*` stands for any characters.",
            ),
            "method": list("Methods: `POST`."),
            "host": list("Hosts: `example.org`, `*.example.org`."),
        },
    })
}
