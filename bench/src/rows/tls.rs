//! The same streams with TLS and without, in turn: CPU, and memory of one more viewer.

use std::io;
use std::process::{Command, Stdio};

use corecast_load::server::{Directory, Recipe, Server};

use super::memory::{bytes_each, few_and_many};
use super::ratio::{By, Round, Work, cpu, each};
use crate::figure::{Figure, median};
use crate::suite::Suite;
use crate::whole::egress_words;

const PAIRS: [(By, By); 2] = [(By::HttpFlv, By::HttpsFlv), (By::Rtmp, By::Rtmps)];
const ROUNDS: usize = 5;
/// Of memory, which depends on nobody else.
const MEMORY_ROUNDS: usize = 1;
/// Viewers that come per second: so many handshakes leave a core its breath.
const RAMP: f64 = 500.0;

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let certificate = Certificate::new()?;
    let mut figures = Vec::new();
    let mut add = |what: String, row: &dyn Fn(&str) -> io::Result<Figure>| {
        if !suite.is_stopped() {
            figures.push(row(&what).unwrap_or_else(|error| Figure::failed(&what, &error)));
        }
    };
    let work = Work { rounds: ROUNDS, ramp: RAMP, ..Work::new(1000, 2_000_000, 350) };
    for (plain, secure) in PAIRS {
        let what = format!("{}, {} beside {}", work.title(), secure.name(), plain.name());
        add(what, &|what| cpu_row(suite, &certificate, &work, what, (plain, secure)));
    }
    for (plain, secure) in PAIRS {
        let names = format!("{} beside {}", secure.name(), plain.name());
        let what = format!("user memory per further viewer, {names}");
        add(what, &|what| memory_row(suite, &certificate, &work, what, (plain, secure)));
    }
    Ok(figures)
}

fn cpu_row(
    suite: &Suite,
    certificate: &Certificate,
    work: &Work,
    what: &str,
    (plain, secure): (By, By),
) -> io::Result<Figure> {
    let pairs = suite.each_round(what, work.rounds, |number| {
        let watch =
            |by| suite.quietly(what, || work.watch(suite, by, &certificate.start(suite, work)?));
        let (without, with) = (watch(plain)?, watch(secure)?);
        let ratio = with.cpu / without.cpu;
        eprintln!(
            "  {what}, round {number}: {:.2} % against {:.2} %, {ratio:.2} ×",
            with.cpu, without.cpu
        );
        Ok((with, without))
    })?;
    let (with, without): (Vec<Round>, Vec<Round>) = pairs.into_iter().unzip();
    let ratios = with.iter().zip(&without).map(|(with, without)| with.cpu / without.cpu);
    let ratios = ratios.collect::<Vec<_>>();
    let sent = |rounds: &[Round]| egress_words(rounds.iter().map(|round| round.egress));
    let words = (plain.name(), sent(&with), sent(&without));
    Ok(Figure {
        what: what.to_owned(),
        measured: format!("{:.2} × the CPU without TLS", median(&ratios)),
        details: format!("{:.2} % against {:.2} % of a core", cpu(&with), cpu(&without)),
        bound: String::new(),
        notes: vec![
            format!("ratios of {} rounds {}", ratios.len(), each(&ratios)),
            format!("sent {}, {} {}", words.1, words.0, words.2),
        ],
        shares: ratios,
        noise: None,
    })
}

fn memory_row(
    suite: &Suite,
    certificate: &Certificate,
    work: &Work,
    what: &str,
    (plain, secure): (By, By),
) -> io::Result<Figure> {
    let pairs = suite.each_round(what, MEMORY_ROUNDS, |round| {
        let bytes = |by| bytes_each(suite, by, RAMP, || certificate.start(suite, work));
        let (without, with) = (bytes(plain)?, bytes(secure)?);
        eprintln!("  {what}, round {round}: {with:.0} against {without:.0} bytes");
        Ok((with, without))
    })?;
    let (with, without): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    let [with_kb, without_kb] = [&with, &without].map(|bytes| median(bytes) / 1024.0);
    let (few, many) = few_and_many(suite);
    Ok(Figure {
        what: what.to_owned(),
        measured: format!("{with_kb:.1} KB"),
        details: format!("{without_kb:.1} KB without TLS"),
        bound: String::new(),
        notes: vec![format!("from {few} to {many} viewers of 250 kbit/s")],
        shares: with.iter().zip(&without).map(|(with, without)| with / without).collect(),
        noise: None,
    })
}

/// A certificate of ECDSA P-256, signed by itself. Deleted when dropped.
struct Certificate(Directory);

impl Certificate {
    fn new() -> io::Result<Self> {
        let this = Self(Directory::new()?);
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=bench"])
            .args(["-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-keyout", &this.file("key.pem"), "-out", &this.file("cert.pem")])
            .stdin(Stdio::null())
            .output();
        match made {
            Ok(output) if output.status.success() => Ok(this),
            Ok(output) => Err(io::Error::other(format!(
                "openssl makes no certificate: {}",
                String::from_utf8_lossy(&output.stderr)
            ))),
            Err(error) => {
                let why = format!("cannot run openssl: {error} (cure: apt install openssl)");
                Err(io::Error::new(error.kind(), why))
            }
        }
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }

    /// A server that shows it, and is watched without TLS too.
    fn start(&self, suite: &Suite, work: &Work) -> io::Result<Server> {
        let lines = format!(
            "app_defaults.merge_window = \"{}ms\"\n\
             rtmp.tls_listen = [\"127.0.0.1:{{rtmps_port}}\"]\n\
             http.tls_listen = [\"127.0.0.1:{{https_port}}\"]\n\
             tls.certificates = [{{ cert = \"{}\", key = \"{}\" }}]",
            work.window.as_millis(),
            self.file("cert.pem"),
            self.file("key.pem"),
        );
        let mut recipe = Recipe::corecast(&suite.server, &lines);
        for (by, url) in [
            (By::HttpsFlv, "https://127.0.0.1:{https_port}/live/x{n}.flv"),
            (By::Rtmps, "rtmps://127.0.0.1:{rtmps_port}/live/x{n}"),
        ] {
            recipe.play.insert(by.name().to_owned(), url.to_owned());
        }
        recipe.start(&[suite.core])
    }
}
