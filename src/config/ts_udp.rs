use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::units::{duration, size};

/// `[[ts_udp]]`: an MPEG transport stream that comes in datagrams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TsUdp {
    /// Where it comes: an address of this host, `[::]` or `0.0.0.0` for all of them, or a multicast
    /// group.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// What it is published as, `app/name`.
    pub stream: String,
    /// The interface on which a multicast group is joined; empty for the one that routes lead to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub interface: String,
    /// Who may send it; without one whoever is first. A group is joined for this source alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The longest silence; zero for `limits.publisher_silence`.
    #[serde(default, with = "duration")]
    pub timeout: Duration,
    /// What the kernel holds until it is read, in bytes.
    #[serde(default = "receive_buffer", with = "size")]
    pub receive_buffer: usize,
    /// The number of the program to be routed; zero for the first.
    #[serde(default)]
    pub program: u16,
}

fn receive_buffer() -> usize {
    2 << 20
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        D::Error::custom(format_args!(
            "expected an IP address and a port such as \"0.0.0.0:5000\", found {text:?}"
        ))
    })
}
