use std::io;
use std::time::{Duration, Instant};

use super::{Handles, Reading};
use crate::viewer::words;

/// What a server said of itself, and when.
#[derive(Debug)]
pub(super) struct Metrics {
    reading: Reading,
    handles: Handles,
    /// Why it has not answered since.
    error: Option<String>,
}

const PATIENCE: Duration = Duration::from_secs(3);
/// A server that has not answered for so long is gone.
const SILENCE: Duration = Duration::from_secs(10);

impl Metrics {
    pub(super) fn ask(url: &str) -> io::Result<Self> {
        let wrap = |why: String| io::Error::other(format!("metrics: {url}: {why}"));
        let response = minreq::get(url)
            .with_timeout(PATIENCE.as_secs())
            .send()
            .map_err(|error| wrap(error.to_string()))?;
        // The numbers are of about the moment when they came.
        let at = Instant::now();
        if response.status_code != 200 {
            let (code, reason) = (response.status_code, words(&response.reason_phrase));
            return Err(wrap(format!("expected status 200, found {code} {reason}")));
        }
        let text = response.as_str().map_err(|error| wrap(error.to_string()))?;
        Self::parse(text, at).map_err(wrap)
    }

    fn parse(text: &str, at: Instant) -> Result<Self, String> {
        let need = |name: &str| {
            sum(text, name).ok_or_else(|| format!("expected a metric {name}, found none"))
        };
        let cpu = need("process_cpu_seconds_total")?;
        let cpu = Duration::try_from_secs_f64(cpu).map_err(|error| error.to_string())?;
        let rss_bytes = need("process_resident_memory_bytes")? as u64;
        let count = |name| sum(text, name).map(|value| value as u64);
        let handles = Handles { fds: count("process_open_fds"), threads: count("process_threads") };
        Ok(Self { reading: Reading { at, cpu, rss_bytes }, handles, error: None })
    }

    /// Takes what it said next; without an answer the last one stays.
    pub(super) fn update(&mut self, next: io::Result<Self>) {
        match next {
            Ok(next) => *self = next,
            Err(error) => self.error = Some(error.to_string()),
        }
    }

    pub(super) fn reading(&self) -> io::Result<Reading> {
        match &self.error {
            Some(error) if self.reading.at.elapsed() > SILENCE => {
                Err(io::Error::other(error.clone()))
            }
            _ => Ok(self.reading),
        }
    }

    pub(super) fn handles(&self) -> io::Result<Handles> {
        self.reading().map(|_| self.handles)
    }
}

/// The metric `name`, the sum of all its label sets (Prometheus text format 0.0.4).
fn sum(text: &str, name: &str) -> Option<f64> {
    let samples = text.lines().filter_map(|line| {
        let rest = line.trim_start().strip_prefix(name)?;
        // Label values may hold braces too, so the last one ends them.
        let rest = match rest.strip_prefix('{') {
            Some(labels) => &labels[labels.rfind('}')? + 1..],
            None => rest.starts_with([' ', '\t']).then_some(rest)?,
        };
        let value = rest.split_whitespace().next()?.parse::<f64>().ok()?;
        value.is_finite().then_some(value)
    });
    samples.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc::{Sender, channel};
    use std::thread::{self, JoinHandle};

    use super::super::Meter;
    use super::*;

    const TEXT: &str = "# HELP process_cpu_seconds_total CPU.\n\
                        # TYPE process_cpu_seconds_total counter\n\
                        process_cpu_seconds_total 12.5 1700000000000\n\
                        process_cpu_seconds_total_x 99\n\
                        process_resident_memory_bytes{core=\"a}\"} 1.5e6\n\
                        process_resident_memory_bytes{core=\"b\"} 500000\n\
                        process_open_fds 17\n";

    /// Answers one request with each answer that it is given, then nobody.
    fn server() -> (String, Sender<String>, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/metrics", listener.local_addr().expect("it is bound"));
        let (give, answers) = channel::<String>();
        let thread = thread::spawn(move || {
            for answer in answers {
                let (mut socket, _) = listener.accept().expect("one comes");
                let mut request = [0; 1024];
                let count = socket.read(&mut request).expect("it asks");
                assert!(request[..count].starts_with(b"GET /metrics HTTP/1.1\r\n"));
                socket.write_all(answer.as_bytes()).expect("it listens");
            }
        });
        (url, give, thread)
    }

    fn answer(status: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    }

    #[test]
    fn cpu_memory_and_descriptors_are_read() {
        let (url, give, thread) = server();
        give.send(answer("200 OK", TEXT)).expect("it waits");
        let meter = Meter::of_metrics(&url).expect("it answers");
        let first = meter.read().expect("it answered");
        assert_eq!((first.cpu, first.rss_bytes), (Duration::from_millis(12_500), 2_000_000));
        let handles = meter.handles().expect("it answered");
        assert_eq!(handles, Handles { fds: Some(17), threads: None });
        assert_eq!(meter.pss_bytes().expect("nothing to fail"), None);
        // The meter asks again by itself, a second after the first time.
        give.send(answer("200 OK", &TEXT.replace("12.5", "13.5"))).expect("it waits");
        drop(give);
        thread.join().expect("it was asked twice");
        let begin = Instant::now();
        let second = loop {
            let reading = meter.read().expect("silence is short yet");
            if reading.cpu > first.cpu {
                break reading;
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "the second answer was not taken");
            thread::sleep(Duration::from_millis(5));
        };
        assert!(second.cpu_percent_since(&first).is_some_and(|percent| percent > 0.0));
    }

    #[test]
    fn a_server_without_these_metrics_is_told() {
        let (url, give, thread) = server();
        for answer in [answer("200 OK", "up 1\n"), answer("404 Not Found", "")] {
            give.send(answer).expect("it waits");
        }
        drop(give);
        let error = Meter::of_metrics(&url).expect_err("it has none").to_string();
        assert!(error.contains("expected a metric process_cpu_seconds_total"), "{error}");
        let error = Meter::of_metrics(&url).expect_err("it is not there").to_string();
        assert!(error.contains("found 404 Not Found"), "{error}");
        thread.join().expect("it was asked twice");
        let error = Meter::of_metrics(&url).expect_err("nobody is there").to_string();
        assert!(error.contains(&url), "{error}");
    }

    #[test]
    fn one_answer_that_fails_to_come_is_borne() {
        let mut metrics = Metrics::parse(TEXT, Instant::now()).expect("it has all");
        metrics.update(Err(io::Error::other("timeout")));
        assert!(metrics.reading().is_ok());
        metrics.reading.at -= SILENCE * 2;
        assert_eq!(metrics.reading().expect_err("too long").to_string(), "timeout");
        metrics.update(Metrics::parse(TEXT, Instant::now()).map_err(io::Error::other));
        assert!(metrics.reading().is_ok());
    }

    #[test]
    fn lines_that_are_no_samples_are_passed_over() {
        assert_eq!(sum("a 1\nab 2\na{b=\"}\"} 3\na NaN\na\n# a 7\na{ 5\n", "a"), Some(4.0));
        assert_eq!(sum("", "a"), None);
    }
}
