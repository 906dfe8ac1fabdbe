//! `--procs N`: the viewers of one run in several processes, where one thread or one process's
//! descriptors do not suffice.
//!
//! Each process is this program again, by its hidden command `part`. It says what happens on its
//! standard output, a line of JSON each, its [`Report`] last; on its standard input it is told
//! when to begin and to stop. If that ends, so does the process: none is left behind.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::crowd::{Count, News, Second, process_cpu};
use crate::play::{self, Audience, Options};
use crate::report::{self, Report};

/// The command that makes this program a part of another's run.
pub const COMMAND: &str = "part";

/// What a part is told on its command line.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    options: Options,
    /// Number of its first viewer, and of itself.
    first: usize,
    number: usize,
}

/// What a part says.
#[derive(Debug, Serialize, Deserialize)]
enum Line {
    News(News),
    Report(Box<Report>),
    Failed(String),
}

const BEGIN: &str = "begin";
/// A part that has been told to stop says its report within this.
const REPORT_PATIENCE: Duration = Duration::from_secs(20);

/// The parts of one run.
pub(crate) struct Parts {
    parts: Vec<Process>,
    lines: Receiver<(usize, Line)>,
    /// Second number to what the parts have said of it.
    seconds: BTreeMap<u64, Vec<Second>>,
    /// How many parts are all in, and how many viewers of them were let in.
    all_in: (usize, usize),
    begun: usize,
    cpu_before: (Instant, Duration),
}

struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    report: Option<Report>,
}

/// Starts the processes that share the viewers of `options`.
///
/// # Errors
/// This program cannot be started.
pub(crate) fn start(options: &Options) -> io::Result<Parts> {
    let (tell, lines) = channel();
    let procs = options.procs.min(options.viewers.max(1));
    let mut parts = Vec::new();
    for number in 0..procs {
        let first = options.viewers * number / procs;
        let viewers = options.viewers * (number + 1) / procs - first;
        let ramp = options.ramp * viewers as f64 / options.viewers as f64;
        let options = Options { viewers, ramp, procs: 1, ..options.clone() };
        parts.push(Process::start(&Part { options, first, number }, tell.clone())?);
    }
    Ok(Parts {
        parts,
        lines,
        seconds: BTreeMap::new(),
        all_in: (0, 0),
        begun: 0,
        cpu_before: (Instant::now(), process_cpu()),
    })
}

impl Process {
    fn start(part: &Part, tell: Sender<(usize, Line)>) -> io::Result<Self> {
        let program = program()?;
        let mut child = Command::new(&program)
            .arg(COMMAND)
            .arg(serde_json::to_string(part).map_err(io::Error::other)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("cannot run {}: {error}", program.display()))
            })?;
        let (orders, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = stdout.expect("it was asked to be piped");
        let number = part.number;
        thread::Builder::new().name(format!("part-{number}")).spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line);
                let line = line.unwrap_or_else(|error| Line::Failed(error.to_string()));
                if tell.send((number, line)).is_err() {
                    return;
                }
            }
            // After its report nobody minds.
            let _ = tell.send((number, Line::Failed("it ended without a report".to_owned())));
        })?;
        Ok(Self { child, orders, report: None })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program, or the one beside a program that uses it as a library.
fn program() -> io::Result<PathBuf> {
    const NAME: &str = "corecast-load";
    let this = std::env::current_exe()?;
    if this.file_stem().is_some_and(|name| name == NAME) {
        return Ok(this);
    }
    // Tests lie one directory below.
    let beside = this.ancestors().skip(1).take(2).map(|directory| directory.join(NAME));
    beside.into_iter().find(|path| path.exists()).ok_or_else(|| {
        io::Error::other(format!(
            "expected {NAME} beside {}, found no such file\n  cure: cargo build -p {NAME}",
            this.display()
        ))
    })
}

impl Audience for Parts {
    fn wait(&mut self, patience: Duration) -> io::Result<Option<News>> {
        let until = Instant::now() + patience;
        while let Some((number, line)) = self.next_line(until)? {
            let all = self.parts.len();
            match line {
                Line::News(News::AllIn(joined)) => {
                    self.all_in = (self.all_in.0 + 1, self.all_in.1 + joined);
                    if self.all_in.0 == all {
                        return Ok(Some(News::AllIn(self.all_in.1)));
                    }
                }
                Line::News(News::Begun) => {
                    self.begun += 1;
                    if self.begun == all {
                        self.cpu_before = (Instant::now(), process_cpu());
                        return Ok(Some(News::Begun));
                    }
                }
                Line::News(News::Second(second)) => {
                    if let Some(second) = self.add(second) {
                        return Ok(Some(News::Second(second)));
                    }
                }
                Line::Report(_) => return Err(failed(number, "it stopped unasked")),
                Line::Failed(why) => return Err(failed(number, &why)),
            }
        }
        Ok(None)
    }

    fn begin(&mut self) {
        for part in &mut self.parts {
            if let Some(orders) = &mut part.orders {
                // One that has ended is noticed by its silence.
                let _ = writeln!(orders, "{BEGIN}").and_then(|()| orders.flush());
            }
        }
    }

    fn stop(mut self: Box<Self>) -> io::Result<Report> {
        self.parts.iter_mut().for_each(|part| drop(part.orders.take()));
        let (since, cpu_before) = self.cpu_before;
        let (time, cpu) = (since.elapsed(), process_cpu().saturating_sub(cpu_before));
        let until = Instant::now() + REPORT_PATIENCE;
        while self.parts.iter().any(|part| part.report.is_none()) {
            match self.next_line(until)? {
                Some((number, Line::Report(report))) => self.parts[number].report = Some(*report),
                Some((number, Line::Failed(why))) if self.parts[number].report.is_none() => {
                    return Err(failed(number, &why));
                }
                Some(_) => {}
                None => return Err(io::Error::other("a process of the viewers does not report")),
            }
        }
        let mut all = Report::default();
        let reports = self.parts.iter_mut().filter_map(|part| part.report.take());
        reports.for_each(|report| all.merge(report));
        all.cost.own_cpu_percent += 100.0 * cpu.as_secs_f64() / time.as_secs_f64().max(1e-3);
        Ok(all)
    }
}

impl Parts {
    fn next_line(&mut self, until: Instant) -> io::Result<Option<(usize, Line)>> {
        match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("all processes of viewers have ended"))
            }
        }
    }

    /// The second of all, once the last part has told of it.
    fn add(&mut self, second: Second) -> Option<Second> {
        let number = second.at.as_secs();
        let seconds = self.seconds.entry(number).or_default();
        seconds.push(second);
        if seconds.len() < self.parts.len() {
            return None;
        }
        let seconds = self.seconds.remove(&number)?;
        // One that a part has left out will never be whole.
        self.seconds = self.seconds.split_off(&number);
        let mut all = together(seconds)?;
        all.cpu += process_cpu();
        Some(all)
    }
}

fn together(seconds: Vec<Second>) -> Option<Second> {
    seconds.into_iter().reduce(|a, b| Second {
        at: a.at.max(b.at),
        cpu: a.cpu + b.cpu,
        watching: a.watching + b.watching,
        coming: a.coming + b.coming,
        latency_ms: report::latency_of_both(
            (a.latency_ms, a.latencies as f64),
            (b.latency_ms, b.latencies as f64),
        ),
        latencies: a.latencies + b.latencies,
        missing: a.missing + b.missing,
        count: Count {
            joined: a.count.joined + b.count.joined,
            refused: a.count.refused + b.count.refused,
            lost: a.count.lost + b.count.lost,
            rejoined: a.count.rejoined + b.count.rejoined,
            rejoined_after_loss: a.count.rejoined_after_loss + b.count.rejoined_after_loss,
            bytes: a.count.bytes + b.count.bytes,
        },
    })
}

fn failed(number: usize, why: &str) -> io::Error {
    io::Error::other(format!("process {number} of the viewers: {why}"))
}

/// What the command [`COMMAND`] does with its argument, until its standard input ends.
///
/// # Errors
/// The argument is not ours, or nobody listens.
pub fn serve(part: &str) -> io::Result<()> {
    // The run that this is a part of decides when it ends, also when both get a signal.
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::<AtomicBool>::default())?;
    }
    let part: Part = serde_json::from_str(part).map_err(io::Error::other)?;
    let line = match watch(&part) {
        Ok(report) => Line::Report(Box::new(report)),
        Err(error) => Line::Failed(error.to_string()),
    };
    say(&line)
}

fn watch(part: &Part) -> io::Result<Report> {
    let mut local = Box::new(play::start(&part.options, part.first, part.number)?);
    let (tell, orders) = channel();
    thread::Builder::new().name("orders".to_owned()).spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if line == BEGIN && tell.send(()).is_err() {
                return;
            }
        }
    })?;
    loop {
        if let Some(news) = local.wait(Duration::from_millis(20))? {
            say(&Line::News(news))?;
        }
        match orders.try_recv() {
            Ok(()) => local.begin(),
            Err(std::sync::mpsc::TryRecvError::Empty) => {}
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return local.stop(),
        }
    }
}

fn say(line: &Line) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, line).map_err(io::Error::other)?;
    out.write_all(b"\n")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_many_processes_is_weighed_by_their_pictures() {
        let second = |p50: f64, latencies| Second {
            latency_ms: (latencies > 0).then_some([p50, 2.0 * p50, 3.0 * p50]),
            latencies,
            ..Second::default()
        };
        let all = vec![second(10.0, 100), second(20.0, 200), second(30.0, 100), second(0.0, 0)];
        for turn in 0..4 {
            let mut seconds = all.clone();
            seconds.rotate_left(turn);
            let found = together(seconds).expect("there are some");
            assert_eq!((found.latency_ms, found.latencies), (Some([20.0, 60.0, 90.0]), 400));
        }
    }
}
