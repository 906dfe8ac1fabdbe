//! One viewer: it asks for the stream as any player would, and when the server has let it in it
//! lets the kernel throw the bytes away.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use corecast::bytes::Chain;
use corecast::proto::rtmp::client::Event;
use corecast::proto::rtmp::{Client, ClientConfig, Goal, Url};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Protocol, Socket, Type};

/// What viewers want, by its URL.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    ask: Ask,
}

#[derive(Debug, Clone)]
enum Ask {
    Http { request: Arc<[u8]> },
    Rtmp { url: Arc<Url>, config: Arc<ClientConfig> },
}

impl Target {
    pub(crate) fn parse(url: &str) -> io::Result<Self> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        if url.starts_with("rtmp://") {
            let url: Url = url.parse().map_err(|error| invalid(format!("{error}")))?;
            let address = resolve((url.host.as_str(), url.port))?;
            let ask = Ask::Rtmp { url: url.into(), config: ClientConfig::default().into() };
            return Ok(Self { address, ask });
        }
        let rest = url.strip_prefix("http://").ok_or_else(|| {
            invalid(format!("expected http://HOST/x.flv or rtmp://HOST/APP/NAME, found {url:?}"))
        })?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let address = match host.contains(':') {
            true => resolve(host)?,
            false => resolve((host, 80))?,
        };
        let path = if path.is_empty() { "/" } else { path };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: corecast-load\r\nAccept: */*\r\n\r\n"
        );
        Ok(Self { address, ask: Ask::Http { request: request.into_bytes().into() } })
    }
}

fn resolve(host: impl ToSocketAddrs) -> io::Result<SocketAddr> {
    let address = host.to_socket_addrs()?.next();
    address.ok_or_else(|| io::Error::other("the host has no address"))
}

/// A connection to the server.
pub(crate) struct Viewer {
    socket: Socket,
    stage: Stage,
}

/// ```text
/// Connecting ─> AwaitingStatus | Greeting ─> Discarding
/// ```
enum Stage {
    /// What to say first.
    Connecting(Ask),
    /// The beginning of the HTTP answer.
    AwaitingStatus(Vec<u8>),
    Greeting(Box<Client>),
    Discarding,
}

/// What came of a look at the socket.
pub(crate) enum Progress {
    /// This many bytes, which are gone.
    Bytes(usize),
    /// The same, and the server has let the viewer in with them.
    Joined(usize),
    /// The connection is made and the request sent; from now on it is only read.
    Asked,
}

impl Viewer {
    /// Begins to connect. The socket is writable when that is done.
    pub(crate) fn connect(target: &Target) -> io::Result<Self> {
        let domain = Domain::for_address(target.address);
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        match socket.connect(&target.address.into()) {
            Ok(()) => {}
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        Ok(Self { socket, stage: Stage::Connecting(target.ask.clone()) })
    }

    /// The socket is ready. `scratch` is overwritten, or not.
    ///
    /// # Errors
    /// The server refused, hung up or broke the protocol.
    pub(crate) fn ready(&mut self, scratch: &mut [u8]) -> io::Result<Progress> {
        match &mut self.stage {
            Stage::Connecting(ask) => {
                if let Some(error) = self.socket.take_error()? {
                    return Err(error);
                }
                self.stage = match ask.clone() {
                    Ask::Http { request } => {
                        send(&self.socket, &request)?;
                        Stage::AwaitingStatus(Vec::new())
                    }
                    Ask::Rtmp { url, config } => {
                        let seed =
                            u64::from(rustix::process::getpid().as_raw_nonzero().get() as u32);
                        let mut client = Client::new(config, url, Goal::Play, seed, Instant::now());
                        transmit(&self.socket, &mut client)?;
                        Stage::Greeting(Box::new(client))
                    }
                };
                Ok(Progress::Asked)
            }
            Stage::AwaitingStatus(head) => {
                let count = receive(&self.socket, &mut scratch[..HEAD_BYTES], RecvFlags::empty())?;
                head.extend_from_slice(&scratch[..count.min(HEAD_BYTES)]);
                if !status_is_ok(head)? {
                    return Ok(Progress::Bytes(count));
                }
                self.stage = Stage::Discarding;
                Ok(Progress::Joined(count))
            }
            Stage::Greeting(client) => {
                let count = receive(&self.socket, &mut scratch[..HEAD_BYTES], RecvFlags::empty())?;
                let input = &scratch[..count.min(HEAD_BYTES)];
                client.handle_input(Instant::now(), input).map_err(io::Error::other)?;
                transmit(&self.socket, client)?;
                while let Some(event) = client.poll_event() {
                    match event {
                        Event::Started => {
                            self.stage = Stage::Discarding;
                            return Ok(Progress::Joined(count));
                        }
                        Event::Refused { code, description } => {
                            return Err(io::Error::other(format!("{code}: {description}")));
                        }
                        _ => {}
                    }
                }
                Ok(Progress::Bytes(count))
            }
            // The kernel copies nothing for TRUNC on TCP (tcp(7)).
            Stage::Discarding => {
                receive(&self.socket, scratch, RecvFlags::TRUNC).map(Progress::Bytes)
            }
        }
    }
}

impl AsFd for Viewer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// As much of an answer as is looked at.
const HEAD_BYTES: usize = 4096;
const STATUS: &str = "HTTP/1.1 200";

/// False while the status has not arrived.
fn status_is_ok(head: &[u8]) -> io::Result<bool> {
    if head.len() < STATUS.len() {
        return Ok(false);
    }
    if head.starts_with(b"HTTP/1.") && head[8..STATUS.len()] == *b" 200" {
        return Ok(true);
    }
    let line = String::from_utf8_lossy(head);
    let line = line.lines().next().unwrap_or_default();
    Err(io::Error::other(format!("expected the status {STATUS}, found {line:?}")))
}

fn transmit(socket: &Socket, client: &mut Client) -> io::Result<()> {
    let mut out = Chain::default();
    while client.poll_transmit(&mut out) {}
    out.slices().try_for_each(|slice| send(socket, slice))
}

/// A request is far smaller than an empty socket buffer; if it does not fit, something is wrong.
fn send(socket: &Socket, bytes: &[u8]) -> io::Result<()> {
    let sent = rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    match sent == bytes.len() {
        true => Ok(()),
        false => Err(io::Error::other("the socket did not take the request")),
    }
}

fn receive(socket: &Socket, into: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    match rustix::net::recv(socket, into, flags | RecvFlags::DONTWAIT) {
        Ok((_, 0)) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up")),
        Ok((_, count)) => Ok(count),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_may_come_in_pieces_and_must_be_200() {
        assert!(!status_is_ok(b"HTTP/1.").expect("may become right"));
        assert!(status_is_ok(b"HTTP/1.0 200 OK\r\n").expect("is right"));
        let error = status_is_ok(b"HTTP/1.1 404 Not Found\r\nx").expect_err("is not");
        assert!(error.to_string().contains("\"HTTP/1.1 404 Not Found\""), "{error}");
    }

    #[test]
    fn a_url_without_a_known_scheme_is_told() {
        let error = Target::parse("ftp://127.0.0.1/x").expect_err("no such scheme");
        assert!(error.to_string().contains("expected http://"), "{error}");
        let target = Target::parse("http://127.0.0.1:8080/live/x.flv").expect("a URL");
        assert_eq!(target.address.port(), 8080);
    }
}
