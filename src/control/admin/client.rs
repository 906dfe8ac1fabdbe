use serde::Serialize;
use utoipa::ToSchema;

use crate::media::Redacted;
use crate::plane::{Framing, Tag};
use crate::serve::verdict::Question;

/// Who publishes or plays.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Client {
    /// Its connection, as in the log and in hooks.
    client: String,
    /// Where it comes from, with its port.
    address: String,
    /// How it speaks.
    protocol: String,
    /// What it says that it is: `User-Agent`, or `flashVer` of RTMP.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    /// The page it says that it is on: `Referer` or `Origin`, or `pageUrl` of RTMP.
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<String>,
}

impl Client {
    /// Whoever the drivers have tagged so.
    pub(super) fn of_tag(tag: &Tag) -> Option<Self> {
        tag.downcast_ref::<Question>().map(Self::of)
    }

    /// Whoever asked this. What it brought to be let in is not told.
    pub(super) fn of(question: &Question) -> Self {
        Self {
            client: question.client.to_string(),
            address: question.peer.to_string(),
            protocol: question.protocol.to_string(),
            agent: question.agent().map(str::to_owned),
            // It may hold a token.
            page: question.page().map(|page| Redacted(page).to_string()),
        }
    }
}

/// What people call a format with what stands around its blocks.
pub(super) fn protocol(format: &'static str, framing: Framing) -> &'static str {
    match (format, framing) {
        ("flv", Framing::WebSocket) => "ws-flv",
        ("flv", _) => "http-flv",
        ("ts", Framing::WebSocket) => "ws-ts",
        ("ts", _) => "http-ts",
        ("fmp4", Framing::WebSocket) => "ws-fmp4",
        ("fmp4", _) => "http-fmp4",
        (other, _) => other,
    }
}
