//! PROXY protocol, versions 1 and 2 (haproxy.org, "The PROXY protocol", 2020/03/05): the few bytes
//! in which a balancer says whose connection this is, before those of the client.
//!
//! Only trusted peers are listened to; from all others these bytes are bytes like any. Which of the
//! two versions comes, or that none does, is seen from the first bytes: neither version begins as
//! RTMP or a request of HTTP does.

use std::net::SocketAddr;

use proxy_header::{ParseConfig, Protocol, ProxiedAddress};

use crate::media::Redacted;

/// A header on its way: bytes in; an address out, and the first bytes of the client.
#[derive(Debug)]
pub struct ProxyHeader {
    came: Vec<u8>,
    required: bool,
}

/// The header has come, or there is none.
#[derive(Debug, PartialEq, Eq)]
pub struct Opening {
    /// Who the client is. `None`: the balancer speaks for itself (LOCAL, UNKNOWN, a client without
    /// an address), or said nothing.
    pub client: Option<SocketAddr>,
    /// What followed.
    pub rest: Vec<u8>,
}

/// A connection that cannot begin so.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something else came.
    #[error(
        "proxy: expected a PROXY protocol header, as from every trusted proxy (proxy.trusted, and \
         \"required\"), found {found}"
    )]
    Missing {
        /// Its first bytes.
        found: String,
    },
    /// It begins as one, and is none.
    #[error("proxy: expected a PROXY protocol header of version {version}, found {found}")]
    Malformed {
        /// 1 or 2.
        version: u8,
        /// Its first bytes.
        found: String,
    },
    /// It goes on and on.
    #[error("proxy: expected a PROXY protocol header of at most {limit} bytes, found {found}")]
    TooLong {
        /// The limit.
        limit: usize,
        /// As many as were announced, or came.
        found: usize,
    },
}

const SIGNATURE_V1: &[u8] = b"PROXY ";
/// With its line end (section 2.1).
const BYTES_MAX_V1: usize = 107;
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What comes before the addresses (section 2.2).
const FIXED_BYTES_V2: usize = 16;
/// The addresses take 36 bytes, and what balancers add (names, certificates) some hundreds.
const BYTES_MAX_V2: usize = 4096;

impl ProxyHeader {
    /// Without a header the connection is the peer's own, unless one is `required`.
    pub fn new(required: bool) -> Self {
        Self { came: Vec::new(), required }
    }

    /// Takes all of `input`. `None`: more must come.
    pub fn handle_input(&mut self, input: &[u8]) -> Result<Option<Opening>, Error> {
        self.came.extend_from_slice(input);
        let came = &self.came;
        let header = if begins(came, SIGNATURE_V2) {
            length_v2(came)?.map(|length| parse(came, length, 2))
        } else if begins(came, SIGNATURE_V1) {
            length_v1(came)?.map(|length| parse(came, length, 1))
        } else if self.required {
            return Err(Error::Missing { found: quote(came) });
        } else {
            Some(Ok((None, 0)))
        };
        let Some((client, length)) = header.transpose()? else { return Ok(None) };
        let rest = self.came.split_off(length);
        Ok(Some(Opening { client, rest }))
    }

    /// How many bytes have come, none of which is the client's.
    pub fn had(&self) -> usize {
        self.came.len()
    }
}

/// Whether `bytes`, of which more may come, could be `signature` and what follows it.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

/// How long the line is, once it is whole.
fn length_v1(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let line = &bytes[..bytes.len().min(BYTES_MAX_V1)];
    match line.iter().position(|byte| *byte == b'\n') {
        Some(end) => Ok(Some(end + 1)),
        None if line.len() < BYTES_MAX_V1 => Ok(None),
        None => Err(Error::TooLong { limit: BYTES_MAX_V1, found: bytes.len() }),
    }
}

/// How long the header says it is, once it is whole.
fn length_v2(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let Some(fixed) = bytes.first_chunk::<FIXED_BYTES_V2>() else { return Ok(None) };
    let length = FIXED_BYTES_V2 + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > BYTES_MAX_V2 {
        return Err(Error::TooLong { limit: BYTES_MAX_V2, found: length });
    }
    Ok((bytes.len() >= length).then_some(length))
}

/// The client and the length of the header that the first `length` of `bytes` are.
fn parse(bytes: &[u8], length: usize, version: u8) -> Result<(Option<SocketAddr>, usize), Error> {
    let malformed = || Error::Malformed { version, found: quote(&bytes[..length]) };
    let config =
        ParseConfig { include_tlvs: false, allow_v1: version == 1, allow_v2: version == 2 };
    match proxy_header::ProxyHeader::parse(&bytes[..length], config) {
        Ok((header, used)) if used == length => {
            Ok((header.proxied_address().and_then(client), length))
        }
        // It is whole, so "more must come" is wrong as well.
        _ => Err(malformed()),
    }
}

fn client(address: &ProxiedAddress) -> Option<SocketAddr> {
    let ProxiedAddress { protocol, source, .. } = address;
    let source = SocketAddr::new(source.ip().to_canonical(), source.port());
    (*protocol == Protocol::Stream).then_some(source)
}

/// Enough to tell what it is: of a request its first line, without the values of a query, which may
/// be keys and tokens.
fn quote(bytes: &[u8]) -> String {
    let line = bytes.trim_ascii_start().split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.trim_ascii_end();
    let text = line[..line.len().min(QUOTED_BYTES)].escape_ascii().to_string();
    match text.contains('?') {
        true => format!("\"{}\"", Redacted(&text)),
        false => format!("\"{text}\""),
    }
}

const QUOTED_BYTES: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 51234 1935\r\n";
    const V1_V6: &[u8] = b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 1935\r\n";

    /// Version 2, for a client at `address`, with `extra` bytes of further fields.
    fn v2(address: &str, extra: usize) -> Vec<u8> {
        let client: SocketAddr = address.parse().expect("an address");
        let own = SocketAddr::new(client.ip(), 1935);
        let header = proxy_header::ProxyHeader::with_address(ProxiedAddress::stream(client, own));
        let mut bytes = vec![0; 64];
        let length = header.encode_to_slice_v2(&mut bytes).expect("room");
        bytes.truncate(length + extra);
        bytes.resize(length + extra, 0);
        let announced = u16::try_from(length + extra - FIXED_BYTES_V2).expect("small");
        bytes[14..16].copy_from_slice(&announced.to_be_bytes());
        bytes
    }

    fn whole(bytes: &[u8]) -> Result<Option<Opening>, Error> {
        ProxyHeader::new(true).handle_input(bytes)
    }

    fn opening(client: Option<&str>, rest: &[u8]) -> Opening {
        let client = client.map(|client| client.parse().expect("an address"));
        Opening { client, rest: rest.to_vec() }
    }

    #[test]
    fn each_version_and_family_tells_the_client() {
        let mapped = b"PROXY TCP6 ::ffff:192.0.2.7 ::1 51234 1935\r\n";
        let cases: [(&[u8], Option<&str>); 8] = [
            (V1, Some("192.0.2.7:51234")),
            (V1_V6, Some("[2001:db8::7]:51234")),
            (mapped, Some("192.0.2.7:51234")),
            (&v2("192.0.2.7:51234", 0), Some("192.0.2.7:51234")),
            (&v2("[2001:db8::7]:51234", 300), Some("[2001:db8::7]:51234")),
            (b"PROXY UNKNOWN\r\n", None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", None),
        ];
        for (header, client) in cases {
            let bytes = [header, b"\x03rest"].concat();
            assert_eq!(whole(&bytes), Ok(Some(opening(client, b"\x03rest"))));
        }
    }

    #[test]
    fn a_header_may_come_byte_by_byte() {
        for header in [V1.to_vec(), V1_V6.to_vec(), v2("192.0.2.7:1", 0), v2("[::1]:1", 50)] {
            for cut in 1..header.len() {
                let mut machine = ProxyHeader::new(true);
                assert_eq!(machine.handle_input(&header[..cut]), Ok(None), "{cut}");
                assert!(matches!(machine.handle_input(&header[cut..]), Ok(Some(_))), "{cut}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_the_clients_unless_one_is_required() {
        let requests: [&[u8]; 5] = [b"GET / ", b"PROPFIND", b"\x03", b"\r\n\r\nGET", b"PROXX"];
        for bytes in requests {
            let came = ProxyHeader::new(false).handle_input(bytes);
            assert_eq!(came, Ok(Some(opening(None, bytes))));
            assert!(matches!(whole(bytes), Err(Error::Missing { .. })));
        }
        // Nothing is known yet.
        for bytes in [b"P".as_slice(), b"PROXY", b"\r\n\r\n"] {
            assert_eq!(ProxyHeader::new(false).handle_input(bytes), Ok(None));
        }
    }

    #[test]
    fn headers_that_can_never_become_right_are_refused() {
        let short = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\x01\x02\x03\x04";
        let version = b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0";
        let family = b"\r\n\r\n\0\r\nQUIT\n\x21\x99\0\0";
        let cases: [&[u8]; 8] = [
            short,
            version,
            family,
            b"PROXY TCP4 999.0.2.7 10.0.0.1 51234 1935\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 51234 99999\r\n",
            b"PROXY TCP4 2001:db8::7 10.0.0.1 51234 1935\r\n",
            b"PROXY TCP4 192.0.2.7\r\n",
            b"PROXY UDP4 192.0.2.7 10.0.0.1 51234 1935\n",
        ];
        for bytes in cases {
            let found = ProxyHeader::new(false).handle_input(bytes);
            assert!(matches!(found, Err(Error::Malformed { .. })), "{found:?}");
        }
    }

    #[test]
    fn what_came_instead_is_told_without_the_values_of_its_query_and_without_its_fields() {
        for (bytes, found) in [
            (b"GET /a.flv?key=SECRET&x HTTP/1.1\r\n".as_slice(), "GET /a.flv?key=***&***"),
            (b"GET /a?key=SECRET\r\n", "GET /a?key=***"),
            (b"GET / HTTP/1.1\r\nCookie: SECRET\r\n", "GET / HTTP/1.1"),
            (b"\r\nGET / HTTP/1.1\nCookie: SECRET\r\n", "GET / HTTP/1.1"),
            (b"PROXY /a?key=SECRET HTTP/1.1\r\n", "PROXY /a?key=***"),
            (b"\x03\0\0\0\x01", "\\x03\\x00\\x00\\x00\\x01"),
        ] {
            let told = whole(bytes).expect_err("no header").to_string();
            assert!(told.ends_with(&format!("found \"{found}\"")), "{told}");
        }
    }

    #[test]
    fn a_header_has_a_bound() {
        let line = [b"PROXY TCP4 ".as_slice(), &[b'1'; 96]].concat();
        let found = whole(&line);
        assert_eq!(found, Err(Error::TooLong { limit: BYTES_MAX_V1, found: line.len() }));
        assert_eq!(whole(&line[..106]), Ok(None));
        let largest = BYTES_MAX_V2 - v2("192.0.2.7:1", 0).len();
        assert!(matches!(whole(&v2("192.0.2.7:1", largest)), Ok(Some(_))));
        let found = whole(&v2("192.0.2.7:1", largest + 1)[..FIXED_BYTES_V2]);
        assert_eq!(found, Err(Error::TooLong { limit: BYTES_MAX_V2, found: BYTES_MAX_V2 + 1 }));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_can_upset_it(head in 0..3, bytes: Vec<u8>) {
            let head = [&[], SIGNATURE_V1, SIGNATURE_V2][head as usize];
            let mut machine = ProxyHeader::new(false);
            let _ = machine.handle_input(&[head, &bytes].concat());
        }
    }
}
