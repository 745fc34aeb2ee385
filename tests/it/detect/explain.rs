//! `paster serve DIRECTORY --explain`, and directories of Rails and Deno.

use serde_json::Value;

use crate::support::{folder, paster, text};

fn explained(files: &[(&str, &str)], args: &[&str]) -> String {
    let place = folder(files);
    let output =
        paster().args(["serve", ".", "--explain"]).args(args).current_dir(place.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).to_owned()
}

#[test]
fn every_rule_says_what_it_found() {
    let files = [("public/index.html", "<h1>hello</h1>"), ("Procfile", "web: ./run\n")];
    let said = explained(&files, &[]);
    assert!(said.starts_with("`.`: `procfile`, the programs of a `Procfile`\n"), "{said}");
    let procfile = "procfile (rank 3): matches\n  needs      found      a `Procfile` with a line `web`\n  must not   not found  ";
    assert!(said.contains(procfile), "{said}");
    let pages = "static (rank 7): matches, but so does a rule with a lower rank\n  needs one  not found  a file `index.html`\n  \
                 needs one  found      a file `public/index.html`\n";
    assert!(said.contains(pages), "{said}");
    assert!(said.contains("django (rank 1): does not match\n"), "{said}");
    let rules: Value = serde_json::from_str(&explained(&files, &["--json"])).unwrap();
    let matching: Vec<_> = rules
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule["matches"] == true)
        .map(|rule| rule["name"].as_str())
        .collect();
    assert_eq!(matching, [Some("procfile"), Some("static")]);
    assert!(explained(&[], &[]).starts_with("`.`: no rule matches\n"));
    let output = paster().args(["serve", "/etc/hostname", "--explain"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn rails_and_deno() {
    let shown = |files: &[(&str, &str)]| {
        let place = folder(files);
        let output =
            paster().args(["config", "show", ".", "--json"]).current_dir(place.path()).output().unwrap();
        let config: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        (config["app"]["main"]["command"].clone(), text(&output.stderr).to_owned())
    };
    let (command, note) =
        shown(&[("bin/rails", ""), ("config.ru", ""), ("Gemfile", ""), ("package.json", "{}")]);
    assert_eq!(command[0], "bundle", "{command}");
    assert!(note.contains("as rails: `bin/rails` is a Rails application"), "{note}");
    let deno = "// comment\n{ \"tasks\": { \"start\": \"deno run -A main.ts\" } }";
    assert_eq!(shown(&[("deno.jsonc", deno)]).0, serde_json::json!(["deno", "task", "start"]));
    let handler = "export default { fetch() { return new Response('hi'); } };";
    let (command, note) = shown(&[("deno.json", "{}"), ("main.ts", handler)]);
    assert_eq!((command[1].as_str(), command[9].as_str()), (Some("serve"), Some("main.ts")), "{command}");
    assert!(note.contains("`main.ts` exports a `fetch` handler"), "{note}");
}
