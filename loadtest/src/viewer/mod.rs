//! One viewer's talk with a server, by protocol, without its socket.
//!
//! A protocol is a file here and a line in [`PROTOCOLS`]. It turns a URL into a [`Stream`], and
//! that, for each viewer, into a [`Session`]: what to say, when the server has let the viewer in,
//! and after that, for those who want to know, the frames. Who only discards lets go of the
//! session once it is in, so nothing here is made for a byte that nobody looks at; what it says now
//! and then needs no session ([`Stream::sign_of_life`]).

mod body;
mod coding;
mod flv;
pub(crate) mod hls;
mod http;
mod http_flv;
mod mp4;
mod rtmp;
mod tls;
mod ts;
mod ts_sound;
mod ws_flv;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use corecast::bytes::Chain;
use corecast::media::Frame;
use rustls::ClientConfig;

pub use hls::Manner;
pub use tls::Trust;
pub(crate) use tls::Voice;

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

    /// The viewer is in and looks at nothing: what it needs to say a word all the same. None where
    /// words go as they are, or where there are none.
    fn into_voice(self: Box<Self>) -> Option<Box<Voice>> {
        None
    }
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
    /// All frames of a fragment have come: those before this event, since the one before it.
    Fragment(Fragment),
}

/// A fragment of MP4, whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// Fragments that were numbered between the one before and this one, and did not come.
    pub(crate) missing: u32,
    /// How long it plays: its longest track.
    pub(crate) lasts: Duration,
}

/// How a protocol is found by its URL.
struct Protocol {
    scheme: &'static str,
    example: &'static str,
    parse: fn(&str) -> Result<Box<dyn Stream>, String>,
}

/// Each over TLS too: then its scheme ends with [`SECURE`].
const PROTOCOLS: [Protocol; 3] = [
    Protocol {
        scheme: "http",
        example: "http://HOST/APP/NAME.flv (or .ts, .mp4, .m3u8)",
        parse: http_flv::parse,
    },
    Protocol { scheme: "rtmp", example: "rtmp://HOST/APP/NAME", parse: rtmp::parse },
    Protocol {
        scheme: "ws",
        example: "ws://HOST/APP/NAME.flv (or .ts, .mp4)",
        parse: ws_flv::parse,
    },
];
const SECURE: char = 's';
/// The port over TLS, if none is given.
const SECURE_PORT: u16 = 443;

/// A stream, and where its server is.
pub(crate) struct Target {
    /// The first address of the host.
    pub(crate) address: SocketAddr,
    /// What is watched there.
    pub(crate) watched: Watched,
}

/// What viewers ask a server for.
pub(crate) enum Watched {
    /// An answer without end.
    Endless(Box<dyn Stream>),
    /// Files, one after the other.
    Hls(Arc<hls::Source>),
}

impl Watched {
    /// Host name or address, and port.
    fn address(&self) -> (&str, u16) {
        match self {
            Self::Endless(stream) => stream.address(),
            Self::Hls(source) => source.address(),
        }
    }
}

impl Target {
    /// What `url` names, its host not yet looked up; behind TLS if there is something to go by.
    fn parse(url: &str, tls: Option<&Arc<ClientConfig>>) -> Result<Box<dyn Stream>, String> {
        let protocol = protocol(url).map(|(protocol, _)| protocol).ok_or_else(|| {
            let examples = PROTOCOLS.map(|protocol| protocol.example).join(" or ");
            format!(
                "expected {examples}, or one of these over TLS (https, rtmps, wss), found {url:?}"
            )
        })?;
        let stream = (protocol.parse)(url)?;
        Ok(match tls {
            None => stream,
            Some(config) => Box::new(tls::Secure::new(stream, Arc::clone(config))?),
        })
    }

    /// The streams 0 to `streams` of the URL `template`, in which `{n}` is a stream's number. Those of
    /// HLS are watched in a `manner`.
    ///
    /// # Errors
    /// No such URL, or a host without an address; nobody whose word `trust` takes; a manner that the
    /// URL has not.
    pub(crate) fn all(
        template: &str,
        streams: usize,
        trust: &Trust,
        manner: Manner,
    ) -> io::Result<Vec<Self>> {
        let is_secure = protocol(template).is_some_and(|(_, secure)| secure);
        let tls = is_secure.then(|| trust.client()).transpose()?;
        if streams > 1 && !template.contains(NUMBER) {
            return Err(invalid(format!(
                "expected {NUMBER} in the URL to tell {streams} streams apart, found {template:?}"
            )));
        }
        let mut known: Option<(String, u16, SocketAddr)> = None;
        let targets = (0..streams).map(|number| {
            let url = template.replace(NUMBER, &number.to_string());
            let watched = match hls::is_playlist(&url) {
                true => hls::Source::parse(&url, manner, number as u32).map(Watched::Hls),
                false if manner == Manner::Segments => {
                    Self::parse(&url, tls.as_ref()).map(Watched::Endless)
                }
                false => {
                    Err(format!("expected a URL of HLS (http://HOST/NAME.m3u8), found {url:?}"))
                }
            };
            let watched = watched.map_err(invalid)?;
            let (host, port) = watched.address();
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
            Ok(Self { address, watched })
        });
        targets.collect()
    }
}

/// How `url` is watched, and whether over TLS.
fn protocol(url: &str) -> Option<(&'static Protocol, bool)> {
    let scheme = url.split_once("://")?.0.to_ascii_lowercase();
    let (plain, secure) = match scheme.strip_suffix(SECURE) {
        // `ws` itself ends so.
        Some(plain) if scheme != "ws" => (plain, true),
        _ => (scheme.as_str(), false),
    };
    let protocol = PROTOCOLS.iter().find(|protocol| protocol.scheme == plain)?;
    Some((protocol, secure))
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

    fn all(url: &str, streams: usize) -> io::Result<Vec<Target>> {
        Target::all(url, streams, &Trust::default(), Manner::Segments)
    }

    fn endless(target: &Target) -> &dyn Stream {
        match &target.watched {
            Watched::Endless(stream) => &**stream,
            Watched::Hls(_) => panic!("it is no playlist"),
        }
    }

    #[test]
    fn a_playlist_is_watched_as_one_and_nothing_else_is() {
        let targets = all("http://127.0.0.1/live/x.m3u8?token=1", 1).expect("a URL");
        assert!(matches!(targets[0].watched, Watched::Hls(_)));
        for (url, words) in
            [("https://127.0.0.1/x.m3u8", "without TLS"), ("ws://127.0.0.1/x.m3u8", "http://")]
        {
            let trust = Trust { insecure: true, ..Trust::default() };
            let error = Target::all(url, 1, &trust, Manner::Segments).err().expect(url);
            assert!(error.to_string().contains(words), "{error}");
        }
        let of_flv = |manner| Target::all("http://127.0.0.1/x.flv", 1, &Trust::default(), manner);
        for manner in [Manner::LowLatency, Manner::ClosedLoop] {
            let error = of_flv(manner).err().expect("no playlist").to_string();
            assert!(error.contains("expected a URL of HLS"), "{error}");
        }
    }

    #[test]
    fn what_a_server_says_is_short_and_commands_no_terminal() {
        assert_eq!(words("no such stream: ü"), "no such stream: ü");
        assert_eq!(words("\x1b]0;x\x07\r\n\u{9b}2J"), "\\u{1b}]0;x\\u{7}\\r\\n\\u{9b}2J");
        let long = words(&"ü".repeat(1000));
        assert_eq!(long.chars().count(), WORDS_MAX + 1);
    }

    #[test]
    fn a_url_without_a_known_scheme_is_told() {
        for url in ["ftp://127.0.0.1/x", "127.0.0.1/x", "httpss://127.0.0.1/x.flv", "s://x/y"] {
            let error = Target::parse(url, None).err().expect("no such scheme");
            assert!(error.contains("expected http://"), "{error}");
        }
    }

    #[test]
    fn over_tls_the_port_is_443_and_the_first_words_are_tls() {
        let trust = Trust { insecure: true, ..Trust::default() };
        let urls =
            ["https://127.0.0.1/live/x.flv", "rtmps://127.0.0.1/live/x?k=a:b/c", "WSS://[::1]"];
        for url in urls {
            let all =
                |url: &str| Target::all(url, 1, &trust, Manner::Segments).expect("a URL").remove(0);
            let target = all(url);
            assert_eq!(target.address.port(), 443, "{url}");
            let mut first = Chain::default();
            assert!(endless(&target).open(0, Instant::now()).poll_transmit(&mut first), "{url}");
            assert!(first.into_bytes().starts_with(&[22, 3, 1]), "{url}");
            let with_port = url.replace("127.0.0.1", "127.0.0.1:1").replace("[::1]", "[::1]:1");
            assert_eq!(all(&with_port).address.port(), 1, "{with_port}");
        }
    }

    #[test]
    fn a_file_without_authorities_is_named() {
        let trust = |ca: &str| Trust { ca: Some(ca.into()), insecure: false };
        for file in ["/nowhere/ca.pem", "Cargo.toml"] {
            let error =
                Target::all("https://127.0.0.1/x.flv", 1, &trust(file), Manner::Segments).err();
            let error = error.expect("nobody to believe").to_string();
            assert!(error.contains(file), "{error}");
        }
    }

    #[test]
    fn a_template_makes_as_many_streams_as_wanted() {
        let targets = all("http://127.0.0.1:8080/live/x{n}.flv", 3);
        let targets = targets.expect("three URLs");
        assert_eq!(targets.len(), 3);
        assert!(targets.iter().all(|target| target.address.port() == 8080));
        let mut first = Chain::default();
        endless(&targets[2]).open(0, Instant::now()).poll_transmit(&mut first);
        assert!(first.into_bytes().starts_with(b"GET /live/x2.flv HTTP/1.1\r\n"));
        let error = all("rtmp://127.0.0.1/live/x", 2).err().expect("one name for two");
        assert!(error.to_string().contains("{n}"), "{error}");
    }
}
