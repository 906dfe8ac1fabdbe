use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::units::{duration, networks};

/// `[proxy]`: the proxies and balancers before this node, and how they say who their clients are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Proxy {
    /// Where they are. What others say of their clients is not believed.
    #[serde(with = "networks")]
    pub trusted: Vec<IpNet>,
    /// Whether they begin a connection of RTMP with a PROXY protocol header.
    pub rtmp: ProxyHeader,
    /// The same for HTTP.
    pub http: ProxyHeader,
    /// The longest time until that header, or the first bytes without one, have come.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// The field of a request in which they say whose it is.
    pub client_field: ClientField,
}

/// Whether trusted peers begin with a PROXY protocol header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyHeader {
    /// They do not; one is taken for the protocol itself.
    Off,
    /// Some do.
    Optional,
    /// Whoever does not is closed.
    Required,
}

/// Where trusted proxies write whom a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientField {
    /// Nowhere.
    None,
    /// X-Forwarded-For.
    XForwardedFor,
    /// Forwarded, RFC 7239.
    Forwarded,
}

impl Proxy {
    /// Whether what `address` says of its clients is believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            trusted: Vec::new(),
            rtmp: ProxyHeader::Optional,
            http: ProxyHeader::Optional,
            header_timeout: Duration::from_secs(3),
            client_field: ClientField::XForwardedFor,
        }
    }
}
