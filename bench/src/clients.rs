//! Connections that are held without being watched: viewers that wait, or have paused.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corecast::bytes::Chain;
use corecast::container::amf0::{self, Value};
use corecast::proto::rtmp::{
    ChunkWriter, Client, ClientConfig, Goal, PLAY_STREAM_ID, Url, client, kind,
};
use rustix::net::RecvFlags;

/// Connections in the order they were made.
#[derive(Default)]
pub struct Clients {
    clients: Vec<Held>,
    /// Those before this one have paused.
    paused: usize,
}

struct Held {
    socket: TcpStream,
    /// None for HTTP, which has no more to say.
    rtmp: Option<Client>,
    playing: bool,
    gone: bool,
}

/// For the server to answer all.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at all connections.
const LOOK: Duration = Duration::from_millis(20);

impl Clients {
    /// Makes `count` more, each of which asks for `url`: `http://HOST:PORT/PATH` or
    /// `rtmp://HOST:PORT/APP/NAME`.
    ///
    /// # Errors
    /// The server does not take them, or there are too few descriptors.
    pub fn connect(&mut self, url: &str, count: usize) -> io::Result<()> {
        corecast_load::fds::allow(self.clients.len() + count)?;
        let begun = self.clients.len();
        for _ in 0..count {
            self.clients.push(Held::connect(url)?);
            // So that nobody waits for an answer longer than a handshake may take.
            if self.clients.len().is_multiple_of(256) {
                self.clients[begun..].iter_mut().try_for_each(|held| held.look().map(drop))?;
            }
        }
        Ok(())
    }

    /// Waits until all RTMP ones are told that their play has started.
    ///
    /// # Errors
    /// Not all are, in a minute.
    pub fn play(&mut self) -> io::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            self.look()?;
            let silent = self.clients.iter().filter(|held| held.rtmp.is_some() && !held.playing);
            match silent.count() {
                0 => return Ok(()),
                silent if Instant::now() >= until => {
                    return Err(io::Error::other(format!(
                        "expected all viewers to be told that they play, found {silent} that \
                         were not"
                    )));
                }
                _ => std::thread::sleep(LOOK),
            }
        }
    }

    /// Pauses all that play and have not paused yet.
    ///
    /// # Errors
    /// A connection broke.
    pub fn pause(&mut self) -> io::Result<()> {
        let mut body = Vec::new();
        for value in [
            Value::String("pause".to_owned()),
            Value::Number(0.0),
            Value::Null,
            Value::Boolean(true),
            Value::Number(0.0),
        ] {
            amf0::encode(&mut body, &value);
        }
        let mut message = bytes::BytesMut::new();
        let writer = ChunkWriter::new(ClientConfig::default().chunk_size_bytes);
        writer.write(&mut message, COMMANDS, kind::COMMAND, 0, PLAY_STREAM_ID, &[], &body);
        for held in &mut self.clients[self.paused..] {
            held.socket.write_all(&message)?;
        }
        self.paused = self.clients.len();
        Ok(())
    }

    /// Takes what comes until nothing has come for `quiet`.
    ///
    /// # Errors
    /// Something still comes after a minute: somebody is sent a stream.
    pub fn settle(&mut self, quiet: Duration) -> io::Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut last = Instant::now();
        while last.elapsed() < quiet {
            if self.look()? > 0 {
                last = Instant::now();
            }
            if Instant::now() >= until {
                return Err(io::Error::other("expected idle connections, found bytes on them"));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// # Errors
    /// The server has closed some, so that fewer than `count` are left.
    pub fn must_be_there(&mut self, count: usize) -> io::Result<()> {
        self.look()?;
        let found = self.clients.iter().filter(|held| !held.gone).count();
        match found >= count {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "expected {count} idle connections, found {found}: the server closed the others"
            ))),
        }
    }

    /// Bytes that came.
    fn look(&mut self) -> io::Result<usize> {
        let mut bytes = 0;
        for held in &mut self.clients {
            bytes += held.look()?;
        }
        Ok(bytes)
    }
}

impl Held {
    fn connect(url: &str) -> io::Result<Self> {
        let (socket, rtmp) = match url.strip_prefix("http://").and_then(|rest| rest.split_once('/'))
        {
            Some((host, path)) => {
                let mut socket = TcpStream::connect(host)?;
                write!(socket, "GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n")?;
                (socket, None)
            }
            None => {
                let url: Url = url.parse().map_err(io::Error::other)?;
                let socket = TcpStream::connect((url.host.as_str(), url.port))?;
                let (config, now) = (ClientConfig::default(), Instant::now());
                (socket, Some(Client::new(config, Arc::new(url), Goal::Play, 1, now)))
            }
        };
        let mut held = Self { socket, rtmp, playing: false, gone: false };
        held.speak()?;
        Ok(held)
    }

    fn speak(&mut self) -> io::Result<()> {
        let Some(client) = &mut self.rtmp else { return Ok(()) };
        let mut out = Chain::default();
        while client.poll_transmit(&mut out) {}
        while let Some(slice) = out.first() {
            let taken = self.socket.write(slice)?;
            out.advance(taken);
        }
        Ok(())
    }

    /// Takes what has come and answers it. How much it was.
    fn look(&mut self) -> io::Result<usize> {
        let mut input = [0; 16 << 10];
        let mut bytes = 0;
        while !self.gone {
            let count = match rustix::net::recv(&self.socket, &mut input, RecvFlags::DONTWAIT) {
                Ok((count, _)) => count,
                Err(rustix::io::Errno::AGAIN) => break,
                Err(_) => 0,
            };
            self.gone = count == 0;
            bytes += count;
            if let Some(client) = &mut self.rtmp {
                client.handle_input(Instant::now(), &input[..count]).map_err(io::Error::other)?;
                while let Some(event) = client.poll_event() {
                    self.playing |= matches!(event, client::Event::Started);
                }
                if !self.gone {
                    self.speak()?;
                }
            }
        }
        Ok(bytes)
    }
}

/// The chunk stream of a client's commands.
const COMMANDS: u32 = 3;
