//! The kernel's questions, and requests that wait for the kernel.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::protocol::Object;

#[test]
fn a_question_is_answered_once_and_stays_in_the_output() {
    let mut fixture = Fixture::new(&["a"]);
    assert!(fixture.engine.answer_input(&mut fixture.model, "too early").is_err());
    let request = fixture.run(&["c0"]).remove(0);
    fixture.status(&request, "busy");
    for (prompt, password) in [("who? ", false), ("word: ", true)] {
        let asked = json!({"prompt": prompt, "password": password});
        let effects = fixture.say(Channel::Stdin, &request, "input_request", asked);
        let [Effect::Change { changes, content: false }] = &effects[..] else { panic!("{effects:?}") };
        assert!(matches!(&changes[..], [Change::InputRequested { input: Some(_) }]));
        assert_eq!(fixture.engine.input().unwrap().cell_id.as_deref(), Some("c0"));
        let effects = fixture.engine.answer_input(&mut fixture.model, "Ada").unwrap();
        fixture.take(effects);
        let sent = fixture.sent.last().unwrap();
        assert_eq!((sent.channel, sent.content()["value"].as_str()), (Channel::Stdin, Some("Ada")));
        assert!(fixture.engine.answer_input(&mut fixture.model, "twice").is_err());
    }
    assert_eq!(fixture.outputs("c0"), [stream("stdout", "who? Ada\nword: \n")]);
}

#[test]
fn a_question_ends_with_its_cell() {
    let mut fixture = Fixture::new(&["a"]);
    let request = fixture.run(&["c0"]).remove(0);
    fixture.status(&request, "busy");
    fixture.say(Channel::Stdin, &request, "input_request", json!({"prompt": "who? "}));
    fixture.publish(&request, "error", json!({"ename": "KeyboardInterrupt", "evalue": "", "traceback": []}));
    assert!(fixture.engine.input().is_none());
    let [question, Output::Error { .. }] = &fixture.outputs("c0")[..] else { panic!("two outputs") };
    assert_eq!(*question, stream("stdout", "who? \n"));
}

#[test]
fn queries_are_answered_by_the_kernel_or_in_vain() {
    let mut fixture = Fixture::new(&["a"]);
    let effects = fixture.engine.complete(1, 1, "é😀x".into(), 4);
    fixture.take(effects);
    let request = fixture.sent.pop().unwrap();
    assert_eq!(request.content()["cursor_pos"], 3);
    let found = json!({"status": "ok", "matches": ["xs"], "cursor_start": 2, "cursor_end": 3});
    let effects = fixture.say(Channel::Shell, &request, "complete_reply", found.clone());
    assert!(
        matches!(answers(&effects)[..], [(1, 1, Ok(Reply::Completions { matches, start: 3, end: 4 }))] if matches[0].text == "xs")
    );
    assert!(fixture.say(Channel::Shell, &request, "complete_reply", found).is_empty(), "a second reply");
    // A kernel that is busy for long.
    assert!(answers(&fixture.engine.inspect(1, 2, "x".into(), 1, 0)).is_empty());
    assert!(fixture.engine.expire_queries(Instant::now()).is_empty());
    let effects = fixture.engine.expire_queries(Instant::now() + Duration::from_secs(3600));
    assert!(matches!(answers(&effects)[..], [(1, 2, Ok(Reply::Inspection { data: None }))]));
    // No kernel.
    fixture.engine.kernel_gone(&mut fixture.model);
    let effects = fixture.engine.complete(1, 3, "x".into(), 1);
    assert!(matches!(answers(&effects)[..], [(1, 3, Ok(Reply::Completions { .. }))]));
}

#[test]
fn those_who_wait_for_a_kernel_hear_how_it_went() {
    for (state, exit) in [(KernelState::Idle, None), (KernelState::Dead, Some("no such program"))] {
        let mut fixture = Fixture::new(&["a"]);
        fixture.engine.kernel_event(&mut fixture.model, &event(KernelState::Starting, None));
        assert!(answers(&fixture.engine.answer_when_started(1, 2)).is_empty());
        let effects = fixture.engine.kernel_event(&mut fixture.model, &event(state, exit));
        let [(1, 2, result)] = answers(&effects)[..] else { panic!("{effects:?}") };
        assert_eq!(result.as_ref().err().map(String::as_str), exit);
        assert_eq!(fixture.engine.kernel().state, state);
        assert_eq!(fixture.model.metadata["language_info"]["name"], "python");
        assert!(answers(&fixture.engine.kernel_event(&mut fixture.model, &event(state, exit))).is_empty());
    }
    let mut fixture = Fixture::new(&["a"]);
    assert_eq!(answers(&fixture.engine.answer_when_started(1, 2)).len(), 1, "it is ready already");
    fixture.engine.kernel_event(&mut fixture.model, &event(KernelState::Starting, None));
    fixture.engine.answer_when_started(1, 3);
    let effects = fixture.engine.fail_starting();
    assert!(matches!(answers(&effects)[..], [(1, 3, Err(_))]));
}

#[test]
fn variables_are_listed_by_a_silent_run() {
    let mut fixture = Fixture::new(&["a"]);
    let effects = fixture.engine.list_variables(1, 2);
    assert!(
        matches!(answers(&effects)[..], [(1, 2, Ok(Reply::Variables { variables: None }))]),
        "not Python"
    );
    let kernel = Kernel { language: Some("python".into()), ..fixture.engine.kernel().clone() };
    fixture.engine.describe_kernel(kernel);
    let effects = fixture.engine.list_variables(1, 3);
    let [Effect::Send(request)] = &effects[..] else { panic!("one message") };
    let request = request.clone();
    assert!(fixture.status(&request, "busy").is_empty(), "the kernel does not look busy");
    assert_eq!(
        (request.content()["silent"].as_bool(), request.content()["store_history"].as_bool()),
        (Some(true), Some(false))
    );
    // [["x", "int", "", "1"]]
    let data = json!({"text/plain": "'W1sieCIsICJpbnQiLCAiIiwgIjEiXV0='"});
    let content = json!({"status": "ok", "user_expressions": {"variables": {"status": "ok", "data": data}}});
    let effects = fixture.say(Channel::Shell, &request, "execute_reply", content);
    let [(1, 3, Ok(Reply::Variables { variables: Some(variables) }))] = &answers(&effects)[..] else {
        panic!()
    };
    assert_eq!(
        (variables[0].name.as_str(), variables[0].kind.as_str(), variables[0].value.as_str()),
        ("x", "int", "1")
    );
    assert!(fixture.outputs("c0").is_empty());
}

#[test]
fn the_debugger_is_asked_on_the_control_channel_also_while_a_cell_runs() {
    let mut fixture = Fixture::new(&["a"]);
    let nothing = fixture.engine.debug(1, 2, "debugInfo", Object::new());
    assert!(
        matches!(answers(&nothing)[..], [(1, 2, Ok(Reply::Debug { success: false, .. }))]),
        "the kernel has no debugger"
    );
    let mut known = event(KernelState::Idle, None);
    known.info = Some(json!({"supported_features": ["debugger", "kernel subshells"]}));
    fixture.engine.kernel_event(&mut fixture.model, &known);
    assert!(fixture.engine.kernel().debugger);
    let run = fixture.run(&["c0"]).remove(0);
    fixture.status(&run, "busy");
    let effects = fixture.engine.debug(1, 3, "continue", Object::from_iter([("threadId".into(), 1.into())]));
    let [Effect::Send(request)] = &effects[..] else { panic!("one message") };
    let (request, content) = (request.clone(), request.content());
    assert_eq!((request.channel, request.header().msg_type.as_str()), (Channel::Control, "debug_request"));
    assert_eq!(
        content,
        json!({"type": "request", "seq": 1, "command": "continue", "arguments": {"threadId": 1}})
    );
    fixture.status(&request, "busy");
    fixture.status(&request, "idle");
    assert_eq!(fixture.engine.kernel().state, KernelState::Busy, "the cell still runs");
    let response = json!({"type": "response", "success": true, "body": {"allThreadsContinued": true}});
    let effects = fixture.say(Channel::Control, &request, "debug_reply", response);
    let [(1, 3, Ok(Reply::Debug { success: true, message: None, body }))] = &answers(&effects)[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(body["allThreadsContinued"], true);
    let effects = fixture.publish(&run, "debug_event", json!({"event": "stopped", "body": {"threadId": 1}}));
    let [Effect::Change { changes, content: false }] = &effects[..] else { panic!("{effects:?}") };
    assert!(matches!(&changes[..], [Change::DebugEvent { event, .. }] if event == "stopped"));
}
