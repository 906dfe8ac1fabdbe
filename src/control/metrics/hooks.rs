use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::page::{Labels, Page, Steps};
use crate::control::hooks::{Hooks, Latency, Tally};

/// What has become of the requests to hook servers, by the key of the hook.
#[derive(Debug)]
pub(super) struct OfHooks(pub(super) Hooks);

impl Collector for OfHooks {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let page = &mut Page(encoder);
        let tallies: Vec<_> =
            self.0.tallies().map(|(hook, tally)| ([("hook", hook.to_owned())], tally)).collect();
        for (name, help, of) in COUNTS {
            let count = |tally| of(tally).load(Ordering::Relaxed);
            page.counter(name, help, tallies.iter().map(|(labels, it)| (&labels[..], count(it))))?;
        }
        let help = "How long answers of hook servers took, those aside that were failures.";
        let latencies = tallies.iter().map(|(labels, it)| (&labels[..], steps(&it.latency)));
        page.histogram("hook_latency_seconds", help, latencies)?;
        let help = "What was to be told to hook servers and is not heard yet.";
        page.gauge("hook_queue", help, [(&[] as &Labels, self.0.waiting())])
    }
}

fn steps(latency: &Latency) -> Steps {
    let bounds = Latency::BOUNDS_MS.iter().map(|ms| *ms as f64 / 1000.0);
    Steps::new(latency.sum_s(), bounds.chain([f64::INFINITY]).zip(latency.counts()))
}

type Of = fn(&Tally) -> &AtomicU64;

const COUNTS: [(&str, &str, Of); 4] = [
    ("hook_requests", "Requests to hook servers, again or for the first time.", |it| &it.sent),
    (
        "hook_failures",
        "Those without an answer in time, or with an error or somebody else's page.",
        |it| &it.failed,
    ),
    ("hook_retries", "Those that were sent again.", |it| &it.retried),
    ("hook_lost", "What was to be told and was never heard.", |it| &it.lost),
];
