//! `paster top`.

use std::collections::{BTreeMap, VecDeque};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Sparkline};
use serde_json::json;

use super::control::{Columns, ServerArgs, span};
use super::output::print;
use super::{ps, stacks};
use crate::error::{Error, Result};
use crate::ops::control::{Connection, ControlCommand, ProcessStacks, Ps, RequestInFlight, WorkerLoad};

/// How many samples the graph of rates shows.
const HISTORY: usize = 240;

/// Shows what a running server is doing: rates, workers, processes of apps and programs, the requests in flight.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  paster top               a live view; q quits
  paster top --once        print one sample as a table
  paster top --once --json
  paster top --stacks api  what each thread of the Python application [app.api] is doing

Exit codes: 0 printed, 1 no server responds, 2 several servers run: name one.")]
pub(super) struct Args {
    #[command(flatten)]
    server: ServerArgs,

    /// Print one sample; the default without a terminal
    #[arg(long)]
    once: bool,

    /// Print JSON: one sample, or the stacks
    #[arg(long)]
    json: bool,

    /// Print the stack of each thread of a Python application, also of one that hangs
    #[arg(long, value_name = "APP", conflicts_with = "once")]
    stacks: Option<String>,

    /// Seconds between two samples, from 0.1 to 30
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = every)]
    every: f64,
}

/// Parses the time between two samples. The server closes a connection that is silent for a minute.
fn every(text: &str) -> Result<f64, String> {
    let known = text.parse().ok().filter(|secs| (0.1..=30.0).contains(secs));
    known.ok_or_else(|| "it must be a number from 0.1 to 30".to_owned())
}

/// One sample.
#[derive(Debug)]
struct Sample {
    at: Instant,
    ps: Ps,
    requests: Vec<RequestInFlight>,
}

impl Sample {
    fn take(server: &mut Connection) -> Result<Sample> {
        let ps = server.done(&ControlCommand::Ps)?;
        let requests = server.done(&ControlCommand::Requests)?;
        Ok(Sample { at: Instant::now(), ps, requests })
    }
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut server = self.server.connect()?;
        if let Some(app) = self.stacks {
            return stacks::print_stacks(
                &server.done::<Vec<ProcessStacks>>(&ControlCommand::Stacks { app })?,
                self.json,
            );
        }
        if self.json {
            let look = Sample::take(&mut server)?;
            return print(&format!("{:#}\n", json!({ "ps": look.ps, "requests": look.requests })));
        }
        if self.once || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
            let look = Sample::take(&mut server)?;
            let mut text = format!("{}\n\n{}", ps::headline(&look.ps), ps::workers(&look.ps).text());
            for table in [ps::side_processes(&look.ps), ps::upstreams(&look.ps)] {
                if !table.is_empty() {
                    text += &format!("\n{}", table.text());
                }
            }
            if !look.requests.is_empty() {
                text += &format!("\n{}", requests(&look.requests).text());
            }
            return print(&text);
        }
        let failed = |cause: std::io::Error| Error::new("cannot use the terminal").because(cause);
        let mut view = View::new(Sample::take(&mut server)?);
        let mut terminal = ratatui::try_init().map_err(failed)?;
        let ended = watch(&mut terminal, &mut server, &mut view, Duration::from_secs_f64(self.every));
        ratatui::try_restore().map_err(failed)?;
        ended.map(|()| ExitCode::SUCCESS)
    }
}

/// Shows the view and takes samples until the user quits or the server stops.
fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    server: &mut Connection,
    view: &mut View,
    pause: Duration,
) -> Result<()> {
    let failed = |cause: std::io::Error| Error::new("cannot use the terminal").because(cause);
    loop {
        terminal.draw(|frame| view.draw(frame)).map_err(failed)?;
        let next = view.look.at + pause;
        if event::poll(next.saturating_duration_since(Instant::now())).map_err(failed)? {
            let Event::Key(key) = event::read().map_err(failed)? else { continue };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            match key.code {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(()),
                KeyCode::Down | KeyCode::Char('j') => view.scroll = view.scroll.saturating_add(1),
                KeyCode::Up | KeyCode::Char('k') => view.scroll = view.scroll.saturating_sub(1),
                _ => {}
            }
            continue;
        }
        view.add(Sample::take(server)?);
    }
}

/// The state of the screen.
#[derive(Debug)]
struct View {
    look: Sample,
    /// Requests per second between the last two samples.
    rate: f64,
    failing: f64,
    rates: VecDeque<u64>,
    /// How many requests in flight are scrolled away.
    scroll: usize,
}

fn counts(ps: &Ps) -> BTreeMap<u32, WorkerLoad> {
    ps.workers.iter().filter_map(|worker| Some((worker.pid, worker.load?))).collect()
}

impl View {
    fn new(look: Sample) -> View {
        View { look, rate: 0.0, failing: 0.0, rates: VecDeque::new(), scroll: 0 }
    }

    /// Adds the next sample. A worker that is new in it counts from its start.
    fn add(&mut self, look: Sample) {
        let (before, now) = (counts(&self.look.ps), counts(&look.ps));
        let secs = look.at.duration_since(self.look.at).as_secs_f64().max(1e-3);
        let mut new = WorkerLoad::default();
        for (pid, count) in now {
            let old = before.get(&pid).copied().unwrap_or_default();
            new.requests += count.requests.saturating_sub(old.requests);
            new.failed += count.failed.saturating_sub(old.failed);
        }
        // `top`'s own requests come over the control socket, so no server counts them.
        self.rate = new.requests as f64 / secs;
        self.failing = new.failed as f64 / secs;
        self.rates.push_back(self.rate.round() as u64);
        if self.rates.len() > HISTORY {
            self.rates.pop_front();
        }
        self.scroll = self.scroll.min(look.requests.len().saturating_sub(1));
        self.look = look;
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let (workers, processes) = (ps::workers(&self.look.ps), ps::side_processes(&self.look.ps));
        let upstreams = ps::upstreams(&self.look.ps);
        // The head of a table, its rows, and an empty line.
        let height = |table: &Columns, rows: usize| match table.is_empty() {
            true => 0,
            false => u16::try_from(rows + 2).unwrap_or(u16::MAX).min(frame.area().height / 4),
        };
        let parts = [
            Constraint::Length(2),
            Constraint::Length(3),
            Constraint::Length(height(&workers, self.look.ps.workers.len())),
            Constraint::Length(height(&processes, self.look.ps.side_processes.len())),
            Constraint::Length(height(&upstreams, self.look.ps.upstreams.len())),
            Constraint::Min(2),
            Constraint::Length(1),
        ];
        let [head, graph, middle, beside, below, rest, foot] = Layout::vertical(parts).areas(frame.area());
        let mut total = WorkerLoad::default();
        counts(&self.look.ps).into_values().for_each(|one| total += one);
        let numbers = format!(
            "{:.0} requests/s, {:.0} failed/s, {} in flight, {} connections",
            self.rate, self.failing, total.in_flight, total.connections
        );
        let lines = vec![Line::from(ps::headline(&self.look.ps)).bold(), Line::from(numbers)];
        frame.render_widget(Paragraph::new(lines), head);
        let newest = self.rates.len().saturating_sub(graph.width.into());
        let bars: Vec<u64> = self.rates.iter().skip(newest).copied().collect();
        frame.render_widget(Sparkline::default().data(&bars).style(Style::new().cyan()), graph);
        show(frame, middle, &workers, 0);
        show(frame, beside, &processes, 0);
        show(frame, below, &upstreams, 0);
        show(frame, rest, &requests(&self.look.requests), self.scroll);
        frame.render_widget(
            Line::from("q quits, ↑ ↓ scroll; `paster cancel REQUEST` cancels one").dim(),
            foot,
        );
    }
}

/// Shows a table with dim heads, scrolled down by `skip` rows.
fn show(frame: &mut Frame<'_>, area: Rect, table: &Columns, skip: usize) {
    let text = table.text();
    let mut rows = text.lines();
    let heads = Line::from(rows.next().unwrap_or_default().to_owned()).dim();
    let rows = rows.skip(skip).map(|row| Line::from(row.to_owned()));
    let lines: Vec<Line<'_>> = std::iter::once(heads).chain(rows).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

/// The requests in flight.
fn requests(requests: &[RequestInFlight]) -> Columns {
    let mut table =
        Columns::new(&["REQUEST", "AGE", "PHASE", "METHOD", "PATH", "APP", "IN", "CLIENT", "WORKER"]);
    for one in requests {
        table.row([
            one.request_id.clone().unwrap_or_else(|| one.id.clone()),
            span(one.age_ms),
            format!("{:?}", one.phase).to_lowercase(),
            one.method.clone(),
            one.path.clone(),
            one.app.clone().unwrap_or_else(|| "-".to_owned()),
            one.middleware.clone().unwrap_or_else(|| "app".to_owned()),
            one.client.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{} (generation {})", one.worker, one.generation),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::inflight::RequestPhase;
    use crate::ops::control::{SideInfo, WorkerInfo};

    fn look(at: Instant, requests: u64) -> Sample {
        let load = WorkerLoad { connections: 3, in_flight: 1, requests, ..WorkerLoad::default() };
        let worker = WorkerInfo { pid: 4711, generation: 2, load: Some(load), ..WorkerInfo::default() };
        let one = RequestInFlight {
            id: "4711.96".into(),
            request_id: None,
            age_ms: 1500,
            method: "GET".into(),
            path: "/slow".into(),
            server: "main".into(),
            app: Some("shop".into()),
            middleware: Some("compress".into()),
            client: Some("192.0.2.1".into()),
            worker: 4711,
            generation: 2,
            phase: RequestPhase::Answering,
        };
        let side = SideInfo {
            app: "shop".into(),
            name: "server".into(),
            pid: Some(4712),
            age_secs: 5.0,
            memory_bytes: Some(1 << 20),
            restarts: 1,
            socket: "/run/shop".into(),
        };
        let ps = Ps { workers: vec![worker], side_processes: vec![side], ..Ps::default() };
        Sample { at, ps, requests: vec![one] }
    }

    #[test]
    fn a_view_shows_rates_workers_and_requests() {
        let began = Instant::now();
        let mut view = View::new(look(began, 100));
        view.add(look(began + Duration::from_secs(2), 300));
        let mut terminal = Terminal::new(TestBackend::new(120, 18)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let screen = terminal.backend().to_string();
        assert!(screen.contains("100 requests/s, 0 failed/s, 1 in flight, 3 connections"), "{screen}");
        for word in [
            "4711 ",
            "4712 ",
            "server ",
            "4711.96",
            "1.5 s",
            "/slow",
            "shop",
            "compress",
            "192.0.2.1",
            "q quits",
        ] {
            assert!(screen.contains(word), "{word}: {screen}");
        }
    }
}
