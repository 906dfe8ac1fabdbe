use serde::Serialize;

use super::trans::Format;
use super::{Framing, Hub};

/// What viewers of one kind are sent: how it is muxed, and by which protocol it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Rtmp,
    HttpFlv,
    WsFlv,
    HttpTs,
    WsTs,
    HttpFmp4,
    WsFmp4,
    Hls,
}

/// Viewers of one kind at one moment, and what they were sent since the start of the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct OutputTotals {
    /// By which protocol it goes.
    pub protocol: &'static str,
    /// How it is muxed.
    pub format: &'static str,
    /// Viewers, those not counted who wait for a publisher.
    pub viewers: u64,
    /// Viewers that were let in, those included who then waited in vain.
    pub plays: u64,
    /// Bytes their sockets took.
    pub egress_bytes: u64,
}

/// One for each [`Output`]. The egress of a core is their sum, so that a write counts its bytes
/// here instead of there and pays nothing for it.
#[derive(Debug)]
pub(super) struct Outputs([OutputTotals; Output::ALL.len()]);

impl Output {
    const ALL: [Self; 8] = [
        Self::Rtmp,
        Self::HttpFlv,
        Self::WsFlv,
        Self::HttpTs,
        Self::WsTs,
        Self::HttpFmp4,
        Self::WsFmp4,
        Self::Hls,
    ];

    pub(super) fn of(format: Format, framing: Framing) -> Self {
        match (format, framing) {
            (Format::Rtmp { .. }, _) => Self::Rtmp,
            (Format::Flv { .. }, Framing::WebSocket) => Self::WsFlv,
            (Format::Flv { .. }, Framing::Raw | Framing::Chunked) => Self::HttpFlv,
            (Format::Ts, Framing::WebSocket) => Self::WsTs,
            (Format::Ts, Framing::Raw | Framing::Chunked) => Self::HttpTs,
            (Format::Fmp4, Framing::WebSocket) => Self::WsFmp4,
            (Format::Fmp4, Framing::Raw | Framing::Chunked) => Self::HttpFmp4,
            (Format::Hls(_), _) => Self::Hls,
        }
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Rtmp => ("rtmp", "rtmp"),
            Self::HttpFlv => ("http", "flv"),
            Self::WsFlv => ("ws", "flv"),
            Self::HttpTs => ("http", "ts"),
            Self::WsTs => ("ws", "ts"),
            Self::HttpFmp4 => ("http", "fmp4"),
            Self::WsFmp4 => ("ws", "fmp4"),
            Self::Hls => ("http", "hls"),
        }
    }
}

impl Default for Outputs {
    fn default() -> Self {
        Self(Output::ALL.map(|output| {
            let (protocol, format) = output.names();
            OutputTotals { protocol, format, viewers: 0, plays: 0, egress_bytes: 0 }
        }))
    }
}

impl Outputs {
    pub(super) fn of(&mut self, output: Output) -> &mut OutputTotals {
        &mut self.0[output as usize]
    }

    pub(super) fn egress_bytes(&self) -> u64 {
        self.0.iter().map(|output| output.egress_bytes).sum()
    }
}

impl Hub {
    pub(super) fn output_totals(&self) -> Vec<OutputTotals> {
        self.outputs.0.to_vec()
    }
}
