//! The machine, driven the way a driver drives it.

use proptest::prelude::*;

use super::super::ws::tests::masked;
use super::*;

const GET: &str = "GET /live/a.flv HTTP/1.1\r\nHost: h\r\n\r\n";
const UPGRADE: &str = "GET /live/a.flv HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A machine, its clock, and all that it said.
struct Peer {
    server: Server,
    now: Instant,
    said: Vec<u8>,
    events: Vec<Event>,
}

impl Peer {
    fn new() -> Self {
        let now = Instant::now();
        let server = Server::new(Config::default(), now);
        Self { server, now, said: Vec::new(), events: Vec::new() }
    }

    fn streaming(request: &str, framing: Framing) -> Self {
        let mut peer = Self::new();
        assert_eq!(peer.send(request), Ok(request.len()));
        let ask = peer.ask();
        let greeting = peer.server.greeting(ask, "video/x-flv", framing).expect("open");
        peer.server.accept_stream(ask, greeting.framing.expect("a GET"));
        peer.said.extend(greeting.bytes);
        peer
    }

    fn send(&mut self, input: impl AsRef<[u8]>) -> Result<usize, Error> {
        let result = self.server.handle_input(self.now, input.as_ref());
        self.drain();
        result
    }

    fn drain(&mut self) {
        self.events.extend(std::iter::from_fn(|| self.server.poll_event()));
        let mut out = Chain::default();
        while self.server.poll_transmit(&mut out) {}
        self.said.extend(out.into_bytes());
    }

    fn pass(&mut self, time: Duration) -> Result<(), Error> {
        self.now += time;
        let result = self.server.handle_timeout(self.now);
        self.drain();
        result
    }

    fn request(&self) -> &Request {
        match self.events.last() {
            Some(Event::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn ask(&self) -> AskId {
        self.request().ask
    }

    /// Answers with the bytes of the body that are sent.
    fn respond(&mut self, response: &Response) -> u64 {
        let bytes = self.server.respond(self.now, self.ask(), response);
        self.drain();
        bytes
    }

    /// What was said since the last call.
    fn said(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.said)).expect("text")
    }
}

fn ok() -> Response {
    Response::new(200, "text/plain", "hello")
}

#[test]
fn response_has_a_length_and_the_next_request_follows() {
    let mut peer = Peer::new();
    let both = format!("{GET}GET /other HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let taken = peer.send(&both).expect("valid");
    assert_eq!(taken, GET.len(), "the second waits for the first answer");
    assert_eq!(peer.send(&both[taken..]), Ok(0));
    peer.respond(&ok());
    let said = peer.said();
    assert!(said.contains("Content-Length: 5\r\nConnection: keep-alive\r\n"), "{said}");
    assert!(said.ends_with("\r\n\r\nhello"), "{said}");

    assert_eq!(peer.send(&both[taken..]), Ok(both.len() - taken));
    assert_eq!((peer.request().path.as_str(), peer.ask()), ("/other", AskId(2)));
    peer.respond(&ok());
    assert!(peer.said().contains("Connection: close\r\n"));
    assert!(peer.server.is_finished());
}

#[test]
fn who_has_it_already_gets_no_body_and_the_next_request_follows() {
    let response = || Response::new(200, "text/css", "a").with_etag("\"v2\"");
    let with = |fields: &str| GET.replace("\r\n\r\n", &format!("\r\n{fields}\r\n\r\n"));
    let mut peer = Peer::new();
    for known in
        ["If-None-Match: \"v1\", W/\"v2\"", "if-none-match: \"v1\"\r\nIf-None-Match: \"v2\""]
    {
        peer.send(with(known)).expect("valid");
        assert_eq!(peer.respond(&response()), 0);
        let said = peer.said();
        assert!(said.starts_with("HTTP/1.1 304 ") && said.ends_with("\r\n\r\n"), "{said}");
        assert!(said.contains("ETag: \"v2\"\r\n") && !said.contains("Content-"), "{said}");
    }
    peer.send(with("If-None-Match: \"v1\"")).expect("valid");
    assert_eq!(peer.respond(&response()), 1);
    let said = peer.said();
    assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("\r\n\r\na"), "{said}");
}

#[test]
fn what_is_known_goes_before_a_part_that_is_not_there() {
    let beyond = Response::json_error(416, "range not satisfiable", "")
        .with_header("Content-Range", "bytes */9")
        .with_etag("\"v1\"");
    for (known, status) in [("\"v1\"", "304"), ("\"v2\"", "416")] {
        let mut peer = Peer::new();
        let fields = format!("\r\nIf-None-Match: {known}\r\nRange: bytes=9-\r\n\r\n");
        peer.send(GET.replace("\r\n\r\n", &fields)).expect("valid");
        peer.respond(&beyond);
        let said = peer.said();
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{said}");
        assert_eq!(said.contains("Content-Range: bytes */9\r\n"), status == "416", "{said}");
    }
}

#[test]
fn a_body_in_pieces_is_as_long_as_announced_and_the_next_request_follows() {
    let mut peer = Peer::new();
    let both = [GET, GET].concat();
    assert_eq!(peer.send(&both), Ok(GET.len()));
    let response = Response::new(206, "video/mp2t", "").with_header("Content-Range", "bytes 1-6/9");
    assert!(peer.server.respond_in_pieces(peer.now, peer.ask(), &response, 6));
    assert_eq!(peer.send(&both[GET.len()..]), Ok(0), "it waits for the end of this one");
    assert_eq!((peer.server.poll_timeout(), peer.server.is_finished()), (None, false));
    for piece in ["abc", "defghi", "more"] {
        peer.server.push_body(peer.now, Bytes::from_static(piece.as_bytes()));
    }
    peer.drain();
    let said = peer.said();
    assert!(said.starts_with("HTTP/1.1 206 ") && said.ends_with("\r\n\r\nabcdef"), "{said}");
    assert!(said.contains("Content-Length: 6\r\nConnection: keep-alive\r\n"), "{said}");

    assert_eq!(peer.send(&both[GET.len()..]), Ok(GET.len()));
    assert!(!peer.server.respond_in_pieces(peer.now, peer.ask(), &ok(), 0), "nothing is to come");
    peer.drain();
    assert!(peer.said().contains("Content-Length: 0\r\n"));
    assert!(matches!(peer.server.poll_timeout(), Some((_, Timer::Idle))));
}

#[test]
fn no_piece_of_a_body_is_wanted_by_who_asks_for_the_head_or_has_it() {
    let named = || Response::new(206, "video/mp2t", "").with_etag("\"v1\"");
    let ranged = named().with_header("Content-Range", "bytes 0-4/9");
    let known = GET.replace("\r\n\r\n", "\r\nIf-None-Match: \"v1\"\r\n\r\n");
    for (request, status) in [(GET.replace("GET", "HEAD"), "206"), (known, "304")] {
        let mut peer = Peer::new();
        peer.send(&request).expect("valid");
        assert!(!peer.server.respond_in_pieces(peer.now, peer.ask(), &ranged, 5));
        peer.server.push_body(peer.now, Bytes::from_static(b"hello"));
        peer.drain();
        let said = peer.said();
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")) && said.ends_with("\r\n\r\n"));
        assert_eq!(said.contains("Content-Length: 5\r\n"), status == "206", "{said}");
        assert_eq!(said.contains("Content-Range"), status == "206", "{said}");
        peer.send(GET).expect("the next request");
    }
    let mut peer = Peer::new();
    peer.send(GET.replace("HTTP/1.1", "HTTP/1.0")).expect("valid");
    assert!(peer.server.respond_in_pieces(peer.now, peer.ask(), &named(), 2));
    peer.server.push_body(peer.now, Bytes::from_static(b"hi"));
    peer.drain();
    assert!(peer.server.is_finished(), "it does not ask to go on");
}

#[test]
fn head_is_the_same_in_any_pieces() {
    for request in [GET, UPGRADE, "\r\n\r\nGET http://h/%61 HTTP/1.0\nUser-Agent: x\n\n"] {
        let mut whole = Peer::new();
        whole.send(request).expect("valid");
        for cut in 1..request.len() {
            let mut peer = Peer::new();
            assert_eq!(peer.send(&request[..cut]), Ok(cut));
            assert_eq!(peer.events, [], "not before the last byte");
            assert_eq!(peer.send(&request[cut..]), Ok(request.len() - cut));
            assert_eq!(peer.events, whole.events);
        }
        let mut peer = Peer::new();
        for byte in request.bytes() {
            assert_eq!(peer.send([byte]), Ok(1));
        }
        assert_eq!(peer.events, whole.events);
    }
}

#[test]
fn head_request_gets_the_head_alone() {
    let head = GET.replace("GET", "HEAD");
    let mut peer = Peer::new();
    peer.send(&head).expect("valid");
    assert_eq!(peer.respond(&ok()), 0);
    let said = peer.said();
    assert!(said.contains("Content-Length: 5\r\n") && said.ends_with("\r\n\r\n"), "{said}");

    peer.send(&head).expect("the connection went on");
    let ask = peer.ask();
    let greeting = peer.server.greeting(ask, "video/x-flv", Framing::Close).expect("open");
    assert_eq!(greeting.framing, None);
    peer.server.accept_stream(ask, Framing::Close);
    assert!(peer.server.is_finished());
}

#[test]
fn a_head_of_the_limit_passes_and_one_byte_more_does_not() {
    let of = |len: usize| {
        let start = "GET / HTTP/1.0\r\nx: ";
        format!("{start}{}\r\n\r\n", "y".repeat(len - start.len() - 4))
    };
    assert!(Peer::new().send(of(8192)).is_ok());
    let mut peer = Peer::new();
    let error = peer.send(of(8193)).expect_err("too long");
    assert_eq!(error, Error::HeadTooLong { at: 0, limit: 8192, unit: "bytes" });
    assert!(peer.said().starts_with("HTTP/1.1 431 "));
    assert!(peer.server.is_finished());
    assert_eq!(peer.send("more"), Ok(4), "what follows is thrown away");
}

#[test]
fn a_slow_head_is_told_so_and_a_silent_connection_is_not() {
    let mut peer = Peer::new();
    assert_eq!(peer.pass(Duration::from_secs(9)), Ok(()));
    peer.send("GET /").expect("so far so good");
    let error = peer.pass(Duration::from_secs(1)).expect_err("slow");
    assert_eq!(error, Error::HeadTooSlow { at: 0, limit: Duration::from_secs(10), had: 5 });
    assert!(peer.said().starts_with("HTTP/1.1 408 "));
    assert!(peer.server.is_finished());

    let mut peer = Peer::new();
    assert_eq!(peer.pass(Duration::from_secs(10)), Ok(()));
    assert!(peer.said().is_empty() && peer.server.is_finished());
}

#[test]
fn empty_lines_do_not_hold_a_connection() {
    let mut peer = Peer::new();
    peer.send(GET).expect("valid");
    peer.respond(&ok());
    assert_eq!(peer.server.poll_timeout(), Some((peer.now + Duration::from_secs(30), Timer::Idle)));
    peer.pass(Duration::from_secs(29)).expect("idle");
    peer.send("\r\n\r\n").expect("ignored");
    peer.pass(Duration::from_secs(1)).expect("no error");
    assert!(peer.server.is_finished());
}

#[test]
fn a_later_head_has_its_own_time_and_offset() {
    let mut peer = Peer::new();
    peer.send(GET).expect("valid");
    assert_eq!(peer.server.poll_timeout(), None, "the time of an open request is the caller's");
    peer.respond(&ok());
    peer.pass(Duration::from_secs(20)).expect("idle");
    peer.send("\r\nG").expect("begun");
    assert_eq!(peer.server.poll_timeout(), Some((peer.now + Duration::from_secs(10), Timer::Head)));
    let error = peer.send("ET / HTTP/9\r\n\r\n").expect_err("no such version");
    assert!(matches!(error, Error::Malformed { at, .. } if at == GET.len() as u64 + 2), "{error}");
}

#[test]
fn an_error_says_what_was_expected_and_found() {
    let mut peer = Peer::new();
    let error = peer.send("GET /%zz\"\\ HTTP/1.1\r\nHost: h\r\n\r\n").expect_err("bad escape");
    let said = peer.said();
    assert!(said.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{said}");
    let body = said.split("\r\n\r\n").nth(1).expect("a body");
    assert!(body.starts_with(r#"{"error": "Bad Request", "detail": "http/head: at byte 0:"#));
    assert_eq!(
        error.to_string(),
        r#"http/head: at byte 0: expected two hex digits after each % of the path, found /%zz\"\\"#
    );
}

#[test]
fn an_unknown_method_is_answered_with_what_is_allowed() {
    let mut peer = Peer::new();
    let patch = "PATCH / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(peer.send(patch).expect_err("unknown").status(), 405);
    assert!(peer.said().contains("\r\nAllow: GET, HEAD, POST, PUT, OPTIONS\r\n"));
}

#[test]
fn preflight_is_answered_here_and_answers_do_not_pile_up() {
    let mut peer = Peer::new();
    let options = "OPTIONS /live/a.flv HTTP/1.1\r\nHost: h\r\nOrigin: https://o\r\n\r\n";
    let three = options.repeat(3);
    assert_eq!(peer.send(&three), Ok(options.len()));
    let said = peer.said();
    assert!(said.starts_with("HTTP/1.1 204 ") && said.contains("Allow-Origin: *\r\n"), "{said}");
    assert_eq!(peer.send(&three[options.len()..]), Ok(options.len()));
    assert_eq!(peer.events, []);
    assert_eq!(Peer::new().send("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"), Ok(31));
}

#[test]
fn a_late_or_unknown_answer_is_ignored() {
    let mut peer = Peer::new();
    peer.send(GET).expect("valid");
    let ask = peer.ask();
    peer.server.respond(peer.now, AskId(7), &ok());
    assert_eq!(peer.server.greeting(AskId(7), "x/y", Framing::Close), None);
    peer.server.accept_stream(AskId(7), Framing::Close);
    peer.server.end_stream(peer.now, End::Over, "not even begun");
    peer.respond(&ok());
    peer.said();
    peer.server.respond(peer.now, ask, &ok());
    peer.drain();
    assert_eq!(peer.said(), "");
}

#[test]
fn plain_stream_has_no_length_and_closes() {
    let mut peer = Peer::streaming(GET, Framing::Close);
    let said = peer.said();
    assert!(said.starts_with("HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nConnection: close"));
    assert!(!said.contains("Content-Length") && !said.contains("Transfer-Encoding"), "{said}");
    peer.server.end_stream(peer.now, End::Over, "the publisher left");
    peer.drain();
    assert_eq!(peer.said(), "");
    assert!(peer.server.is_finished());
}

#[test]
fn chunks_end_with_the_last_one_and_are_not_for_1_0() {
    let mut peer = Peer::streaming(GET, Framing::Chunked);
    assert!(peer.said().contains("\r\nTransfer-Encoding: chunked\r\n"));
    peer.server.end_stream(peer.now, End::Over, "");
    peer.drain();
    assert_eq!(peer.said(), "0\r\n\r\n");

    let mut peer = Peer::new();
    peer.send("GET /live/a.flv HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").expect("valid");
    let ask = peer.ask();
    let greeting = peer.server.greeting(ask, "video/x-flv", Framing::Chunked).expect("open");
    assert_eq!(greeting.framing, Some(Framing::Close));
    assert!(!greeting.bytes.windows(7).any(|text| text == b"chunked"));
}

#[test]
fn what_follows_a_stream_request_is_ignored_up_to_the_limit() {
    let mut peer = Peer::streaming(GET, Framing::Close);
    assert_eq!(peer.send(vec![b'x'; 64 << 10]), Ok(64 << 10));
    let error = peer.send("x").expect_err("too much");
    assert!(matches!(error, Error::TooMuchInput { limit: 0x1_0000, .. }), "{error}");
    peer.said();
    assert!(peer.server.is_finished());
}

#[test]
fn websocket_is_accepted_with_the_specs_value() {
    for framing in [Framing::Close, Framing::Chunked, Framing::WebSocket] {
        let mut peer = Peer::streaming(UPGRADE, framing);
        let said = peer.said();
        assert!(said.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{said}");
        assert!(said.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{said}");
        assert!(!said.contains("Content-") && !said.contains("Protocol:"), "{said}");
    }
    let mut peer = Peer::streaming(GET, Framing::WebSocket);
    assert!(peer.said().starts_with("HTTP/1.1 200 "), "not asked for");
}

#[test]
fn websocket_request_may_be_refused_in_plain_http() {
    let mut peer = Peer::new();
    peer.send(UPGRADE).expect("valid");
    peer.respond(&Response::json_error(404, "not published", "live/a: nobody publishes"));
    assert!(peer.said().starts_with("HTTP/1.1 404 Not Found\r\n"));
}

#[test]
fn ping_in_pieces_gets_its_pong() {
    let ping = [masked(0x81, b"text to be ignored"), masked(0x89, b"Hello")].concat();
    for cut in 0..ping.len() {
        let mut peer = Peer::streaming(UPGRADE, Framing::WebSocket);
        peer.said();
        assert_eq!(peer.send(&ping[..cut]), Ok(cut));
        assert_eq!(peer.said(), "");
        assert_eq!(peer.send(&ping[cut..]), Ok(ping.len() - cut));
        assert_eq!(peer.said, b"\x8a\x05Hello");
    }
}

#[test]
fn of_many_unread_pings_the_latest_is_answered() {
    let mut peer = Peer::streaming(UPGRADE, Framing::WebSocket);
    peer.said();
    peer.send([masked(0x89, b"old").repeat(1000), masked(0x89, b"new")].concat()).expect("valid");
    assert_eq!(peer.said, b"\x8a\x03new");
}

#[test]
fn close_of_the_peer_is_echoed() {
    for (payload, code, echo) in [
        (&b"\x03\xe9bye"[..], Some(1001), &b"\x88\x02\x03\xe9"[..]),
        (b"", None, b"\x88\x02\x03\xe8"),
    ] {
        let mut peer = Peer::streaming(UPGRADE, Framing::WebSocket);
        peer.said();
        peer.send(masked(0x88, payload)).expect("valid");
        assert_eq!(peer.said, echo);
        assert_eq!(peer.events.last(), Some(&Event::Closed { code }));
        assert!(peer.server.is_finished());
    }
}

#[test]
fn our_close_waits_for_the_peers_but_not_long() {
    let mut peer = Peer::streaming(UPGRADE, Framing::WebSocket);
    peer.said();
    peer.server.end_stream(peer.now, End::GoingAway, "restart");
    peer.drain();
    assert_eq!(peer.said, b"\x88\x09\x03\xe9restart");
    assert!(!peer.server.is_finished());
    let mut patient = peer;
    patient.send([masked(0x89, b"ping"), masked(0x88, b"\x03\xe9")].concat()).expect("valid");
    assert!(patient.server.is_finished());
    assert_eq!(patient.said.len(), 11, "nothing follows a close frame");

    let mut peer = Peer::streaming(UPGRADE, Framing::WebSocket);
    peer.server.end_stream(peer.now, End::Over, "");
    peer.drain();
    assert_eq!(peer.pass(Duration::from_secs(2)), Ok(()));
    assert!(peer.server.is_finished());
}

#[test]
fn a_fragmented_control_frame_is_closed_with_1002_and_its_place() {
    let mut peer = Peer::streaming(UPGRADE, Framing::WebSocket);
    peer.said();
    let error = peer.send(masked(0x09, b"x")).expect_err("fragmented");
    let violation = ws::Violation::FragmentedControl { opcode: 9 };
    assert_eq!(error, Error::WebSocket { at: UPGRADE.len() as u64 + 2, violation });
    assert_eq!(peer.said[..4], [0x88, peer.said.len() as u8 - 2, 0x03, 0xea]);
    assert!(peer.server.is_finished());
}

#[test]
fn a_streaming_machine_is_small_sendable_and_off_the_heap() {
    fn is_send<T: Send>() {}
    is_send::<Server>();
    let size = size_of::<Server>();
    assert!(size <= 288, "{size} bytes");
    let peer = Peer::streaming(UPGRADE, Framing::WebSocket);
    assert!(peer.server.event.is_none() && peer.server.out.is_empty());
    assert!(matches!(peer.server.state, State::WebSocket { pong: None, .. }));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(
        input in proptest::collection::vec(any::<u8>(), 0..600),
        start in prop::sample::select(&["", "GET /", "GET / HTTP/1.1\r\n"][..]),
    ) {
        let mut peer = Peer::new();
        let _ = peer.send([start.as_bytes(), &input, b"\r\n\r\n"].concat());
    }

    #[test]
    fn random_frames_never_panic(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut peer = Peer::streaming(UPGRADE, Framing::WebSocket);
        let _ = peer.send(input);
    }

    #[test]
    fn pipelined_requests_are_answered_in_order_in_any_pieces(
        paths in proptest::collection::vec("[a-z]{1,9}", 1..6),
        step in 1_usize..80,
    ) {
        let input: String =
            paths.iter().map(|path| format!("GET /{path} HTTP/1.1\r\nHost: h\r\n\r\n")).collect();
        let mut peer = Peer::new();
        let mut unread: Vec<u8> = Vec::new();
        let mut seen = Vec::new();
        for piece in input.as_bytes().chunks(step) {
            unread.extend(piece);
            loop {
                let taken = peer.send(&unread).expect("valid");
                unread.drain(..taken);
                if let Some(Event::Request(request)) = peer.events.pop() {
                    peer.server.respond(peer.now, request.ask, &ok());
                    seen.push(request.path);
                    peer.drain();
                } else if taken == 0 || unread.is_empty() {
                    break;
                }
            }
        }
        let expected: Vec<String> = paths.iter().map(|path| format!("/{path}")).collect();
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(peer.said().matches("hello").count(), paths.len());
    }
}
