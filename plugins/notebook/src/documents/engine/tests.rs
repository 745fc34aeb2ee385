//! The engine without a kernel: messages in, effects out.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Effect, Engine, OwnershipRecord};
use crate::documents::model::Model;
use crate::kernel::message::{Channel, Message};
use crate::kernel::wire::KernelModel;
use crate::protocol::{CellState, Change, Kernel, KernelState, Output, Reply};

/// The output limit of the tests.
const LIMIT: usize = 100;

/// An engine with an idle kernel, the model beside it, and the messages that it sent.
struct Bench {
    engine: Engine,
    model: Model,
    sent: Vec<Message>,
    last: u64,
}

fn model(sources: &[&str]) -> Model {
    let cells = sources.iter().enumerate().map(|(at, source)| {
        json!({"cell_type": "code", "id": format!("c{at}"), "metadata": {}, "source": source, "outputs": [], "execution_count": null})
    });
    let file = json!({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells.collect::<Value>()});
    Model::new(crate::format::from_json(file).unwrap())
}

fn engine() -> Engine {
    let mut engine = Engine::new("a.ipynb", "/outputs".into(), LIMIT);
    let kernel = Kernel {
        id: Some("k".into()),
        name: Some("python3".into()),
        state: KernelState::Idle,
        ..engine.kernel().clone()
    };
    engine.describe_kernel(kernel);
    engine.attached(0);
    engine
}

fn event(state: KernelState, exit: Option<&str>) -> KernelModel {
    serde_json::from_value(json!({
        "id": "k", "name": "python3", "state": state, "exit": exit, "connections": 0, "last_activity": "", "next_entry": 1, "pid": null, "starts": 1,
        "info": {"language_info": {"name": "python"}},
    }))
    .unwrap()
}

fn stream(name: &str, text: &str) -> Output {
    Output::Stream { name: name.into(), text: text.into() }
}

fn answers(effects: &[Effect]) -> Vec<(u64, u32, &Result<Reply, String>)> {
    let answer = |effect| match effect {
        &Effect::Answer { client, id, ref result } => Some((client, id, result)),
        _ => None,
    };
    effects.iter().filter_map(answer).collect()
}

fn overflow(effects: &[Effect]) -> Vec<String> {
    let order = |effect: &Effect| match effect {
        Effect::Overflow(order) => Some(format!("{order:?}")),
        _ => None,
    };
    effects.iter().filter_map(order).collect()
}

fn is_content(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Change { content: true, .. }))
}

impl Bench {
    fn new(sources: &[&str]) -> Bench {
        Bench { engine: engine(), model: model(sources), sent: Vec::new(), last: 0 }
    }

    fn take(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let sent = effects.iter().filter_map(|effect| match effect {
            Effect::Send(message) => Some(message.clone()),
            _ => None,
        });
        self.sent.extend(sent);
        effects
    }

    /// Runs cells; returns their requests.
    fn run(&mut self, cell_ids: &[&str]) -> Vec<Message> {
        let cell_ids: Vec<String> = cell_ids.iter().map(|id| (*id).to_owned()).collect();
        let before = self.sent.len();
        let effects = self.engine.run(&mut self.model, &cell_ids);
        self.take(effects);
        self.sent[before..].to_vec()
    }

    /// The kernel sends a message about `request`.
    fn say(&mut self, channel: Channel, request: &Message, kind: &str, content: Value) -> Vec<Effect> {
        self.last += 1;
        let mut message = Message::new(channel, kind, &format!("m{}", self.last), "kernel", &content);
        message.parent_header = request.header.clone();
        let effects = self.engine.message(&mut self.model, self.last, &message);
        self.take(effects)
    }

    fn publish(&mut self, request: &Message, kind: &str, content: Value) -> Vec<Effect> {
        self.say(Channel::Iopub, request, kind, content)
    }

    fn status(&mut self, request: &Message, state: &str) -> Vec<Effect> {
        self.publish(request, "status", json!({"execution_state": state}))
    }

    fn print(&mut self, request: &Message, text: &str) -> Vec<Effect> {
        self.publish(request, "stream", json!({"name": "stdout", "text": text}))
    }

    fn reply(&mut self, request: &Message, status: &str) -> Vec<Effect> {
        self.say(Channel::Shell, request, "execute_reply", json!({"status": status}))
    }

    fn end(&mut self, request: &Message) {
        self.reply(request, "ok");
        self.status(request, "idle");
    }

    fn state(&mut self, cell_id: &str) -> CellState {
        self.model.cell(cell_id).unwrap().shown.state
    }

    fn outputs(&mut self, cell_id: &str) -> Vec<Output> {
        self.model.cell(cell_id).unwrap().shown.outputs.clone()
    }

    /// Another owner's engine and model, from the record and a file with these sources.
    fn successor(&self, file: Model, disk_hash: &[u8]) -> Bench {
        let record = json!(self.engine.record().unwrap());
        assert_eq!(super::is_running(&record), self.engine.is_running());
        let record: OwnershipRecord = serde_json::from_value(record).unwrap();
        let mut next = Bench { engine: engine(), model: file, sent: self.sent.clone(), last: 0 };
        next.engine.restore(&mut next.model, record, disk_hash);
        next.last = next.engine.entry();
        next
    }
}

#[test]
fn a_run_is_recorded_before_it_is_sent() {
    let mut bench = Bench::new(&["a", " \n", "b"]);
    let effects = bench.engine.run(&mut bench.model, &["c0".into(), "c1".into(), "gone".into(), "c2".into()]);
    let kept = effects.iter().position(|effect| matches!(effect, Effect::KeepRecord)).unwrap();
    let sent = effects.iter().position(|effect| matches!(effect, Effect::Send(_))).unwrap();
    assert!(kept < sent, "{effects:?}");
    bench.take(effects);
    let code = |message: &Message| message.content()["code"].as_str().unwrap().to_owned();
    assert_eq!(bench.sent.iter().map(code).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(bench.engine.states(), [("c0".into(), CellState::Queued), ("c2".into(), CellState::Queued)]);
    assert_eq!(bench.state("c1"), CellState::Idle);
}

#[test]
fn a_run_goes_from_queued_to_running_to_idle() {
    let mut bench = Bench::new(&["a"]);
    let [request] = &bench.run(&["c0"])[..] else { panic!("one request") };
    bench.status(request, "busy");
    assert_eq!((bench.state("c0"), bench.engine.kernel().state), (CellState::Running, KernelState::Busy));
    assert!(is_content(&bench.publish(request, "execute_input", json!({"execution_count": 7}))));
    assert!(is_content(&bench.print(request, "x")));
    bench.reply(request, "ok");
    assert_eq!(bench.state("c0"), CellState::Running, "its outputs may still come");
    bench.status(request, "idle");
    assert_eq!((bench.state("c0"), bench.engine.kernel().state), (CellState::Idle, KernelState::Idle));
    assert_eq!(bench.outputs("c0"), [stream("stdout", "x")]);
    assert_eq!(bench.model.cell("c0").unwrap().shown.execution_count, Some(7));
    assert_eq!(bench.engine.entry(), bench.last);
}

#[test]
fn a_cell_that_was_queued_twice_stays_queued() {
    let mut bench = Bench::new(&["a"]);
    let first = bench.run(&["c0"]).remove(0);
    bench.status(&first, "busy");
    let second = bench.run(&["c0"]).remove(0);
    bench.end(&first);
    assert_eq!(bench.state("c0"), CellState::Queued);
    bench.status(&second, "busy");
    bench.end(&second);
    assert_eq!(bench.state("c0"), CellState::Idle);
}

#[test]
fn an_error_or_an_interrupt_ends_the_queue() {
    let mut bench = Bench::new(&["a", "b", "c"]);
    let requests = bench.run(&["c0", "c1", "c2"]);
    bench.status(&requests[0], "busy");
    let error = json!({"ename": "KeyboardInterrupt", "evalue": "", "traceback": ["stopped"]});
    bench.publish(&requests[0], "error", error);
    bench.reply(&requests[0], "error");
    bench.status(&requests[0], "idle");
    // From the kernel or the kernel host, with or without a status.
    bench.status(&requests[1], "busy");
    bench.reply(&requests[1], "aborted");
    bench.reply(&requests[2], "aborted");
    assert!(!bench.engine.is_running());
    for cell_id in ["c0", "c1", "c2"] {
        assert_eq!(bench.state(cell_id), CellState::Idle, "{cell_id}");
    }
    assert!(
        matches!(&bench.outputs("c0")[..], [Output::Error { ename, .. }] if ename == "KeyboardInterrupt")
    );
    assert_eq!((bench.outputs("c1"), bench.outputs("c2")), (vec![], vec![]));
}

#[test]
fn a_restart_ends_runs_questions_and_queries() {
    let mut bench = Bench::new(&["a", "b"]);
    let requests = bench.run(&["c0", "c1"]);
    bench.status(&requests[0], "busy");
    bench.say(Channel::Stdin, &requests[0], "input_request", json!({"prompt": "who? "}));
    bench.engine.complete(1, 2, "x".into(), 1);
    let effects = bench.status(&requests[0], "restarting");
    assert!(!bench.engine.is_running() && bench.engine.input().is_none());
    assert_eq!((bench.state("c0"), bench.state("c1")), (CellState::Idle, CellState::Idle));
    assert!(matches!(answers(&effects)[..], [(1, 2, Ok(Reply::Completions { .. }))]));
    // What the old kernel still sends about them ends nothing twice.
    bench.end(&requests[0]);
    assert_eq!(bench.state("c0"), CellState::Idle);
}

#[test]
fn the_cell_that_ran_says_why_the_kernel_died() {
    let mut bench = Bench::new(&["a", "b"]);
    let requests = bench.run(&["c0", "c1"]);
    bench.status(&requests[0], "busy");
    bench.publish(&requests[0], "status", json!({"execution_state": "dead", "reason": "killed by signal 9"}));
    assert!(
        matches!(&bench.outputs("c0")[..], [Output::Error { ename, evalue, .. }] if ename == "KernelDied" && evalue == "killed by signal 9")
    );
    assert_eq!(bench.outputs("c1"), []);
    assert!(!bench.engine.is_running());
    assert_eq!(bench.engine.kernel().state, KernelState::Dead);
    assert_eq!(bench.engine.kernel().message.as_deref(), Some("killed by signal 9"));
}

#[test]
fn a_question_is_answered_once_and_stays_in_the_output() {
    let mut bench = Bench::new(&["a"]);
    assert!(bench.engine.answer_input(&mut bench.model, "too early").is_err());
    let request = bench.run(&["c0"]).remove(0);
    bench.status(&request, "busy");
    for (prompt, password) in [("who? ", false), ("word: ", true)] {
        let asked = json!({"prompt": prompt, "password": password});
        let effects = bench.say(Channel::Stdin, &request, "input_request", asked);
        let [Effect::Change { changes, content: false }] = &effects[..] else { panic!("{effects:?}") };
        assert!(matches!(&changes[..], [Change::InputRequested { input: Some(_) }]));
        assert_eq!(bench.engine.input().unwrap().cell_id.as_deref(), Some("c0"));
        let effects = bench.engine.answer_input(&mut bench.model, "Ada").unwrap();
        bench.take(effects);
        let sent = bench.sent.last().unwrap();
        assert_eq!((sent.channel, sent.content()["value"].as_str()), (Channel::Stdin, Some("Ada")));
        assert!(bench.engine.answer_input(&mut bench.model, "twice").is_err());
    }
    assert_eq!(bench.outputs("c0"), [stream("stdout", "who? Ada\nword: \n")]);
}

#[test]
fn a_question_ends_with_its_cell() {
    let mut bench = Bench::new(&["a"]);
    let request = bench.run(&["c0"]).remove(0);
    bench.status(&request, "busy");
    bench.say(Channel::Stdin, &request, "input_request", json!({"prompt": "who? "}));
    bench.publish(&request, "error", json!({"ename": "KeyboardInterrupt", "evalue": "", "traceback": []}));
    assert!(bench.engine.input().is_none());
    let [question, Output::Error { .. }] = &bench.outputs("c0")[..] else { panic!("two outputs") };
    assert_eq!(*question, stream("stdout", "who? \n"));
}

#[test]
fn cleared_output_goes_at_once_or_with_the_next_output() {
    let mut bench = Bench::new(&["a"]);
    let request = bench.run(&["c0"]).remove(0);
    bench.print(&request, "old");
    bench.publish(&request, "clear_output", json!({"wait": true}));
    assert_eq!(bench.outputs("c0"), [stream("stdout", "old")]);
    bench.print(&request, "new");
    assert_eq!(bench.outputs("c0"), [stream("stdout", "new")]);
    bench.publish(&request, "clear_output", json!({"wait": false}));
    assert_eq!(bench.outputs("c0"), []);
}

#[test]
fn late_output_belongs_to_the_newest_run_of_a_cell_that_exists() {
    let mut bench = Bench::new(&["a", "b"]);
    let requests = bench.run(&["c0", "c1"]);
    requests.iter().for_each(|request| bench.end(request));
    bench.print(&requests[0], "from a thread");
    assert_eq!(bench.outputs("c0"), [stream("stdout", "from a thread")]);
    bench.run(&["c0"]);
    bench.print(&requests[0], "from the thread of the run before");
    assert_eq!(bench.outputs("c0"), []);
    bench.model.delete_cell("c1").unwrap();
    assert!(bench.print(&requests[1], "nowhere").is_empty());
    // Other clients of the kernel.
    let foreign = Message::new(Channel::Shell, "execute_request", "c0:x", "a client", &json!({}));
    assert!(bench.print(&foreign, "not ours").is_empty());
}

#[test]
fn a_display_is_updated_by_a_cell_that_is_gone() {
    let mut bench = Bench::new(&["a", "b"]);
    let requests = bench.run(&["c0", "c1"]);
    let display =
        |text| json!({"data": {"text/plain": text}, "metadata": {}, "transient": {"display_id": "d"}});
    bench.publish(&requests[0], "display_data", display("old"));
    bench.model.delete_cell("c1").unwrap();
    assert!(is_content(&bench.publish(&requests[1], "update_display_data", display("new"))));
    assert!(
        matches!(&bench.outputs("c0")[..], [Output::DisplayData { data, .. }] if data["text/plain"] == "new")
    );
}

#[test]
fn output_beyond_the_limit_goes_to_a_file_that_the_cell_names() {
    let mut bench = Bench::new(&["a"]);
    let request = bench.run(&["c0"]).remove(0);
    bench.print(&request, &"x".repeat(LIMIT));
    let effects = bench.print(&request, "first");
    assert!(matches!(&overflow(&effects)[..], [order] if order.contains("Append(\"first\")")), "{effects:?}");
    let [before, Output::Stream { name, text: note }] = &bench.outputs("c0")[..] else {
        panic!("two outputs")
    };
    assert_eq!((before, name.as_str()), (&stream("stdout", &"x".repeat(LIMIT)), "stderr"));
    let path = bench.engine.overflow_path("c0");
    assert!(path.starts_with(Path::new("/outputs")) && note.contains(&path.display().to_string()), "{note}");
    // The note comes once.
    let effects = bench.print(&request, "later");
    assert!(matches!(&effects[..], [Effect::Overflow(_)]), "{effects:?}");
    // A new run removes the file.
    let effects = bench.engine.run(&mut bench.model, &["c0".into()]);
    assert!(matches!(&overflow(&effects)[..], [order] if order.contains("Remove")), "{effects:?}");
    let effects = bench.engine.overflow_failed(&mut bench.model, "c0", "the disk is full");
    assert!(is_content(&effects));
    assert!(
        matches!(&bench.outputs("c0")[..], [Output::Stream { text, .. }] if text.contains("the disk is full"))
    );
}

#[test]
fn lost_messages_are_reported_in_the_cell_that_runs() {
    let mut bench = Bench::new(&["a"]);
    assert!(bench.engine.gap(&mut bench.model, 1, 3).is_empty());
    bench.run(&["c0"]);
    bench.engine.gap(&mut bench.model, 3, 10);
    assert_eq!(bench.engine.entry(), 9);
    let outputs = format!("{:?}", bench.outputs("c0"));
    assert!(outputs.contains("7 messages of the kernel were lost"), "{outputs}");
    bench.engine.skip(10);
    assert_eq!(bench.engine.entry(), 10);
}

#[test]
fn the_next_owner_continues_from_the_file() {
    let mut bench = Bench::new(&["a", "b"]);
    let first = bench.run(&["c0"]).remove(0);
    bench.status(&first, "busy");
    bench.print(&first, "in the file");
    bench.engine.mark(&bench.model, b"written");
    let file = bench.model.clone();
    bench.print(&first, ", not in the file");
    let second = bench.run(&["c1"]).remove(0);
    bench.print(&second, "later");
    for committed in [false, true] {
        if committed {
            bench.engine.commit_mark();
        }
        let mut next = bench.successor(file.clone(), b"written");
        assert_eq!(next.engine.entry(), 2, "the messages after this one come again");
        assert_eq!((next.state("c0"), next.state("c1")), (CellState::Running, CellState::Queued));
        assert_eq!(next.outputs("c0"), [stream("stdout", "in the file")]);
        next.print(&first, ", not in the file");
        next.end(&first);
        next.end(&second);
        assert!(!next.engine.is_running());
        assert_eq!(next.outputs("c0"), [stream("stdout", "in the file, not in the file")]);
    }
}

#[test]
fn an_unfinished_write_does_not_count() {
    let mut bench = Bench::new(&["a"]);
    let file = bench.model.clone();
    let request = bench.run(&["c0"]).remove(0);
    bench.print(&request, "x");
    bench.engine.mark(&bench.model, b"unfinished");
    let mut next = bench.successor(file, b"as before");
    assert_eq!((next.engine.entry(), next.state("c0")), (0, CellState::Queued));
    next.print(&request, "x");
    assert_eq!(next.outputs("c0"), [stream("stdout", "x")]);
}

#[test]
fn the_next_owner_knows_open_questions_and_cut_outputs() {
    let mut bench = Bench::new(&["a"]);
    let request = bench.run(&["c0"]).remove(0);
    bench.status(&request, "busy");
    bench.print(&request, &"x".repeat(LIMIT + 1));
    bench.say(Channel::Stdin, &request, "input_request", json!({"prompt": "who? "}));
    bench.engine.mark(&bench.model, b"written");
    let mut next = bench.successor(bench.model.clone(), b"written");
    assert_eq!(next.engine.input().map(|input| input.prompt.as_str()), Some("who? "));
    assert!(matches!(&next.print(&request, "more")[..], [Effect::Overflow(_)]), "no second note");
}

#[test]
fn no_kernel_means_no_record() {
    let mut bench = Bench::new(&["a"]);
    assert!(bench.engine.record().is_some() && bench.engine.has_kernel());
    bench.run(&["c0"]);
    bench.engine.kernel_gone(&mut bench.model);
    assert!(bench.engine.record().is_none() && !bench.engine.has_kernel());
    assert_eq!(bench.state("c0"), CellState::Idle);
}

#[test]
fn queries_are_answered_by_the_kernel_or_in_vain() {
    let mut bench = Bench::new(&["a"]);
    let effects = bench.engine.complete(1, 1, "é😀x".into(), 4);
    bench.take(effects);
    let request = bench.sent.pop().unwrap();
    assert_eq!(request.content()["cursor_pos"], 3);
    let found = json!({"status": "ok", "matches": ["xs"], "cursor_start": 2, "cursor_end": 3});
    let effects = bench.say(Channel::Shell, &request, "complete_reply", found.clone());
    assert!(
        matches!(answers(&effects)[..], [(1, 1, Ok(Reply::Completions { matches, start: 3, end: 4 }))] if matches[0].text == "xs")
    );
    assert!(bench.say(Channel::Shell, &request, "complete_reply", found).is_empty(), "a second reply");
    // A kernel that is busy for long.
    assert!(answers(&bench.engine.inspect(1, 2, "x".into(), 1, 0)).is_empty());
    assert!(bench.engine.expire_queries(Instant::now()).is_empty());
    let effects = bench.engine.expire_queries(Instant::now() + Duration::from_secs(3600));
    assert!(matches!(answers(&effects)[..], [(1, 2, Ok(Reply::Inspection { data: None }))]));
    // No kernel.
    bench.engine.kernel_gone(&mut bench.model);
    let effects = bench.engine.complete(1, 3, "x".into(), 1);
    assert!(matches!(answers(&effects)[..], [(1, 3, Ok(Reply::Completions { .. }))]));
}

#[test]
fn those_who_wait_for_a_kernel_hear_how_it_went() {
    for (state, exit) in [(KernelState::Idle, None), (KernelState::Dead, Some("no such program"))] {
        let mut bench = Bench::new(&["a"]);
        bench.engine.kernel_event(&mut bench.model, &event(KernelState::Starting, None));
        assert!(answers(&bench.engine.answer_when_started(1, 2)).is_empty());
        let effects = bench.engine.kernel_event(&mut bench.model, &event(state, exit));
        let [(1, 2, result)] = answers(&effects)[..] else { panic!("{effects:?}") };
        assert_eq!(result.as_ref().err().map(String::as_str), exit);
        assert_eq!(bench.engine.kernel().state, state);
        assert_eq!(bench.model.metadata["language_info"]["name"], "python");
        assert!(answers(&bench.engine.kernel_event(&mut bench.model, &event(state, exit))).is_empty());
    }
    let mut bench = Bench::new(&["a"]);
    assert_eq!(answers(&bench.engine.answer_when_started(1, 2)).len(), 1, "it is ready already");
    bench.engine.kernel_event(&mut bench.model, &event(KernelState::Starting, None));
    bench.engine.answer_when_started(1, 3);
    let effects = bench.engine.fail_starting();
    assert!(matches!(answers(&effects)[..], [(1, 3, Err(_))]));
}

#[test]
fn a_busy_kernel_stays_busy_until_its_own_message() {
    let mut bench = Bench::new(&["a"]);
    let request = bench.run(&["c0"]).remove(0);
    bench.status(&request, "busy");
    bench.engine.kernel_event(&mut bench.model, &event(KernelState::Idle, None));
    assert_eq!(bench.engine.kernel().state, KernelState::Busy);
    // A status about something else than a run, such as a debugger's request.
    let control = Message::new(Channel::Control, "debug_request", "d", "a client", &json!({}));
    bench.status(&control, "idle");
    assert_eq!(bench.engine.kernel().state, KernelState::Busy);
}

#[test]
fn payloads_become_outputs_and_cells() {
    let mut bench = Bench::new(&["a", "b"]);
    let requests = bench.run(&["c0", "c1"]);
    let payload = json!([
        {"source": "page", "data": {"text/plain": "help"}},
        {"source": "set_next_input", "text": "replaced", "replace": true},
        {"source": "unknown"},
    ]);
    let reply = json!({"status": "ok", "payload": payload});
    bench.say(Channel::Shell, &requests[0], "execute_reply", reply);
    assert!(matches!(&bench.outputs("c0")[..], [Output::DisplayData { .. }]));
    assert_eq!(bench.model.cell("c0").unwrap().shown.source, "replaced");
    let reply = json!({"status": "ok", "payload": [{"source": "set_next_input", "text": "below"}]});
    bench.say(Channel::Shell, &requests[1], "execute_reply", reply);
    let sources: Vec<&str> = bench.model.cells.iter().map(|cell| cell.shown.source.as_str()).collect();
    assert_eq!(sources, ["replaced", "b", "below"]);
}
