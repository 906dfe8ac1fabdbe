//! The node's figures as Prometheus and its relatives read them.
//!
//! Nothing is counted here: at each scrape [`View::latest`](super::view::View::latest) is written
//! down, with the names and units that Prometheus recommends. Whoever on the control thread counts
//! for itself (hooks) has its metrics in the same page by [`Metrics::register`].
//!
//! Metrics whose labels come from outside are bounded: apps by [`APPS_MAX`](crate::plane::APPS_MAX),
//! streams by `admin.metrics_streams_max`.

mod certificates;
mod classic;
mod hooks;
mod inputs;
mod node;
mod page;
mod process;
mod streams;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use self::page::Page;
use super::hooks::Hooks;
use super::stats::NodeSnapshot;
use super::tls::Dated;
use crate::serve::refusals::Reason;
use crate::serve::ts_udp::Input;

/// The metrics that are counted on the control thread, and the way to the page.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
}

/// What is told at one scrape.
#[derive(Debug)]
pub(crate) struct Figures {
    /// The node's.
    pub(crate) node: Arc<NodeSnapshot>,
    /// Counters of the node that cores share.
    pub(crate) shared: SharedFigures,
    /// What is received in datagrams.
    pub(crate) inputs: Vec<Arc<Input>>,
    /// At most so many streams are told of one by one.
    pub(crate) streams_max: usize,
}

/// Counters that no core has to itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedFigures {
    /// Connections accepted on RTMP listeners.
    pub(crate) accepted_rtmp: usize,
    /// The same on HTTP listeners.
    pub(crate) accepted_http: usize,
    /// Who was refused, by what.
    pub(crate) refusals: [(Reason, u64); Reason::ALL.len()],
    /// Recordings that are being written.
    pub(crate) recordings: usize,
    /// Those that a disk has ended.
    pub(crate) recordings_failed: u64,
    /// Bytes they wrote.
    pub(crate) recorded_bytes: u64,
    /// Events for hook servers and listeners that found no room.
    pub(crate) events_lost: u64,
    /// Log lines that were dropped.
    pub(crate) log_lines_dropped: usize,
}

/// How a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// OpenMetrics 1.0, which Prometheus asks for.
    OpenMetrics,
    /// The text format 0.0.4, which everyone reads.
    Classic,
}

impl Metrics {
    /// With those of `hooks`, and of the certificates that are shown.
    pub(crate) fn new(hooks: Hooks, certificates: watch::Receiver<Arc<[Dated]>>) -> Self {
        let metrics = Self { registry: Mutex::new(Registry::with_prefix(PREFIX)) };
        metrics.register(|registry| {
            registry.register_collector(Box::new(hooks::OfHooks(hooks)));
            registry.register_collector(Box::new(certificates::OfCertificates(certificates)));
        });
        metrics
    }

    /// Adds metrics to the page for good: `add` registers them, without the prefix `corecast_`.
    pub(crate) fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The whole page.
    pub(crate) fn page(&self, figures: Figures, form: Form) -> String {
        let mut text = String::with_capacity(64 << 10);
        let mut now = Registry::with_prefix(PREFIX);
        now.register_collector(Box::new(figures));
        let mut process = Registry::default();
        process.register_collector(Box::new(process::Process));
        let written = encode_registry(&mut text, &now)
            .and_then(|()| {
                let registered = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
                encode_registry(&mut text, &registered)
            })
            .and_then(|()| encode_registry(&mut text, &process))
            .and_then(|()| encode_eof(&mut text));
        written.expect("a text takes all that is written");
        match form {
            Form::OpenMetrics => text,
            Form::Classic => classic::of(&text),
        }
    }
}

impl Form {
    /// What a client with this `Accept` gets.
    pub(crate) fn for_client(accept: &str) -> Self {
        match accept.contains("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Classic,
        }
    }

    /// Its `Content-Type`.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let page = &mut Page(encoder);
        node::write(page, &self.node, &self.shared)?;
        inputs::write(page, &self.inputs)?;
        streams::write(page, &self.node, self.streams_max)
    }
}

const PREFIX: &str = "corecast";
