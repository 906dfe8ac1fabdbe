use std::fmt;
use std::sync::Arc;

use super::page::Page;
use crate::serve::ts_udp::{Figures, Input};

/// The inputs of `[[ts_udp]]`, each by its address and stream.
pub(super) fn write(page: &mut Page<'_>, inputs: &[Arc<Input>]) -> fmt::Result {
    let labelled: Vec<_> = inputs
        .iter()
        .map(|input| {
            let (listen, stream) = (input.settings().listen.to_string(), input.key().to_string());
            let mut labels = vec![("listen", listen), ("stream", stream)];
            labels.extend(input.settings().source.map(|source| ("source", source.to_string())));
            (labels, input.figures())
        })
        .collect();
    for (name, help, of) in COUNTS {
        page.counter(name, help, labelled.iter().map(|(labels, it)| (&labels[..], of(it))))?;
    }
    Ok(())
}

type Of = fn(&Figures) -> u64;

const COUNTS: [(&str, &str, Of); 8] = [
    ("ts_udp_datagrams", "Datagrams that an input received, whatever they hold.", |it| {
        it.datagrams
    }),
    ("ts_udp_bytes", "Bytes of those.", |it| it.bytes),
    ("ts_udp_dropped", "Datagrams for which the kernel had no room (receive_buffer).", |it| {
        it.dropped
    }),
    ("ts_udp_foreign", "Datagrams of others than the one who sends.", |it| it.counts.foreign),
    ("ts_udp_invalid", "Datagrams that hold no transport stream.", |it| it.counts.invalid),
    ("ts_udp_rtp_lost", "RTP packets that did not come in time.", |it| it.counts.lost),
    ("ts_udp_rtp_late", "RTP packets that came twice or too late.", |it| it.counts.late),
    (
        "ts_udp_discontinuities",
        "Jumps of the counters of transport packets, each for packets that are missing.",
        |it| it.counts.discontinuities,
    ),
];
