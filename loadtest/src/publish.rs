//! One RTMP publisher in real time.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use corecast::bytes::Chain;
use corecast::proto::rtmp::client::Event;
use corecast::proto::rtmp::{Client, ClientConfig, Goal, Url};
use corecast::time::Timestamp;
use rustix::net::RecvFlags;

use crate::stream::Stream;

/// A server that takes nothing for this long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a publisher did.
#[derive(Debug, Default)]
pub struct Sent {
    /// Frames of all tracks.
    pub frames: u64,
    /// Their bytes, without what RTMP adds.
    pub bytes: u64,
    /// How far behind real time the latest frame was sent, at worst.
    pub late: Duration,
}

/// A connection on which publish was granted.
pub struct Publisher {
    socket: TcpStream,
    client: Client,
    out: Chain,
}

impl Publisher {
    /// Connects to `url` and waits until the server lets it publish.
    ///
    /// # Errors
    /// Nobody answers, or the server refuses, with its words.
    pub fn connect(url: &Url) -> io::Result<Self> {
        let address = (url.host.as_str(), url.port).to_socket_addrs()?.next();
        let address = address.ok_or_else(|| io::Error::other("the host has no address"))?;
        let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let client =
            Client::new(ClientConfig::default(), url.clone(), Goal::Publish, 1, Instant::now());
        let mut publisher = Self { socket, client, out: Chain::default() };
        publisher.wait_for_start()?;
        Ok(publisher)
    }

    fn wait_for_start(&mut self) -> io::Result<()> {
        let mut input = [0; 4096];
        loop {
            self.flush()?;
            // The machine's own deadlines end the wait.
            self.client.handle_timeout(Instant::now()).map_err(io::Error::other)?;
            match self.socket.read(&mut input) {
                Ok(0) => return Err(io::Error::other("the server hung up before it let us in")),
                Ok(count) => self.feed(&input[..count])?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            while let Some(event) = self.client.poll_event() {
                match event {
                    Event::Started => return Ok(()),
                    Event::Refused { code, description } => {
                        return Err(io::Error::other(format!("refused: {code} {description}")));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Sends `stream` in real time until `stop` is set or `until` has passed.
    ///
    /// # Errors
    /// The server ended it, with its words, or takes no more bytes.
    pub fn send(
        mut self,
        stream: &mut Stream,
        until: Option<Instant>,
        stop: &Arc<AtomicBool>,
    ) -> io::Result<Sent> {
        if let Some(metadata) = &stream.metadata {
            self.client.push_metadata(metadata);
        }
        for track in &stream.tracks {
            self.client.push_track(track);
        }
        let (start, mut sent) = (Instant::now(), Sent::default());
        while !stop.load(Ordering::Relaxed) && until.is_none_or(|until| Instant::now() < until) {
            let frame = stream.next_frame();
            let at = frame.dts.since(Timestamp::ZERO).max(0).unsigned_abs();
            let due = start + Duration::from_nanos(at);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            sent.late = sent.late.max(due.elapsed());
            sent.frames += 1;
            sent.bytes += frame.data.len() as u64;
            self.client.push_frame(&frame);
            self.flush()?;
            self.listen()?;
        }
        self.client.stop();
        self.flush()?;
        Ok(sent)
    }

    /// Takes what the server has said meanwhile, without waiting for more.
    fn listen(&mut self) -> io::Result<()> {
        let mut input = [0; 4096];
        match rustix::net::recv(&self.socket, &mut input, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Err(io::Error::other("the server hung up")),
            Ok((count, _)) => self.feed(&input[..count])?,
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        while let Some(event) = self.client.poll_event() {
            if let Event::Ended { code, description } = event {
                return Err(io::Error::other(format!("the server ended it: {code} {description}")));
            }
        }
        Ok(())
    }

    fn feed(&mut self, input: &[u8]) -> io::Result<()> {
        self.client.handle_input(Instant::now(), input).map_err(io::Error::other)?;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.client.poll_transmit(&mut self.out) {}
        while let Some(slice) = self.out.first() {
            let taken = self.socket.write(slice)?;
            self.out.advance(taken);
        }
        Ok(())
    }
}
