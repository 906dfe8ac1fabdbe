use std::net::{IpAddr, SocketAddr};

/// In which field proxies say for whom they ask. One is believed, and not whichever comes: a proxy
/// that writes one of them hands the other on as its client made it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedField {
    /// `X-Forwarded-For: 192.0.2.7, 10.0.0.1`
    XForwardedFor,
    /// `Forwarded: for=192.0.2.7;proto=https, for=10.0.0.1`, RFC 7239.
    Forwarded,
}

impl ForwardedField {
    /// Its name, in small letters.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    /// Whom a request is for that comes from a trusted proxy with this `list`, all fields of the
    /// name joined by commas.
    ///
    /// Each proxy adds to the end what it sees, so the list is read from there, as far as whoever
    /// wrote an entry is trusted: to the first address that is not, or the last one that can be
    /// read. Port 0 if none is said. `None`: it says nothing.
    ///
    /// (The crates for RFC 7239 split at commas inside of quotes, and read from the front, where
    /// the client writes.)
    pub fn client(self, list: &str, trusts: impl Fn(IpAddr) -> bool) -> Option<SocketAddr> {
        let (mut nearest, mut rest) = (None, Some(list));
        while let Some(text) = rest {
            let (before, entry) = split_last(text, b',');
            rest = before;
            if entry.trim().is_empty() {
                continue;
            }
            let node = match self {
                Self::XForwardedFor => Some(entry),
                Self::Forwarded => for_parameter(entry),
            };
            // "unknown", a hidden name, or nonsense: nothing is known beyond.
            let Some(address) = node.and_then(address) else { break };
            nearest = Some(address);
            if !trusts(address.ip()) {
                break;
            }
        }
        nearest
    }
}

/// What stands behind the last `separator` outside of quotes, and what before it. Read from the
/// end, nobody's quotes but the last writer's matter.
fn split_last(text: &str, separator: u8) -> (Option<&str>, &str) {
    let bytes = text.as_bytes();
    let is_escaped = |at: usize| {
        let slashes = bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        slashes % 2 == 1
    };
    let mut quoted = false;
    for at in (0..bytes.len()).rev() {
        if bytes[at] == b'"' && !is_escaped(at) {
            quoted = !quoted;
        } else if bytes[at] == separator && !quoted {
            return (Some(&text[..at]), &text[at + 1..]);
        }
    }
    (None, text)
}

/// The value of `for` in one entry of `Forwarded`.
fn for_parameter(entry: &str) -> Option<&str> {
    let mut rest = Some(entry);
    while let Some(text) = rest {
        let (before, parameter) = split_last(text, b';');
        rest = before;
        match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("for") => return Some(value),
            _ => {}
        }
    }
    None
}

/// An address with or without a port, in brackets and quotes or not.
fn address(node: &str) -> Option<SocketAddr> {
    let node = node.trim();
    let node = node.strip_prefix('"').and_then(|node| node.strip_suffix('"')).unwrap_or(node);
    let bare = node.strip_prefix('[').and_then(|node| node.strip_suffix(']')).unwrap_or(node);
    let found = match bare.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, 0),
        Err(_) => node.parse().ok()?,
    };
    Some(SocketAddr::new(found.ip().to_canonical(), found.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proxies of 10.0.0.0/8 and of fd00::/8 are trusted.
    #[track_caller]
    fn check(field: ForwardedField, list: &str, expected: Option<&str>) {
        let trusts = |ip| match ip {
            IpAddr::V4(ip) => ip.octets()[0] == 10,
            IpAddr::V6(ip) => ip.octets()[0] == 0xfd,
        };
        let expected = expected.map(|address| address.parse().expect("an address"));
        assert_eq!(field.client(list, trusts), expected, "{list}");
    }

    #[test]
    fn the_last_address_that_no_trusted_proxy_has_is_the_clients() {
        for (list, client) in [
            ("192.0.2.7", Some("192.0.2.7:0")),
            ("192.0.2.7:51234", Some("192.0.2.7:51234")),
            ("2001:db8::7", Some("[2001:db8::7]:0")),
            ("[2001:db8::7]", Some("[2001:db8::7]:0")),
            ("[2001:db8::7]:443", Some("[2001:db8::7]:443")),
            ("::ffff:192.0.2.7", Some("192.0.2.7:0")),
            // What the client made up stands before what the proxies saw.
            ("198.51.100.1, 192.0.2.7, 10.0.0.1,fd00::1", Some("192.0.2.7:0")),
            ("10.0.0.9, 192.0.2.7", Some("192.0.2.7:0")),
            // A client inside.
            ("10.0.0.9, 10.0.0.1", Some("10.0.0.9:0")),
            // What cannot be read hides what is before it.
            ("192.0.2.7, unknown, 10.0.0.1", Some("10.0.0.1:0")),
            ("192.0.2.7, \"", None),
            ("192.0.2.7,, ,", Some("192.0.2.7:0")),
            ("unknown", None),
            ("", None),
        ] {
            check(ForwardedField::XForwardedFor, list, client);
        }
    }

    #[test]
    fn forwarded_is_read_as_the_rfc_writes_it() {
        for (list, client) in [
            ("for=192.0.2.7", Some("192.0.2.7:0")),
            ("For=\"[2001:db8::7]:4711\"", Some("[2001:db8::7]:4711")),
            ("proto=https; FOR=\"192.0.2.7:80\" ;by=10.0.0.1", Some("192.0.2.7:80")),
            ("for=198.51.100.1, for=192.0.2.7;host=\"a,b\", for=10.0.0.1", Some("192.0.2.7:0")),
            ("for=192.0.2.7, for=_hidden", None),
            ("for=192.0.2.7, for=unknown, for=10.0.0.1", Some("10.0.0.1:0")),
            ("for=192.0.2.7, by=10.0.0.1", None),
            // A quote that the client left open swallows nothing,
            ("for=\"198.51.100.1, for=192.0.2.7", Some("192.0.2.7:0")),
            // and what it wrote into another parameter is no entry.
            ("for=192.0.2.7;host=\"x, for=198.51.100.1\"", Some("192.0.2.7:0")),
            ("for=192.0.2.7;host=\"x\\\", for=198.51.100.1\"", Some("192.0.2.7:0")),
        ] {
            check(ForwardedField::Forwarded, list, client);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_list_can_upset_it(list: String) {
            for field in [ForwardedField::XForwardedFor, ForwardedField::Forwarded] {
                let _ = field.client(&list, |_| true);
            }
        }
    }
}
