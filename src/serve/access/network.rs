use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// What is counted as one address: one of IPv4, or all of a network of 64 bits of IPv6. There a
/// single host has the whole network, and would have a new address for each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// The one that `address` belongs to.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & HOSTS).into(),
            four => four,
        })
    }

    /// What a client is told that it is.
    pub(crate) fn kind(self) -> Kind {
        if self.0.is_ipv6() { Kind::Network } else { Kind::Address }
    }
}

/// One address, or one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Address,
    Network,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "one address",
            Self::Network => "one network (/64)",
        })
    }
}

/// All but the part of an address that says which host of the network it is.
const HOSTS: u128 = !(u64::MAX as u128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_one_network_are_one_and_addresses_of_ipv4_are_not() {
        let of = |text: &str| Network::of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        // As a listener of both kinds sees it.
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("::ffff:192.0.2.1"), of("::ffff:192.0.2.2"));
        let kinds = ["192.0.2.1", "2001:db8::1"].map(|text| of(text).kind().to_string());
        assert_eq!(kinds, ["one address", "one network (/64)"]);
    }
}
