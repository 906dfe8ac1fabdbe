//! The floor: one thread, one `send` per viewer and window, and nothing else.

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::SendFlags;

/// What is sent, and to how many.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Sending begins when so many are there.
    pub viewers: usize,
    /// For each, in bits per second.
    pub bitrate: u64,
    /// Each gets its bytes once per window.
    pub window: Duration,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sent {
    /// Calls of `send`.
    pub sends: u64,
    /// Those that the socket took a part of, or nothing; the rest went with the next window.
    pub short: u64,
    /// Windows that were due before the one before was done.
    pub late: u64,
}

/// Everyone must have come by then.
const JOIN_PATIENCE: Duration = Duration::from_secs(120);
/// What an HTTP viewer wants to hear first.
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nConnection: close\r\n\r\n";
/// A viewer whose socket was full gets at most so many windows at once.
const WINDOWS_AT_ONCE: usize = 4;

/// Takes the viewers of `load` from `listener` and sends until the last has left, or for `at_most`.
///
/// # Errors
/// Not all came in time.
pub fn serve(listener: &TcpListener, load: Load, at_most: Duration) -> io::Result<Sent> {
    let mut viewers = accept(listener, load.viewers)?;
    let bytes = window_bytes(load);
    let stream = vec![0x5a; bytes * WINDOWS_AT_ONCE];
    let (start, mut sent) = (Instant::now(), Sent::default());
    let mut due = start;
    while !viewers.is_empty() && start.elapsed() < at_most {
        due += load.window;
        match due.checked_duration_since(Instant::now()) {
            Some(wait) => std::thread::sleep(wait),
            None => sent.late += 1,
        }
        viewers.retain_mut(|viewer| viewer.send(&stream, bytes, &mut sent));
    }
    Ok(sent)
}

/// Bytes of one viewer's window.
pub fn window_bytes(load: Load) -> usize {
    (load.bitrate as f64 / 8.0 * load.window.as_secs_f64()) as usize
}

struct Viewer {
    socket: TcpStream,
    owed: usize,
}

impl Viewer {
    /// False when the viewer has left.
    fn send(&mut self, stream: &[u8], window: usize, sent: &mut Sent) -> bool {
        self.owed += window;
        let bytes = &stream[..self.owed.min(stream.len())];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sent.sends += 1;
        let taken = match rustix::net::send(&self.socket, bytes, flags) {
            Ok(taken) => taken,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => return false,
        };
        sent.short += u64::from(taken < bytes.len());
        self.owed -= taken;
        true
    }
}

fn accept(listener: &TcpListener, count: usize) -> io::Result<Vec<Viewer>> {
    listener.set_nonblocking(true)?;
    let (start, mut viewers) = (Instant::now(), Vec::with_capacity(count));
    while viewers.len() < count {
        match listener.accept() {
            Ok((mut socket, _)) => {
                socket.set_nodelay(true)?;
                socket.write_all(HEAD)?;
                viewers.push(Viewer { socket, owed: 0 });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if start.elapsed() > JOIN_PATIENCE {
                    let found = viewers.len();
                    return Err(io::Error::other(format!(
                        "floor: expected {count} viewers within {} s, found {found}",
                        JOIN_PATIENCE.as_secs()
                    )));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(viewers)
}
