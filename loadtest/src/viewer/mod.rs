//! One viewer's talk with a server, by protocol, without its socket.
//!
//! A protocol is a file here and a line in [`PROTOCOLS`]. It turns a URL into a [`Stream`], and
//! that, for each viewer, into a [`Session`]: what to say, when the server has let the viewer in,
//! and after that, for those who want to know, the frames. Who only discards lets go of the
//! session once it is in, so nothing here is made for a byte that nobody looks at; what it says now
//! and then needs no session ([`Stream::sign_of_life`]).

mod flv;
mod http;
mod http_flv;
mod rtmp;
mod ws_flv;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Instant;

use arrayvec::ArrayVec;
use corecast::bytes::Chain;
use corecast::media::Frame;

/// What is watched, by its URL. One for all viewers of the stream.
pub(crate) trait Stream: Send + Sync {
    /// Host name or address, and port.
    fn address(&self) -> (&str, u16);

    /// A viewer whose connection is made at `now`. `seed` differs from viewer to viewer.
    fn open(&self, seed: u64, now: Instant) -> Box<dyn Session>;

    /// What a viewer without a session says now and then, unasked, so that the server knows that
    /// somebody is there. `received` counts its bytes so far, and wraps. None where the protocol
    /// has no such word.
    fn sign_of_life(&self, received: u32) -> Option<SignOfLife> {
        let _ = received;
        None
    }
}

/// The longest is RTMP's.
pub(crate) type SignOfLife = ArrayVec<u8, 16>;

/// One viewer's end of a connection: bytes in, bytes and events out.
pub(crate) trait Session: Send {
    /// Takes bytes from the front of `input` until something has happened, or `input` is used up
    /// (none). What is to be written afterwards is in [`Self::poll_transmit`].
    ///
    /// # Errors
    /// The server said no, ended the stream or broke the protocol, with its words.
    fn handle_input(&mut self, now: Instant, input: &mut &[u8]) -> io::Result<Option<Event>>;

    /// Appends what is to be written; false if there is nothing. The first words are there at once.
    fn poll_transmit(&mut self, out: &mut Chain) -> bool;
}

/// As much as is told of what a server says.
const WORDS_MAX: usize = 200;

/// What a server says, fit for a terminal: cut, and with control characters escaped.
pub(crate) fn words(text: &str) -> String {
    let mut words = String::new();
    for (at, character) in text.chars().enumerate() {
        if at == WORDS_MAX {
            words.push('…');
            break;
        }
        match character.is_control() {
            true => words.extend(character.escape_default()),
            false => words.push(character),
        }
    }
    words
}

/// What is to be told of a server that answers RTMP's first words in another language.
pub(crate) fn is_http(first: &[u8]) -> io::Result<()> {
    match first.starts_with(b"HTTP/") {
        true => Err(io::Error::other(
            "this port speaks HTTP, not RTMP (whose port is 1935 if none is given)",
        )),
        false => Ok(()),
    }
}

/// What happened to a viewer.
#[derive(Debug)]
pub(crate) enum Event {
    /// The server has let it in. Before any frame.
    Joined {
        /// What the server calls itself.
        server: Option<String>,
    },
    /// A picture or a sound.
    Frame(Frame),
}

/// How a protocol is found by its URL.
struct Protocol {
    scheme: &'static str,
    example: &'static str,
    parse: fn(&str) -> Result<Box<dyn Stream>, String>,
}

const PROTOCOLS: [Protocol; 3] = [
    Protocol { scheme: "http", example: "http://HOST/APP/NAME.flv", parse: http_flv::parse },
    Protocol { scheme: "rtmp", example: "rtmp://HOST/APP/NAME", parse: rtmp::parse },
    Protocol { scheme: "ws", example: "ws://HOST/APP/NAME.flv", parse: ws_flv::parse },
];

/// A stream, and where its server is.
pub(crate) struct Target {
    /// The first address of the host.
    pub(crate) address: SocketAddr,
    /// What is watched there.
    pub(crate) stream: Box<dyn Stream>,
}

impl Target {
    /// What `url` names, its host not yet looked up.
    pub(crate) fn parse(url: &str) -> Result<Box<dyn Stream>, String> {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        let protocol = PROTOCOLS.iter().find(|protocol| scheme.as_deref() == Some(protocol.scheme));
        let protocol = protocol.ok_or_else(|| {
            let examples = PROTOCOLS.map(|protocol| protocol.example).join(" or ");
            format!("expected {examples}, found {url:?}")
        })?;
        (protocol.parse)(url)
    }

    /// The streams 0 to `streams` of the URL `template`, in which `{n}` is a stream's number.
    ///
    /// # Errors
    /// No such URL, or a host without an address.
    pub(crate) fn all(template: &str, streams: usize) -> io::Result<Vec<Self>> {
        if streams > 1 && !template.contains(NUMBER) {
            return Err(invalid(format!(
                "expected {NUMBER} in the URL to tell {streams} streams apart, found {template:?}"
            )));
        }
        let mut known: Option<(String, u16, SocketAddr)> = None;
        let targets = (0..streams).map(|number| {
            let url = template.replace(NUMBER, &number.to_string());
            let stream = Self::parse(&url).map_err(invalid)?;
            let (host, port) = stream.address();
            let address = match &known {
                Some((name, number, address)) if (name.as_str(), *number) == (host, port) => {
                    *address
                }
                _ => {
                    let address = resolve(host, port)?;
                    known = Some((host.to_owned(), port, address));
                    address
                }
            };
            Ok(Self { address, stream })
        });
        targets.collect()
    }
}

/// Stands for the number of a stream, from 0.
const NUMBER: &str = "{n}";

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let address = (host, port).to_socket_addrs().map(|mut addresses| addresses.next());
    address
        .map_err(|error| io::Error::new(error.kind(), format!("host {host:?}: {error}")))?
        .ok_or_else(|| io::Error::other(format!("the host {host:?} has no address")))
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_short_and_commands_no_terminal() {
        assert_eq!(words("no such stream: ü"), "no such stream: ü");
        assert_eq!(words("\x1b]0;x\x07\r\n\u{9b}2J"), "\\u{1b}]0;x\\u{7}\\r\\n\\u{9b}2J");
        let long = words(&"ü".repeat(1000));
        assert_eq!(long.chars().count(), WORDS_MAX + 1);
    }

    #[test]
    fn a_url_without_a_known_scheme_is_told() {
        for url in ["ftp://127.0.0.1/x", "127.0.0.1/x", "https://127.0.0.1/x.flv"] {
            let error = Target::parse(url).err().expect("no such scheme");
            assert!(error.contains("expected http://"), "{error}");
        }
    }

    #[test]
    fn a_template_makes_as_many_streams_as_wanted() {
        let targets = Target::all("http://127.0.0.1:8080/live/x{n}.flv", 3).expect("three URLs");
        assert_eq!(targets.len(), 3);
        assert!(targets.iter().all(|target| target.address.port() == 8080));
        let mut first = Chain::default();
        targets[2].stream.open(0, Instant::now()).poll_transmit(&mut first);
        assert!(first.into_bytes().starts_with(b"GET /live/x2.flv HTTP/1.1\r\n"));
        let error = Target::all("rtmp://127.0.0.1/live/x", 2).err().expect("one name for two");
        assert!(error.to_string().contains("{n}"), "{error}");
    }
}
