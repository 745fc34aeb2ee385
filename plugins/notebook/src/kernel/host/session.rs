//! One connection from the plugin to the host.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;

use super::Host;
use super::running::Running;
use super::terminals;
use crate::kernel::journal::JournalRead;
use crate::kernel::message::Message;
use crate::kernel::wire::{
    Answer, Call, ConnectionRole, Event, Frame, FrameReader, Hello, Launch, NumberedCall, PROTOCOL, Prewarm,
    Problem, ProblemKind, TerminalLaunch, encode_frame,
};

/// How many bytes of entries are written at once.
const BATCH: usize = 256 << 10;

/// Serves `stream` until it ends.
pub(super) async fn serve(host: Arc<Host>, stream: UnixStream) {
    if let Err(error) = converse(host, stream).await
        && error.kind() == io::ErrorKind::InvalidData
    {
        tracing::warn!(%error, "kernel host: closed a connection");
    }
}

async fn converse(host: Arc<Host>, stream: UnixStream) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut reader = FrameReader::new(read);
    let Some(Frame::Hello(hello)) = reader.next().await? else { return Ok(()) };
    let refused = |kind, message: String| Answer { id: 0, result: Err(Problem::new(kind, message)) };
    let hello: Hello = match serde_json::from_slice::<Value>(&hello) {
        Ok(value) if value["protocol"] != PROTOCOL => {
            let message = format!(
                "the running kernel host uses protocol {PROTOCOL}, but the plugin uses {}: save your work and restart the server",
                value["protocol"]
            );
            return write_json(&mut write, Frame::Answer, &refused(ProblemKind::Version, message)).await;
        }
        Ok(value) => match serde_json::from_value(value) {
            Ok(hello) => hello,
            Err(error) => {
                return write_json(
                    &mut write,
                    Frame::Answer,
                    &refused(ProblemKind::Malformed, error.to_string()),
                )
                .await;
            }
        },
        Err(error) => {
            return write_json(
                &mut write,
                Frame::Answer,
                &refused(ProblemKind::Malformed, error.to_string()),
            )
            .await;
        }
    };
    match hello.role {
        ConnectionRole::Control => {
            let welcome = json!({"protocol": PROTOCOL, "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id()});
            write_json(&mut write, Frame::Answer, &Answer { id: 0, result: Ok(welcome) }).await?;
            let number = host.connections.fetch_add(1, Ordering::Relaxed) + 1;
            host.controls.fetch_add(1, Ordering::Relaxed);
            let result = control(&host, number, reader, write).await;
            host.controls.fetch_sub(1, Ordering::Relaxed);
            host.unlock_all(number);
            result
        }
        ConnectionRole::Terminal { name } => match host.terminals.find(&name) {
            Err(problem) => {
                write_json(&mut write, Frame::Answer, &Answer { id: 0, result: Err(problem) }).await
            }
            Ok(terminal) => {
                let welcome = json!({"model": terminal.model()});
                write_json(&mut write, Frame::Answer, &Answer { id: 0, result: Ok(welcome) }).await?;
                terminal.serve(reader, write).await
            }
        },
        ConnectionRole::Attach { kernel, from, counted } => {
            let kernel = match host.kernel(&kernel) {
                Ok(kernel) => kernel,
                Err(problem) => {
                    return write_json(&mut write, Frame::Answer, &Answer { id: 0, result: Err(problem) })
                        .await;
                }
            };
            let from = from.unwrap_or_else(|| kernel.journal.next()).max(1);
            let welcome = json!({"model": kernel.model(), "from": from});
            write_json(&mut write, Frame::Answer, &Answer { id: 0, result: Ok(welcome) }).await?;
            let count = if counted { 1 } else { 0 };
            kernel.count_connection(count);
            let _attached = kernel.used.attach();
            let result = tokio::select! {
                result = deliver(&kernel, from, &mut write) => result,
                result = receive(&kernel, reader) => result,
            };
            kernel.count_connection(-count);
            result
        }
    }
}

/// Writes the kernel's entries, from `next` on, until the kernel is forgotten.
async fn deliver(kernel: &Running, mut next: u64, write: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut grown = kernel.journal.grown();
    let mut closed = kernel.closed.subscribe();
    let mut out = BytesMut::new();
    loop {
        grown.borrow_and_update();
        match kernel.journal.read(next, BATCH) {
            JournalRead::Entries(entries) => {
                for (number, entry) in entries {
                    encode_frame(&Frame::Entry(number, entry), &mut out);
                    next = number + 1;
                }
                write.write_all_buf(&mut out).await?;
                if out.capacity() > 4 * BATCH {
                    out = BytesMut::new();
                }
            }
            JournalRead::Gone(first) => {
                encode_frame(&Frame::Gap(next, first), &mut out);
                write.write_all_buf(&mut out).await?;
                next = first;
            }
            JournalRead::End if *closed.borrow() => return Ok(()),
            JournalRead::End => tokio::select! {
                _ = grown.changed() => {}
                _ = closed.changed() => {}
            },
        }
    }
}

async fn receive(kernel: &Running, mut reader: FrameReader<OwnedReadHalf>) -> io::Result<()> {
    while let Some(frame) = reader.next().await? {
        let Frame::Send(bytes) = frame else { continue };
        match Message::parse_v1(&bytes) {
            Ok(message) if message.is_well_formed() => kernel.send(message).await,
            Ok(_) => tracing::warn!("kernel host: dropped a message that is not JSON"),
            Err(error) => tracing::warn!(%error, "kernel host: dropped a message"),
        }
    }
    Ok(())
}

async fn control(
    host: &Arc<Host>,
    connection: u64,
    mut reader: FrameReader<OwnedReadHalf>,
    mut write: impl AsyncWrite + Unpin + Send + 'static,
) -> io::Result<()> {
    let (answers, mut queue) = mpsc::unbounded_channel::<Answer>();
    let mut events = host.events.subscribe();
    let writer = tokio::spawn(async move {
        loop {
            tokio::select! {
                answer = queue.recv() => match answer {
                    Some(answer) => write_json(&mut write, Frame::Answer, &answer).await?,
                    None => return io::Result::Ok(()),
                },
                event = events.recv() => match event {
                    Ok(event) => write_json(&mut write, Frame::Event, &event).await?,
                    // The plugin can ask for the current state. Ending the connection makes it do so.
                    Err(_) => return Ok(()),
                },
            }
        }
    });
    let result = loop {
        tokio::select! {
            frame = reader.next() => match frame {
                Ok(Some(Frame::Call(call))) => match serde_json::from_slice::<NumberedCall>(&call) {
                    Ok(NumberedCall { id, call }) => {
                        let (host, answers) = (host.clone(), answers.clone());
                        // Quick calls are handled in order. Calls that wait get their own task.
                        match quick(&host, connection, &call) {
                            Some(result) => { let _ = answers.send(Answer { id, result }); }
                            None => { tokio::spawn(async move {
                                let result = slow(&host, connection, call).await;
                                let _ = answers.send(Answer { id, result });
                            }); }
                        }
                    }
                    Err(error) => {
                        let id = serde_json::from_slice::<Value>(&call).ok().and_then(|call| call["id"].as_u64()).unwrap_or(0);
                        let problem = Problem::new(ProblemKind::Version, format!("the kernel host does not support this call: {error}"));
                        let _ = answers.send(Answer { id, result: Err(problem) });
                    }
                },
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            },
            () = answers.closed() => break Ok(()),
        }
    };
    writer.abort();
    result
}

fn quick(host: &Arc<Host>, connection: u64, call: &Call) -> Option<Result<Value, Problem>> {
    Some(match call {
        Call::Start { launch, id } => {
            host.start(Launch::clone(launch), id.clone(), false).map(|kernel| json!(kernel.model()))
        }
        Call::StartTemporary { launch, id } => {
            host.start(Launch::clone(launch), Some(id.clone()), true).map(|kernel| json!(kernel.model()))
        }
        Call::Prewarm { order } => host.prewarm(Prewarm::clone(order)).map(|()| Value::Null),
        Call::KeepPrewarmed { names } => {
            host.prewarmed.keep(names);
            Ok(Value::Null)
        }
        Call::Prewarmed => Ok(json!(host.prewarmed.models())),
        Call::List => {
            Ok(json!(host.kernels.lock().values().map(|kernel| kernel.model()).collect::<Vec<_>>()))
        }
        Call::Interrupt { id } => host.kernel(id).map(|kernel| {
            kernel.interrupt();
            Value::Null
        }),
        Call::Cancel { id, messages } => host.kernel(id).map(|kernel| {
            kernel.cancel(messages.clone());
            Value::Null
        }),
        Call::Put { key, value } => host.put(key.clone(), value.clone()).map(|()| Value::Null),
        Call::Kept { prefix } => Ok(host.kept(prefix)),
        Call::Lock { key, wait: false } => Ok(host.lock(key, connection, false).unwrap_or(false).into()),
        Call::Unlock { key } => {
            host.unlock(key, connection);
            Ok(Value::Null)
        }
        Call::Publish { event } => {
            let _ = host.events.send(Event::Published { event: event.clone() });
            Ok(Value::Null)
        }
        Call::OpenTerminal { launch } => {
            terminals::open(host, TerminalLaunch::clone(launch)).map(|terminal| json!(terminal.model()))
        }
        Call::Terminals => Ok(json!(host.terminals.models())),
        Call::Lock { wait: true, .. }
        | Call::Restart { .. }
        | Call::Shutdown { .. }
        | Call::CloseTerminal { .. } => return None,
    })
}

async fn slow(host: &Arc<Host>, connection: u64, call: Call) -> Result<Value, Problem> {
    match call {
        Call::Restart { id } => {
            let kernel = host.kernel(&id)?;
            kernel.restart().await?;
            Ok(json!(kernel.model()))
        }
        Call::Shutdown { id } => {
            host.kernel(&id)?.shutdown().await;
            Ok(Value::Null)
        }
        Call::CloseTerminal { name } => {
            host.terminals.find(&name)?.close().await;
            Ok(Value::Null)
        }
        Call::Lock { key, wait: true } => match host.lock(&key, connection, true) {
            Ok(held) => Ok(held.into()),
            Err(waiting) => Ok(waiting.await.is_ok().into()),
        },
        other => quick(host, connection, &other).unwrap_or(Ok(Value::Null)),
    }
}

async fn write_json<T: Serialize>(
    write: &mut (impl AsyncWrite + Unpin),
    kind: impl FnOnce(Bytes) -> Frame,
    value: &T,
) -> io::Result<()> {
    let payload = serde_json::to_vec(value).map_err(io::Error::other)?;
    let mut out = BytesMut::new();
    encode_frame(&kind(payload.into()), &mut out);
    write.write_all_buf(&mut out).await
}
