//! A WebSocket viewer: binary messages, one after the other, into a file.

use std::fs::File;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::thread::{self, JoinHandle};

use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;

use super::machine::secs;

/// What a WebSocket viewer saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) messages: usize,
    pub(crate) bytes: u64,
    /// The code of the server's close frame; none if it just hung up.
    pub(crate) close: Option<CloseCode>,
}

/// Records `url` into `path` until the server closes.
pub(crate) fn record(url: &str, path: &Path) -> JoinHandle<Seen> {
    let (url, mut file) = (url.to_owned(), File::create(path).expect("the run directory is ours"));
    thread::spawn(move || {
        let host = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next());
        let stream = TcpStream::connect(host.expect("ws://HOST/…")).expect("the server listens");
        stream.set_read_timeout(Some(secs(30))).expect("not zero");
        let (mut socket, response) =
            tungstenite::client(url.as_str(), stream).expect("the server speaks WebSocket");
        assert_eq!(response.status(), 101);
        let mut seen = Seen { messages: 0, bytes: 0, close: None };
        loop {
            match socket.read() {
                Ok(Message::Binary(data)) => {
                    seen.messages += 1;
                    seen.bytes += data.len() as u64;
                    file.write_all(&data).expect("there is room");
                }
                Ok(Message::Close(frame)) => seen.close = frame.map(|frame| frame.code),
                Ok(Message::Text(text)) => panic!("expected binary messages, found text {text:?}"),
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                    return seen;
                }
                Err(e) => panic!("WebSocket after {seen:?}: {e}"),
            }
        }
    })
}
