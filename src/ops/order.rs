//! In which order what happens to a request: `docs/order.md` and `paster routes --order`.

use std::fmt::Write;

use super::routes::{AppRoute, Routes};
use crate::app::APPS;
use crate::middleware::{MIDDLEWARE, StackPlace};

/// A step of every request, outside of any stack.
struct FixedStep {
    name: &'static str,
    about: &'static str,
}

/// Before the stack, in order.
const BEFORE: [FixedStep; 6] = [
    FixedStep {
        name: "accept",
        about: "The server accepts the connection, or closes it if there are too many.",
    },
    FixedStep {
        name: "PROXY",
        about: "It reads the PROXY header of a trusted peer, if the config requires one.",
    },
    FixedStep { name: "TLS", about: "It does the TLS handshake, and checks the client's certificate." },
    FixedStep {
        name: "parse",
        about: "It parses the head of the request, within the limits of time and size.",
    },
    FixedStep {
        name: "gate",
        about: "The gate checks the host, the method, the target, the framing of the body and the path. It removes headers that must not pass, and records the facts about the client. No later step reads these from the headers.",
    },
    FixedStep {
        name: "in flight",
        about: "The request is refused with 503 if too many are in flight; otherwise it is counted.",
    },
];

/// After the stack, in order.
const AFTER: [FixedStep; 3] = [
    FixedStep {
        name: "settle",
        about: "The gate removes the bodies of HEAD, 204 and 304 responses, sets a single `Content-Length`, and checks header values. If the app failed without a response, the client gets 500.",
    },
    FixedStep { name: "send", about: "The server sends the head and the body, as fast as the client reads." },
    FixedStep {
        name: "end",
        about: "The request leaves the table of requests in flight, and the access log gets a line.",
    },
];

/// `docs/order.md`. A test compares it with the file in the repository.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    let mut number = 0;
    steps(&mut page, &BEFORE, &mut number);
    number += 1;
    let _ = writeln!(
        page,
        "{number}. **stack**: The request passes through the middleware in the app's list `middleware`, from the first to the last."
    );
    number += 1;
    let _ = writeln!(
        page,
        "{number}. **app**: The app answers, or passes the request to another app of the config, with the stack of that app."
    );
    number += 1;
    let _ = writeln!(
        page,
        "{number}. **back**: The response passes through the same middleware, from the last to the first."
    );
    steps(&mut page, &AFTER, &mut number);
    page += STACK;
    for (index, place) in StackPlace::ALL.into_iter().enumerate() {
        let _ = writeln!(
            page,
            "\n### {}. {}\n\n{}\n\n| kind | what it does |\n|---|---|",
            index + 1,
            place.title(),
            place.reason()
        );
        for kind in MIDDLEWARE.iter().filter(|kind| kind.kind.place == place) {
            let _ = writeln!(page, "| [`{0}`](kinds.md#middleware-{0}) | {1} |", kind.name, kind.summary);
        }
    }
    page
}

fn steps(page: &mut String, steps: &[FixedStep], number: &mut usize) {
    for step in steps {
        *number += 1;
        let _ = writeln!(page, "{number}. **{}**: {}", step.name, step.about);
    }
}

const HEAD: &str = "# What happens to a request

<!-- Written by `paster list --order`. Do not edit: change the entries of the kinds, or src/ops/order.rs. -->

`paster routes --order` prints these steps for the apps and the middleware of a config.

";

const STACK: &str = "
## The order of a stack

The config sets the order of a stack. This order is recommended for most sites:
";

/// The steps of the requests to each server of a config, as text.
pub fn text(routes: &Routes) -> String {
    let mut text = String::new();
    for server in &routes.servers {
        let _ = writeln!(text, "{} ({})", server.name, server.kind);
        let mut number = 0;
        fixed(&mut text, &BEFORE, &mut number);
        app(&mut text, &server.app, &mut number, 1);
        let _ =
            writeln!(text, "      the response passes through the same parts, from the last to the first");
        fixed(&mut text, &AFTER, &mut number);
    }
    text
}

fn fixed(text: &mut String, steps: &[FixedStep], number: &mut usize) {
    for step in steps {
        *number += 1;
        let _ = writeln!(text, "{number:4}  {:12} {}", step.name, step.about);
    }
}

/// The steps of an app: its stack, itself, and the apps that it passes requests to.
fn app(text: &mut String, route: &AppRoute, number: &mut usize, depth: usize) {
    let indent = "  ".repeat(depth - 1);
    for layer in &route.middleware {
        *number += 1;
        let summary = MIDDLEWARE.iter().find(|kind| kind.name == layer.kind).map_or("", |kind| kind.summary);
        let kind = if layer.kind == layer.name { String::new() } else { format!(" ({})", layer.kind) };
        let requests = layer.requests.as_ref().map(|requests| format!(" [{requests}]")).unwrap_or_default();
        let _ = writeln!(text, "{number:4}  {indent}{}{kind}{requests}: {summary}", layer.name);
    }
    *number += 1;
    let summary = APPS.iter().find(|kind| kind.name == route.kind).map_or("", |kind| kind.summary);
    let _ = writeln!(text, "{number:4}  {indent}app {} ({}): {summary}", route.app, route.kind);
    for inner in &route.routes {
        let at = inner.at.as_deref().unwrap_or_default();
        let _ = writeln!(text, "      {indent}{at} continues with");
        app(text, inner, number, depth + 1);
    }
}
