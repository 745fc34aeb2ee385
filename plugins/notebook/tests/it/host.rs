//! The kernel host through its link: both kinds of kernel, replay, interrupt, restart, death, and nothing
//! left behind.

use notebook::kernel::link::{Attachment, Delivery, Link};
use notebook::kernel::message::{Channel, Message};
use notebook::kernel::specs::{BUILT_IN, KernelSpecs};
use notebook::kernel::wire::{KernelLimits, KernelModel};
use notebook::protocol::KernelState;
use serde_json::{Value, json};

use crate::support::{Host, is_alive, plain_python, test_python, until, within};

async fn start(link: &Link, python: &str, name: &str) -> KernelModel {
    let specs = KernelSpecs::new(Some(python.to_owned()), None, None).specs().await;
    let spec =
        specs.specs.get(name).unwrap_or_else(|| panic!("no kernel {name} in {:?}", specs.specs.keys()));
    let limits = KernelLimits { kernels: 10, journal_bytes: 256 << 20, ..KernelLimits::default() };
    link.start(spec.launch(&std::env::temp_dir(), &[], limits, None), None).await.unwrap()
}

async fn next(attachment: &mut Attachment) -> (u64, Message) {
    match within(attachment.reader.next()).await {
        Some(Delivery::Message(number, bytes)) => (number, Message::parse_v1(&bytes).unwrap()),
        other => panic!("expected a message, got {other:?}"),
    }
}

async fn execute(attachment: &mut Attachment, id: &str, code: &str) {
    let content = json!({"code": code, "silent": false, "store_history": true, "user_expressions": {}, "allow_stdin": true, "stop_on_error": true});
    attachment
        .writer
        .send(&Message::new(Channel::Shell, "execute_request", id, "test", &content))
        .await
        .unwrap();
}

/// Reads until the request has its reply and the kernel is idle; returns the messages about it.
async fn outcome(attachment: &mut Attachment, id: &str) -> Vec<(String, Value)> {
    let [messages] = outcomes(attachment, [id]).await;
    messages
}

/// The same for several requests at once, because channels have no order among each other.
async fn outcomes<const N: usize>(attachment: &mut Attachment, ids: [&str; N]) -> [Vec<(String, Value)>; N] {
    let mut all = [const { Vec::new() }; N];
    let mut ends = [(false, false); N];
    while !ends.iter().all(|end| *end == (true, true)) {
        let (_, message) = next(attachment).await;
        let Some(at) = ids.iter().position(|id| *id == message.parent().msg_id) else { continue };
        let kind = message.header().msg_type;
        ends[at].0 |= kind.ends_with("_reply");
        ends[at].1 |= kind == "status" && message.content()["execution_state"] == "idle";
        all[at].push((kind, message.content()));
    }
    all
}

fn text(messages: &[(String, Value)], name: &str) -> String {
    let parts = messages.iter().filter(|(kind, content)| kind == "stream" && content["name"] == name);
    parts.map(|(_, content)| content["text"].as_str().unwrap()).collect()
}

async fn computes(python: String, name: &str) {
    let host = Host::start();
    let link = Link::new(host.socket());
    let kernel = start(&link, &python, name).await;
    let mut attachment = link.attach(&kernel.id, Some(1), true).await.unwrap();
    execute(&mut attachment, "a", "import sys\nprint('out é')\nprint('err', file=sys.stderr)\n6*7").await;
    let messages = outcome(&mut attachment, "a").await;
    assert_eq!(text(&messages, "stdout"), "out é\n");
    assert_eq!(text(&messages, "stderr"), "err\n");
    let result = messages.iter().find(|(kind, _)| kind == "execute_result").expect("a result");
    assert_eq!(result.1["data"]["text/plain"], "42");

    // Interrupt of a sleeping and of a busy cell; the rest of the queue is dropped.
    for (id, code) in
        [("b", "import time\nprint('go')\ntime.sleep(60)"), ("c", "print('go')\nwhile True: pass")]
    {
        execute(&mut attachment, id, code).await;
        let second = format!("{id}2");
        execute(&mut attachment, &second, "print('must not run')").await;
        while !matches!(next(&mut attachment).await.1, m if m.header().msg_type == "stream") {}
        link.interrupt(&kernel.id).await.unwrap();
        let [messages, dropped] = outcomes(&mut attachment, [id, &second]).await;
        let error = messages.iter().find(|(kind, _)| kind == "error").expect("an error");
        assert_eq!(error.1["ename"], "KeyboardInterrupt");
        assert_eq!(text(&dropped, "stdout"), "");
    }

    // A second reader gets everything from the beginning.
    let mut late = link.attach(&kernel.id, Some(1), false).await.unwrap();
    assert_eq!(text(&outcome(&mut late, "a").await, "stdout"), "out é\n");
    assert_eq!(link.kernel(&kernel.id).await.unwrap().connections, 1);

    // Restart: same id, another process, no state.
    let before = link.kernel(&kernel.id).await.unwrap();
    let after = link.restart(&kernel.id).await.unwrap();
    assert_ne!(before.pid, after.pid);
    assert_eq!(after.starts, 2);
    execute(&mut attachment, "d", "'sys' in dir()").await;
    let messages = outcome(&mut attachment, "d").await;
    assert!(
        messages
            .iter()
            .any(|(kind, content)| kind == "execute_result" && content["data"]["text/plain"] == "False")
    );

    // A death is reported with its reason.
    execute(&mut attachment, "e", "import os, sys; os.kill(os.getpid(), 11)").await;
    loop {
        let (_, message) = next(&mut attachment).await;
        if message.header().msg_type == "status" && message.content()["execution_state"] == "dead" {
            assert!(
                message.content()["reason"].as_str().unwrap().contains("segmentation fault"),
                "{:?}",
                message.content()
            );
            break;
        }
    }
    let dead = link.kernel(&kernel.id).await.unwrap();
    assert_eq!(dead.state, KernelState::Dead);
    assert!(dead.exit.unwrap().contains("segmentation fault"));
    link.restart(&kernel.id).await.unwrap();
    link.shutdown(&kernel.id).await.unwrap();
    assert!(link.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn ipykernel_computes() {
    computes(test_python(), "python3").await;
}

#[tokio::test]
async fn the_built_in_kernel_computes() {
    computes(plain_python(), BUILT_IN).await;
}

#[tokio::test]
async fn a_killed_host_leaves_no_kernel_behind() {
    let mut host = Host::start();
    let link = Link::new(host.socket());
    let kernel = start(&link, &plain_python(), BUILT_IN).await;
    let mut attachment = link.attach(&kernel.id, Some(1), true).await.unwrap();
    execute(&mut attachment, "a", "import subprocess\nprint(subprocess.Popen(['sleep', '1000']).pid)").await;
    let messages = outcome(&mut attachment, "a").await;
    let child: u32 = text(&messages, "stdout").trim().parse().unwrap();
    let process = link.kernel(&kernel.id).await.unwrap().pid.unwrap();
    assert!(is_alive(process) && is_alive(child));
    host.kill();
    until("the kernel and its child to end", || !is_alive(process) && !is_alive(child)).await;
}
