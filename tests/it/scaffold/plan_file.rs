//! `paster create --plan FILE` and `--apply FILE`.

use serde_json::Value;

use super::{read, refused, skeleton, succeeds, write, write_skeleton};
use crate::support::folder;

const VARS: &str = "[vars.heading]\nask = \"Title\"\ndefault = \"{{title project}}\"\n[vars.password]\ntype = \"secret\"\ndefault = \"\"\n";
const FILES: [(&str, &str); 1] = [("files/title.txt.hbs", "{{heading}} {{password}}\n")];

#[test]
fn a_plan_is_carried_out_from_anywhere() {
    let place = skeleton(VARS, &FILES);
    let here = place.path();
    let out = succeeds(
        here,
        &["create", "app", "-t", "./s", "heading=Mine", "password=hunter2", "--plan", "plan.json"],
    );
    assert!(
        out.contains("2 files; nothing was written there") && out.contains("paster create --apply plan.json"),
        "{out}"
    );
    assert!(!here.join("app").exists());
    let text = read(here, "plan.json");
    assert!(!text.contains("hunter2"), "{text}");
    let plan: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&plan["answers"]["heading"], &plan["files"][1]["action"]),
        (&"Mine".into(), &"create".into())
    );

    let elsewhere = folder(&[]);
    let file = here.join("plan.json").display().to_string();
    refused(here, &["create", "--apply", "plan.json"], 1, &["`title.txt` would get different content"]);
    assert!(!here.join("app").exists(), "the secret was not given again");
    succeeds(elsewhere.path(), &["create", "--apply", &file, "password=hunter2"]);
    assert_eq!(read(here, "app/title.txt"), "Mine hunter2\n");
    assert!(read(here, "app/.paster/skeleton.lock").contains("heading = \"Mine\""));
    refused(
        here,
        &["create", "--apply", "plan.json", "password=hunter2"],
        1,
        &["has changed in", "create a new plan"],
    );
}

#[test]
fn a_plan_is_refused_if_something_changed() {
    let place = skeleton(VARS, &FILES);
    let here = place.path();
    write(here, "app/title.txt", "old\n");
    refused(here, &["create", "app", "-t", "./s", "--plan", "plan.json"], 1, &["is not empty", "--force"]);
    succeeds(here, &["create", "app", "-t", "./s", "--force", "--plan", "plan.json"]);
    write(here, "app/title.txt", "changed\n");
    refused(
        here,
        &["create", "--apply", "plan.json"],
        1,
        &["would differ from the plan", "`title.txt` has changed in"],
    );
    write(here, "app/title.txt", "old\n");
    write_skeleton(
        here,
        "1.0.0",
        VARS,
        &[("files/title.txt.hbs", "{{heading}}{{password}}.\n"), ("files/new.txt", "new\n")],
    );
    let words = ["the skeleton `", "has changed", "different content", "`new.txt` would also be written"];
    refused(here, &["create", "--apply", "plan.json"], 1, &words);
    write_skeleton(here, "1.0.0", VARS, &FILES);
    let shown = succeeds(here, &["create", "--apply", "plan.json", "--dry-run"]);
    assert!(shown.contains("title.txt") && read(here, "app/title.txt") == "old\n", "{shown}");
    succeeds(here, &["create", "--apply", "plan.json"]);
    assert_eq!(
        (read(here, "app/title.txt"), read(here, "app/title.txt.bak")),
        ("App \n".into(), "old\n".into())
    );

    write(here, "bad.json", "{\"format\": 7}");
    refused(here, &["create", "--apply", "bad.json"], 2, &["cannot read the plan `bad.json`"]);
    refused(here, &["create", "--apply", "none.json"], 2, &["cannot read the plan `none.json`"]);
    refused(
        here,
        &["create", "x", "--apply", "plan.json"],
        2,
        &["unexpected `x`: the plan names the directory"],
    );
    refused(here, &["create", "--apply", "plan.json", "-t", "static"], 2, &["cannot be used with"]);
}
