//! Widgets: their state for late pages, what an `Output` widget captures, and the end of all with the kernel's process.

use serde_json::{Value, json};

use super::{Fixture, Message};
use crate::documents::engine::Effect;
use crate::kernel::message::Channel;
use crate::protocol::{Change, Comm, CommKind, CommMessage, Reply};

fn comms(fixture: &Fixture) -> Vec<Comm> {
    let Reply::Comms { comms } = fixture.engine.comms() else { panic!("not comms") };
    comms
}

fn sent(effects: &[Effect]) -> Vec<(&str, CommKind)> {
    let changes = effects.iter().filter_map(|effect| match effect {
        Effect::Change { changes, content: false } => Some(changes),
        _ => None,
    });
    let sent = changes.flatten().filter_map(|change| match change {
        Change::CommSent { message } => Some((message.comm_id.as_str(), message.kind)),
        _ => None,
    });
    sent.collect()
}

fn open(fixture: &mut Fixture, run: &Message, id: &str, state: Value) -> Vec<Effect> {
    let content =
        json!({"comm_id": id, "target_name": "jupyter.widget", "data": {"state": state, "buffer_paths": []}});
    fixture.publish(run, "comm_open", content)
}

fn update(fixture: &mut Fixture, run: &Message, id: &str, state: Value) -> Vec<Effect> {
    fixture.publish(run, "comm_msg", json!({"comm_id": id, "data": {"method": "update", "state": state}}))
}

#[test]
fn a_late_page_gets_the_state_of_every_widget() {
    let mut fixture = Fixture::new(&["a"]);
    let run = fixture.run(&["c0"]).remove(0);
    let effects = open(&mut fixture, &run, "w", json!({"value": 1, "min": 0}));
    assert_eq!(sent(&effects), [("w", CommKind::Open)]);
    update(&mut fixture, &run, "w", json!({"value": 2}));
    let echo = json!({"comm_id": "w", "data": {"method": "echo_update", "state": {"value": 3}}});
    fixture.publish(&run, "comm_msg", echo);
    fixture.publish(
        &run,
        "comm_msg",
        json!({"comm_id": "w", "data": {"method": "custom", "content": {"value": 9}}}),
    );
    let [comm] = &comms(&fixture)[..] else { panic!("one comm") };
    assert_eq!(comm.data["state"], json!({"value": 3, "min": 0}));
    fixture.publish(&run, "comm_close", json!({"comm_id": "w", "data": {}}));
    assert!(comms(&fixture).is_empty());
}

#[test]
fn binary_parts_of_a_state_are_replaced_with_it() {
    let mut fixture = Fixture::new(&["a"]);
    let run = fixture.run(&["c0"]).remove(0);
    let mut say = |kind: &str, data: Value, bytes: &'static [u8]| {
        let content = json!({"comm_id": "w", "target_name": "jupyter.widget", "data": data});
        let mut message = Message::new(Channel::Iopub, kind, "m", "kernel", &content);
        message.parent_header = run.header.clone();
        message.buffers = vec![bytes.into()];
        fixture.engine.message(&mut fixture.model, 1, &message);
    };
    say("comm_open", json!({"state": {"data": {}}, "buffer_paths": [["data", "x"]]}), b"one");
    say(
        "comm_msg",
        json!({"method": "update", "state": {"data": {}}, "buffer_paths": [["data", "y"]]}),
        b"two",
    );
    let [comm] = &comms(&fixture)[..] else { panic!("one comm") };
    assert_eq!(
        (&comm.data["buffer_paths"], &comm.buffers[..]),
        (&json!([["data", "y"]]), &["dHdv".to_owned()][..])
    );
}

#[test]
fn an_output_widget_takes_the_outputs_of_its_message() {
    let mut fixture = Fixture::new(&["a"]);
    let run = fixture.run(&["c0"]).remove(0);
    open(&mut fixture, &run, "o", json!({"_model_name": "OutputModel", "msg_id": "", "outputs": []}));
    update(&mut fixture, &run, "o", json!({"msg_id": run.header().msg_id}));
    fixture.print(&run, "in");
    let effects = fixture.print(&run, "side\n");
    assert_eq!(sent(&effects), [("o", CommKind::Message)]);
    let told = fixture.sent.last().unwrap();
    assert_eq!(told.header().msg_type, "comm_msg");
    assert_eq!(
        told.content()["data"]["state"]["outputs"],
        json!([{"output_type": "stream", "name": "stdout", "text": "inside\n"}])
    );
    fixture.publish(&run, "clear_output", json!({"wait": true}));
    fixture.print(&run, "new");
    update(&mut fixture, &run, "o", json!({"msg_id": ""}));
    fixture.print(&run, "outside");
    assert_eq!(
        comms(&fixture)[0].data["state"]["outputs"],
        json!([{"output_type": "stream", "name": "stdout", "text": "new"}])
    );
    assert_eq!(fixture.outputs("c0"), [super::stream("stdout", "outside")]);
}

#[test]
fn an_output_widget_keeps_a_limited_amount() {
    let mut fixture = Fixture::new(&["a"]);
    let run = fixture.run(&["c0"]).remove(0);
    let state = json!({"_model_name": "OutputModel", "msg_id": run.header().msg_id, "outputs": []});
    open(&mut fixture, &run, "o", state);
    fixture.print(&run, &"x".repeat(1 << 20));
    let told = fixture.sent.len();
    fixture.print(&run, "more");
    assert_eq!(fixture.sent.len(), told, "nothing is sent any more");
    let state = comms(&fixture)[0].data["state"].clone();
    assert_eq!(state["outputs"].as_array().unwrap().len(), 2);
    assert!(state["outputs"][1]["text"].as_str().unwrap().contains("not shown"));
}

#[test]
fn a_page_speaks_to_a_widget_until_the_kernel_restarts() {
    let mut fixture = Fixture::new(&["a"]);
    let run = fixture.run(&["c0"]).remove(0);
    open(&mut fixture, &run, "w", json!({"value": 1}));
    let mut message = CommMessage {
        comm_id: "w".into(),
        kind: CommKind::Message,
        target_name: None,
        data: json!({"method": "update", "state": {"value": 2}}).as_object().cloned().unwrap(),
        metadata: Default::default(),
        buffers: vec!["b25l".into()],
        request: Some("own-id".into()),
    };
    let effects = fixture.engine.send_comm(1, 2, &message).unwrap();
    let [Effect::Send(request)] = &effects[..] else { panic!("one message") };
    assert_eq!(
        (request.content()["data"]["state"]["value"].as_u64(), &request.buffers[0][..]),
        (Some(2), &b"one"[..])
    );
    assert_eq!(request.header().msg_id, "own-id");
    let request = request.clone();
    let echo = json!({"comm_id": "w", "data": {"method": "echo_update", "state": {"value": 2}}});
    let effects = fixture.publish(&request, "comm_msg", echo);
    let [Effect::Change { changes, .. }] = &effects[..] else { panic!("one change") };
    assert!(
        matches!(&changes[..], [Change::CommSent { message }] if message.request.as_deref() == Some("own-id"))
    );
    assert!(super::answers(&effects).is_empty());
    let effects = fixture.status(&request, "idle");
    assert_eq!(super::answers(&effects).len(), 1);
    message.buffers = vec!["?".into()];
    assert!(fixture.engine.send_comm(1, 3, &message).is_err());
    message.buffers.clear();
    message.request = None;
    fixture.engine.send_comm(1, 4, &message).unwrap();
    let effects = fixture.status(&run, "restarting");
    assert_eq!(sent(&effects), [("w", CommKind::Close)]);
    assert!(matches!(super::answers(&effects)[..], [(1, 4, Err(_))]));
    assert!(comms(&fixture).is_empty());
}

#[test]
fn the_kernel_tells_a_new_owner_of_the_document_the_state_of_all_widgets() {
    let mut fixture = Fixture::new(&["a"]);
    let effects = fixture.engine.ask_for_comms();
    let [Effect::Send(opening), Effect::Send(request)] = &effects[..] else { panic!("two messages") };
    assert_eq!(opening.content()["target_name"], "jupyter.widget.control");
    assert_eq!(request.content()["data"]["method"], "request_states");
    let content = json!({"comm_id": request.content()["comm_id"], "data": {
        "method": "update_states", "buffer_paths": [["w", "state", "data"]],
        "states": {"w": {"model_name": "X", "state": {"value": 5}}, "v": {"state": {}}},
    }});
    let mut message = Message::new(Channel::Iopub, "comm_msg", "m", "kernel", &content);
    message.buffers = vec![b"one"[..].into()];
    let effects = fixture.engine.message(&mut fixture.model, 1, &message);
    assert_eq!(sent(&effects).len(), 2);
    let comms = comms(&fixture);
    assert_eq!(
        comms[1].data,
        *json!({"state": {"value": 5}, "buffer_paths": [["data"]]}).as_object().unwrap()
    );
    assert_eq!((comms[1].target_name.as_str(), comms[1].buffers.len()), ("jupyter.widget", 1));
}
