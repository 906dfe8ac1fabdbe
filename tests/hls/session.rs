//! A player's side of HTTP: connections that are kept, requests one behind the other, answers as they
//! come, and what a session names.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::playlist_rules::{self, Attributes, Playlist, attributes};
use crate::support::http::{Reply, connect};

/// A connection, and what came and was not yet looked at.
pub(crate) struct Connection {
    socket: TcpStream,
    heard: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(port: u16) -> Self {
        let socket = connect(port, None);
        socket.set_read_timeout(Some(HANG)).expect("not zero");
        Self { socket, heard: Vec::new() }
    }

    /// Sends a request for `path` with `fields`, each with its line end.
    pub(crate) fn ask(&mut self, path: &str, fields: &str) {
        self.say(&request(path, fields));
    }

    /// Sends `text` as it is.
    pub(crate) fn say(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).expect("the server reads");
    }

    /// The next answer.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Reply {
        self.answer_to("GET")
    }

    /// The next answer, to a request of that method.
    #[track_caller]
    pub(crate) fn answer_to(&mut self, method: &str) -> Reply {
        let head = self.until(b"\r\n\r\n");
        let head = String::from_utf8(head).expect("a head is ASCII");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let status = status.expect("a status line");
        let mut reply = Reply { status, headers, body: Vec::new() };
        if method == "HEAD" || status == 204 || status == 304 {
            return reply;
        }
        match reply.header("content-length") {
            Some(length) => {
                let length = length.parse().expect("a length is a number");
                reply.body = self.take(length);
            }
            None => {
                assert_eq!(reply.header("transfer-encoding"), Some("chunked"), "{head}");
                reply.body = self.chunks();
            }
        }
        reply
    }

    /// Asks, and hears the answer.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Reply {
        self.ask(path, "");
        self.answer()
    }

    /// The same with more fields.
    #[track_caller]
    pub(crate) fn get_with(&mut self, path: &str, fields: &str) -> Reply {
        self.ask(path, fields);
        self.answer()
    }

    /// True if nothing comes for so long.
    pub(crate) fn is_silent(&mut self, time: Duration) -> bool {
        assert!(self.heard.is_empty(), "something came");
        self.socket.set_read_timeout(Some(time)).expect("not zero");
        let mut byte = [0; 1];
        let silent = self.socket.peek(&mut byte).is_err();
        self.socket.set_read_timeout(Some(HANG)).expect("not zero");
        silent
    }

    #[track_caller]
    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.until(b"\r\n")).expect("a length is ASCII");
            let length = usize::from_str_radix(line.trim(), 16).expect("a length in hex digits");
            body.extend(self.take(length));
            assert_eq!(self.take(2), b"\r\n", "a chunk ends with its line");
            if length == 0 {
                return body;
            }
        }
    }

    #[track_caller]
    fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.heard.windows(end.len()).position(|found| found == end) {
                return self.take(at + end.len());
            }
            self.hear();
        }
    }

    #[track_caller]
    fn take(&mut self, count: usize) -> Vec<u8> {
        while self.heard.len() < count {
            self.hear();
        }
        let rest = self.heard.split_off(count);
        std::mem::replace(&mut self.heard, rest)
    }

    #[track_caller]
    fn hear(&mut self) {
        let mut buffer = [0; 16 * 1024];
        let count = self.socket.read(&mut buffer).expect("an answer within the time");
        let so_far = || String::from_utf8_lossy(&self.heard[..self.heard.len().min(300)]);
        assert!(count > 0, "the server hung up behind {:?}", so_far());
        self.heard.extend_from_slice(&buffer[..count]);
    }
}

/// No answer takes longer, not even that of who waits for a publisher.
const HANG: Duration = Duration::from_secs(60);

/// A request with a `Host`, and `fields`, each with its line end.
pub(crate) fn request(path: &str, fields: &str) -> String {
    format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
}

/// One viewer: a connection, and the addresses that its multivariant playlist gave it.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    /// The text that gave them.
    pub(crate) multivariant: String,
    /// Where what a media playlist names is to be found: `live/a.hls/`.
    pub(crate) dir: String,
    /// The path of the media playlist, with its query.
    pub(crate) main: String,
    pub(crate) audio: Option<String>,
}

impl Session {
    /// Asks for `/KEY.m3u8`, which must be right.
    #[track_caller]
    pub(crate) fn open(port: u16, key: &str) -> Self {
        let mut connection = Connection::new(port);
        let reply = connection.get(&format!("{key}.m3u8"));
        assert_eq!(reply.status, 200, "{}", reply.text());
        Self::of(connection, key, reply.text())
    }

    /// A session of which the multivariant playlist is known.
    #[track_caller]
    pub(crate) fn of(connection: Connection, key: &str, multivariant: String) -> Self {
        let broken = playlist_rules::multivariant(&multivariant);
        assert!(broken.is_empty(), "{broken:#?}\n{multivariant}");
        let parent = key.rsplit_once('/').expect("APP/NAME").0;
        let path = |address: &str| format!("{parent}/{address}");
        let main = multivariant.lines().find(|line| !line.starts_with('#')).map(path);
        let main = main.expect("a media playlist");
        let audio = tags(&multivariant, "EXT-X-MEDIA");
        let audio = audio.iter().find_map(|tag| tag.get("URI")).map(|address| path(address));
        let dir = format!("{key}.hls/");
        assert!(main.starts_with(&dir), "{main} is not in {dir}");
        Self { connection, multivariant, dir, main, audio }
    }

    /// The media playlist; `query` goes behind that of the session: `_HLS_msn=7&_HLS_part=1`.
    #[track_caller]
    pub(crate) fn playlist(&mut self, query: &str) -> String {
        let path = self.path(query);
        let reply = self.connection.get(&path);
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.text()
    }

    /// The same, read. It must be right by itself.
    #[track_caller]
    pub(crate) fn read(&mut self, query: &str) -> Playlist {
        read(&self.playlist(query))
    }

    /// The path of the media playlist with more of a query.
    pub(crate) fn path(&self, query: &str) -> String {
        let and = if query.is_empty() { "" } else { "&" };
        format!("{}{and}{query}", self.main)
    }

    /// What the playlist names, which must be there.
    #[track_caller]
    pub(crate) fn fetch(&mut self, name: &str) -> Vec<u8> {
        let reply = self.connection.get(&format!("{}{name}", self.dir));
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
        assert!(!reply.body.is_empty(), "{name} is empty");
        reply.body
    }

    /// Blocks until the playlist has what `wanted` asks for.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str, wanted: impl Fn(&Playlist) -> bool) -> Playlist {
        let end = Instant::now() + HANG;
        let mut playlist = self.read("");
        while !wanted(&playlist) {
            assert!(Instant::now() < end && !playlist.ended, "in vain: {what}: {playlist:#?}");
            let (msn, part) = playlist.next_part();
            playlist = self.read(&format!("_HLS_msn={msn}&_HLS_part={part}"));
        }
        playlist
    }

    /// Blocks until the playlist says that it is the last; its text.
    #[track_caller]
    pub(crate) fn until_end(&mut self) -> String {
        let end = Instant::now() + HANG;
        let mut query = String::new();
        loop {
            let text = self.playlist(&query);
            let playlist = read(&text);
            if playlist.ended {
                return text;
            }
            assert!(Instant::now() < end, "it does not end: {text}");
            let (msn, part) = playlist.next_part();
            query = format!("_HLS_msn={msn}&_HLS_part={part}");
        }
    }
}

/// Reads a media playlist, which must be right by itself.
#[track_caller]
pub(crate) fn read(text: &str) -> Playlist {
    let mut broken = Vec::new();
    let playlist = Playlist::read(text, &mut broken);
    assert!(broken.is_empty(), "{broken:#?}\n{text}");
    playlist
}

/// The attributes of all tags of that name.
pub(crate) fn tags(text: &str, name: &str) -> Vec<Attributes> {
    let tags = text.lines().filter_map(|line| line.strip_prefix('#')?.split_once(':'));
    let lists = tags.filter(|(tag, _)| *tag == name);
    lists.filter_map(|(_, list)| attributes(list)).collect()
}
