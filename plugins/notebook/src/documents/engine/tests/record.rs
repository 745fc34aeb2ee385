//! Another owner continues.

use super::*;

#[test]
fn the_next_owner_continues_from_the_file() {
    let mut fixture = Fixture::new(&["a", "b"]);
    let first = fixture.run(&["c0"]).remove(0);
    fixture.status(&first, "busy");
    fixture.print(&first, "in the file");
    fixture.engine.mark(&fixture.model, b"written");
    let file = fixture.model.clone();
    fixture.print(&first, ", not in the file");
    let second = fixture.run(&["c1"]).remove(0);
    fixture.print(&second, "later");
    for committed in [false, true] {
        if committed {
            fixture.engine.commit_mark();
        }
        let mut next = fixture.successor(file.clone(), b"written");
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
    let mut fixture = Fixture::new(&["a"]);
    let file = fixture.model.clone();
    let request = fixture.run(&["c0"]).remove(0);
    fixture.print(&request, "x");
    fixture.engine.mark(&fixture.model, b"unfinished");
    let mut next = fixture.successor(file, b"as before");
    assert_eq!((next.engine.entry(), next.state("c0")), (0, CellState::Queued));
    next.print(&request, "x");
    assert_eq!(next.outputs("c0"), [stream("stdout", "x")]);
}

#[test]
fn the_next_owner_knows_open_questions_and_cut_outputs() {
    let mut fixture = Fixture::new(&["a"]);
    let request = fixture.run(&["c0"]).remove(0);
    fixture.status(&request, "busy");
    fixture.print(&request, &"x".repeat(LIMIT + 1));
    fixture.say(Channel::Stdin, &request, "input_request", json!({"prompt": "who? "}));
    fixture.engine.mark(&fixture.model, b"written");
    let mut next = fixture.successor(fixture.model.clone(), b"written");
    assert_eq!(next.engine.input().map(|input| input.prompt.as_str()), Some("who? "));
    assert!(matches!(&next.print(&request, "more")[..], [Effect::Overflow(_)]), "no second note");
}

#[test]
fn no_kernel_means_no_record() {
    let mut fixture = Fixture::new(&["a"]);
    assert!(fixture.engine.record().is_some() && fixture.engine.has_kernel());
    fixture.run(&["c0"]);
    fixture.engine.kernel_gone(&mut fixture.model);
    assert!(fixture.engine.record().is_none() && !fixture.engine.has_kernel());
    assert_eq!(fixture.state("c0"), CellState::Idle);
}
