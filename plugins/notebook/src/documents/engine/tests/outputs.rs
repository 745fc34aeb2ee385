//! Outputs, displays and payloads.

use std::path::Path;

use super::*;

#[test]
fn cleared_output_goes_at_once_or_with_the_next_output() {
    let mut fixture = Fixture::new(&["a"]);
    let request = fixture.run(&["c0"]).remove(0);
    fixture.print(&request, "old");
    fixture.publish(&request, "clear_output", json!({"wait": true}));
    assert_eq!(fixture.outputs("c0"), [stream("stdout", "old")]);
    fixture.print(&request, "new");
    assert_eq!(fixture.outputs("c0"), [stream("stdout", "new")]);
    fixture.publish(&request, "clear_output", json!({"wait": false}));
    assert_eq!(fixture.outputs("c0"), []);
}

#[test]
fn late_output_belongs_to_the_newest_run_of_a_cell_that_exists() {
    let mut fixture = Fixture::new(&["a", "b"]);
    let requests = fixture.run(&["c0", "c1"]);
    requests.iter().for_each(|request| fixture.end(request));
    fixture.print(&requests[0], "from a thread");
    assert_eq!(fixture.outputs("c0"), [stream("stdout", "from a thread")]);
    fixture.run(&["c0"]);
    fixture.print(&requests[0], "from the thread of the run before");
    assert_eq!(fixture.outputs("c0"), []);
    fixture.model.delete_cell("c1").unwrap();
    assert!(fixture.print(&requests[1], "nowhere").is_empty());
    // Other clients of the kernel.
    let foreign = Message::new(Channel::Shell, "execute_request", "c0:x", "a client", &json!({}));
    assert!(fixture.print(&foreign, "not ours").is_empty());
}

#[test]
fn a_display_is_updated_by_a_cell_that_is_gone() {
    let mut fixture = Fixture::new(&["a", "b"]);
    let requests = fixture.run(&["c0", "c1"]);
    let display =
        |text| json!({"data": {"text/plain": text}, "metadata": {}, "transient": {"display_id": "d"}});
    fixture.publish(&requests[0], "display_data", display("old"));
    fixture.model.delete_cell("c1").unwrap();
    assert!(is_content(&fixture.publish(&requests[1], "update_display_data", display("new"))));
    assert!(
        matches!(&fixture.outputs("c0")[..], [Output::DisplayData { data, .. }] if data["text/plain"] == "new")
    );
}

#[test]
fn output_beyond_the_limit_goes_to_a_file_that_the_cell_names() {
    let mut fixture = Fixture::new(&["a"]);
    let request = fixture.run(&["c0"]).remove(0);
    fixture.print(&request, &"x".repeat(LIMIT));
    let effects = fixture.print(&request, "first");
    assert!(matches!(&overflow(&effects)[..], [order] if order.contains("Append(\"first\")")), "{effects:?}");
    let [before, Output::Stream { name, text: note }] = &fixture.outputs("c0")[..] else {
        panic!("two outputs")
    };
    assert_eq!((before, name.as_str()), (&stream("stdout", &"x".repeat(LIMIT)), "stderr"));
    let path = fixture.engine.overflow_path("c0");
    assert!(path.starts_with(Path::new("/outputs")) && note.contains(&path.display().to_string()), "{note}");
    // The note comes once.
    let effects = fixture.print(&request, "later");
    assert!(matches!(&effects[..], [Effect::Overflow(_)]), "{effects:?}");
    // A new run removes the file.
    let effects = fixture.engine.run(&mut fixture.model, &["c0".into()]);
    assert!(matches!(&overflow(&effects)[..], [order] if order.contains("Remove")), "{effects:?}");
    let effects = fixture.engine.overflow_failed(&mut fixture.model, "c0", "the disk is full");
    assert!(is_content(&effects));
    assert!(
        matches!(&fixture.outputs("c0")[..], [Output::Stream { text, .. }] if text.contains("the disk is full"))
    );
}

#[test]
fn lost_messages_are_reported_in_the_cell_that_runs() {
    let mut fixture = Fixture::new(&["a"]);
    assert!(fixture.engine.gap(&mut fixture.model, 1, 3).is_empty());
    fixture.run(&["c0"]);
    fixture.engine.gap(&mut fixture.model, 3, 10);
    assert_eq!(fixture.engine.entry(), 9);
    let outputs = format!("{:?}", fixture.outputs("c0"));
    assert!(outputs.contains("7 messages of the kernel were lost"), "{outputs}");
    fixture.engine.skip(10);
    assert_eq!(fixture.engine.entry(), 10);
}

#[test]
fn payloads_become_outputs_and_cells() {
    let mut fixture = Fixture::new(&["a", "b"]);
    let requests = fixture.run(&["c0", "c1"]);
    let payload = json!([
        {"source": "page", "data": {"text/plain": "help"}},
        {"source": "set_next_input", "text": "replaced", "replace": true},
        {"source": "unknown"},
    ]);
    let reply = json!({"status": "ok", "payload": payload});
    fixture.say(Channel::Shell, &requests[0], "execute_reply", reply);
    assert!(matches!(&fixture.outputs("c0")[..], [Output::DisplayData { .. }]));
    assert_eq!(fixture.model.cell("c0").unwrap().shown.source, "replaced");
    let reply = json!({"status": "ok", "payload": [{"source": "set_next_input", "text": "below"}]});
    fixture.say(Channel::Shell, &requests[1], "execute_reply", reply);
    let sources: Vec<&str> = fixture.model.cells.iter().map(|cell| cell.shown.source.as_str()).collect();
    assert_eq!(sources, ["replaced", "b", "below"]);
}
