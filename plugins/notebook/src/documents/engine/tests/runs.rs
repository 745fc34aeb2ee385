//! Runs from their start to their end.

use super::*;

#[test]
fn a_run_is_recorded_before_it_is_sent() {
    let mut fixture = Fixture::new(&["a", " \n", "b"]);
    let effects =
        fixture.engine.run(&mut fixture.model, &["c0".into(), "c1".into(), "gone".into(), "c2".into()]);
    let kept = effects.iter().position(|effect| matches!(effect, Effect::KeepRecord)).unwrap();
    let sent = effects.iter().position(|effect| matches!(effect, Effect::Send(_))).unwrap();
    assert!(kept < sent, "{effects:?}");
    fixture.take(effects);
    let code = |message: &Message| message.content()["code"].as_str().unwrap().to_owned();
    assert_eq!(fixture.sent.iter().map(code).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(fixture.engine.states(), [("c0".into(), CellState::Queued), ("c2".into(), CellState::Queued)]);
    assert_eq!(fixture.state("c1"), CellState::Idle);
}

#[test]
fn a_run_goes_from_queued_to_running_to_idle() {
    let mut fixture = Fixture::new(&["a"]);
    let [request] = &fixture.run(&["c0"])[..] else { panic!("one request") };
    fixture.status(request, "busy");
    assert_eq!((fixture.state("c0"), fixture.engine.kernel().state), (CellState::Running, KernelState::Busy));
    assert!(is_content(&fixture.publish(request, "execute_input", json!({"execution_count": 7}))));
    assert!(is_content(&fixture.print(request, "x")));
    fixture.reply(request, "ok");
    assert_eq!(fixture.state("c0"), CellState::Running, "its outputs may still come");
    fixture.status(request, "idle");
    assert_eq!((fixture.state("c0"), fixture.engine.kernel().state), (CellState::Idle, KernelState::Idle));
    assert_eq!(fixture.outputs("c0"), [stream("stdout", "x")]);
    assert_eq!(fixture.model.cell("c0").unwrap().shown.execution_count, Some(7));
    assert_eq!(fixture.engine.entry(), fixture.last);
}

#[test]
fn a_cell_that_was_queued_twice_stays_queued() {
    let mut fixture = Fixture::new(&["a"]);
    let first = fixture.run(&["c0"]).remove(0);
    fixture.status(&first, "busy");
    let second = fixture.run(&["c0"]).remove(0);
    fixture.end(&first);
    assert_eq!(fixture.state("c0"), CellState::Queued);
    fixture.status(&second, "busy");
    fixture.end(&second);
    assert_eq!(fixture.state("c0"), CellState::Idle);
}

#[test]
fn an_error_or_an_interrupt_ends_the_queue() {
    let mut fixture = Fixture::new(&["a", "b", "c"]);
    let requests = fixture.run(&["c0", "c1", "c2"]);
    fixture.status(&requests[0], "busy");
    let error = json!({"ename": "KeyboardInterrupt", "evalue": "", "traceback": ["stopped"]});
    fixture.publish(&requests[0], "error", error);
    fixture.reply(&requests[0], "error");
    fixture.status(&requests[0], "idle");
    // From the kernel or the kernel host, with or without a status.
    fixture.status(&requests[1], "busy");
    fixture.reply(&requests[1], "aborted");
    assert_eq!(fixture.state("c1"), CellState::Running, "it would abort what it gets before it is idle");
    fixture.status(&requests[1], "idle");
    fixture.reply(&requests[2], "aborted");
    assert!(!fixture.engine.is_running());
    for cell_id in ["c0", "c1", "c2"] {
        assert_eq!(fixture.state(cell_id), CellState::Idle, "{cell_id}");
    }
    assert!(
        matches!(&fixture.outputs("c0")[..], [Output::Error { ename, .. }] if ename == "KeyboardInterrupt")
    );
    assert_eq!((fixture.outputs("c1"), fixture.outputs("c2")), (vec![], vec![]));
}

#[test]
fn a_restart_ends_runs_questions_and_queries() {
    let mut fixture = Fixture::new(&["a", "b"]);
    let requests = fixture.run(&["c0", "c1"]);
    fixture.status(&requests[0], "busy");
    fixture.say(Channel::Stdin, &requests[0], "input_request", json!({"prompt": "who? "}));
    fixture.engine.complete(1, 2, "x".into(), 1);
    let effects = fixture.status(&requests[0], "restarting");
    assert!(!fixture.engine.is_running() && fixture.engine.input().is_none());
    assert_eq!((fixture.state("c0"), fixture.state("c1")), (CellState::Idle, CellState::Idle));
    assert!(matches!(answers(&effects)[..], [(1, 2, Ok(Reply::Completions { .. }))]));
    // What the old kernel still sends about them ends nothing twice.
    fixture.end(&requests[0]);
    assert_eq!(fixture.state("c0"), CellState::Idle);
}

#[test]
fn the_cell_that_ran_says_why_the_kernel_died() {
    let mut fixture = Fixture::new(&["a", "b"]);
    let requests = fixture.run(&["c0", "c1"]);
    fixture.status(&requests[0], "busy");
    fixture.publish(
        &requests[0],
        "status",
        json!({"execution_state": "dead", "reason": "killed by signal 9"}),
    );
    assert!(
        matches!(&fixture.outputs("c0")[..], [Output::Error { ename, evalue, .. }] if ename == "KernelDied" && evalue == "killed by signal 9")
    );
    assert_eq!(fixture.outputs("c1"), []);
    assert!(!fixture.engine.is_running());
    assert_eq!(fixture.engine.kernel().state, KernelState::Dead);
    assert_eq!(fixture.engine.kernel().message.as_deref(), Some("killed by signal 9"));
}

#[test]
fn a_busy_kernel_stays_busy_until_its_own_message() {
    let mut fixture = Fixture::new(&["a"]);
    let request = fixture.run(&["c0"]).remove(0);
    fixture.status(&request, "busy");
    fixture.engine.kernel_event(&mut fixture.model, &event(KernelState::Idle, None));
    assert_eq!(fixture.engine.kernel().state, KernelState::Busy);
    // A status about something else than a run, such as a debugger's request.
    let control = Message::new(Channel::Control, "debug_request", "d", "a client", &json!({}));
    fixture.status(&control, "idle");
    assert_eq!(fixture.engine.kernel().state, KernelState::Busy);
}

/// A message of the kernel for R about `request`.
fn say_r(
    fixture: &mut Fixture,
    channel: Channel,
    request: &Message,
    kind: &str,
    content: Value,
) -> Vec<Effect> {
    let mut message = Message::new(channel, kind, "r1", "kernel", &content);
    message.parent_header = request.header.clone();
    let effects = fixture.engine.message_of_other(&mut fixture.model, "r", &message);
    fixture.take(effects)
}

#[test]
fn runs_in_several_kernels_keep_their_order() {
    let sources = ["a", "%r\nb", "c", "%html\n<b>"];
    let mut fixture = Fixture::new(&sources);
    let sent = fixture.run(&["c0", "c1", "c2", "c3"]);
    assert_eq!(sent.len(), 1, "the others wait");
    fixture.reply(&sent[0], "ok");
    let effects = fixture.status(&sent[0], "idle");
    let [.., Effect::KeepRecord, Effect::SendToOther { language, message }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((language.as_str(), &message.content()["code"]), ("r", &json!("b")));
    // Another owner cannot continue them.
    let mut next = fixture.successor(model(&sources), b"");
    assert!(!next.engine.is_running());
    assert_eq!(next.state("c2"), CellState::Idle);
    let entry = fixture.engine.entry();
    say_r(&mut fixture, Channel::Iopub, message, "stream", json!({"name": "stdout", "text": "of R\n"}));
    say_r(&mut fixture, Channel::Shell, message, "execute_reply", json!({"status": "ok"}));
    say_r(&mut fixture, Channel::Iopub, message, "status", json!({"execution_state": "idle"}));
    assert_eq!(fixture.engine.entry(), entry, "its messages have their own numbers");
    assert_eq!(fixture.outputs("c1"), [stream("stdout", "of R\n")]);
    let sent = fixture.sent.split_off(1);
    let code: Vec<_> = sent.iter().map(|message| message.content()["code"].clone()).collect();
    assert_eq!(code, ["c", ""]);
    for request in &sent {
        fixture.end(request);
    }
    assert!(matches!(&fixture.outputs("c3")[..], [Output::DisplayData { .. }]));
    assert!(!fixture.engine.is_running());
}
