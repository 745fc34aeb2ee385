//! The engine without a kernel: messages in, effects out.

mod comms;
mod outputs;
mod record;
mod replies;
mod runs;

use serde_json::{Value, json};

use super::{Effect, Engine, OwnershipRecord};
use crate::documents::model::Model;
use crate::documents::operations::apply;
use crate::kernel::message::{Channel, Message};
use crate::kernel::wire::KernelModel;
use crate::protocol::{CellState, Change, Kernel, KernelState, Output, Reply};

/// The output limit of the tests.
const LIMIT: usize = 100;

/// An engine with an idle kernel, the model beside it, and the messages that it sent.
struct Fixture {
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

impl Fixture {
    fn new(sources: &[&str]) -> Fixture {
        Fixture { engine: engine(), model: model(sources), sent: Vec::new(), last: 0 }
    }

    fn take(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let sent = effects.iter().filter_map(|effect| match effect {
            Effect::Send(message) => Some(message.clone()),
            _ => None,
        });
        self.sent.extend(sent);
        for effect in &effects {
            if let Effect::Edit { operation, .. } = effect {
                apply(&mut self.model, operation.clone()).expect("an edit").expect("a possible one");
            }
        }
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
    fn successor(&self, file: Model, disk_hash: &[u8]) -> Fixture {
        let record = json!(self.engine.record().unwrap());
        assert_eq!(super::is_running(&record), self.engine.is_running());
        let record: OwnershipRecord = serde_json::from_value(record).unwrap();
        let mut next = Fixture { engine: engine(), model: file, sent: self.sent.clone(), last: 0 };
        next.engine.restore(&mut next.model, record, disk_hash);
        next.last = next.engine.entry();
        next
    }
}
