//! Viewers that come back at once when they are cut off, each from an address of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::http::get;
use super::machine::secs;

/// A crowd of them.
pub(crate) struct Returning {
    viewers: Vec<(Arc<Viewer>, JoinHandle<()>)>,
    end: Arc<AtomicBool>,
}

/// One, as seen from outside.
struct Viewer {
    begun: Instant,
    /// When it last got something, in ms after it began.
    last: AtomicU64,
    /// How often it had an answer of 200.
    plays: AtomicU32,
    /// The longest time without a byte, in ms, and when that ended.
    gap: Mutex<(u64, u64)>,
    /// What else it was answered.
    complaints: Mutex<Vec<String>>,
}

impl Returning {
    /// `count` viewers ask `port` for `path`, from 127.3.0.1 on.
    pub(crate) fn join(port: u16, path: &str, count: u16) -> Self {
        super::http::raise_open_files();
        let end = Arc::new(AtomicBool::new(false));
        let viewers = (1..=count).map(|number| {
            let viewer = Arc::new(Viewer {
                begun: Instant::now(),
                last: AtomicU64::new(0),
                plays: AtomicU32::new(0),
                gap: Mutex::default(),
                complaints: Mutex::default(),
            });
            // Or else a proxy would keep the connection, and end only the answer.
            let request = get(path).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
            let end = Arc::clone(&end);
            let here = Arc::clone(&viewer);
            let run = move || {
                while !end.load(Ordering::Relaxed) {
                    here.play(Self::address(number), port, &request, &end);
                }
            };
            let thread = thread::Builder::new().stack_size(128 << 10).spawn(run);
            (viewer, thread.expect("threads are left"))
        });
        Self { viewers: viewers.collect(), end }
    }

    /// Where the viewer of this number comes from.
    pub(crate) fn address(number: u16) -> Ipv4Addr {
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(127, 3, high, low)
    }

    /// Those that were let in at least `times` times, and got something in the last second.
    pub(crate) fn playing(&self, times: u32) -> usize {
        let plays = |viewer: &Viewer| {
            // First, as it may get something between the two.
            let last = viewer.last.load(Ordering::Relaxed);
            let ago = viewer.now() - last;
            viewer.plays.load(Ordering::Relaxed) >= times && ago < 1000
        };
        self.viewers.iter().filter(|(viewer, _)| plays(viewer)).count()
    }

    /// The longest that anyone went without a byte, once it had one.
    pub(crate) fn longest_gap(&self) -> Duration {
        let gap = |viewer: &Viewer| viewer.gap.lock().expect("nobody panics with it").0;
        Duration::from_millis(self.viewers.iter().map(|(viewer, _)| gap(viewer)).max().unwrap_or(0))
    }

    /// Some of what went wrong.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let all = self.viewers.iter().flat_map(|(viewer, _)| {
            viewer.complaints.lock().expect("nobody panics with it").clone()
        });
        all.take(10).collect()
    }

    /// All hang up.
    pub(crate) fn leave(self) {
        self.end.store(true, Ordering::Relaxed);
        for (_, thread) in self.viewers {
            thread.join().expect("it only reads");
        }
    }
}

impl Viewer {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).expect("tests are short")
    }

    /// One connection, to its end.
    fn play(&self, address: Ipv4Addr, port: u16, request: &str, end: &AtomicBool) {
        if let Err(error) = self.try_play(address, port, request, end) {
            self.complaints.lock().expect("nobody panics with it").push(error.to_string());
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn try_play(
        &self,
        address: Ipv4Addr,
        port: u16,
        request: &str,
        end: &AtomicBool,
    ) -> std::io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((address, 0)).into())?;
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(secs(20)))?;
        stream.write_all(request.as_bytes())?;
        let mut buffer = vec![0; 16 << 10];
        let mut first = true;
        while !end.load(Ordering::Relaxed) {
            let read = stream.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            if std::mem::take(&mut first) {
                if !buffer.starts_with(b"HTTP/1.1 200 ") {
                    let line = String::from_utf8_lossy(&buffer[..read.min(40)]).into_owned();
                    return Err(std::io::Error::other(line));
                }
                self.plays.fetch_add(1, Ordering::Relaxed);
            }
            self.hear();
        }
        Ok(())
    }

    fn hear(&self) {
        let now = self.now();
        let last = self.last.swap(now, Ordering::Relaxed);
        let mut gap = self.gap.lock().expect("nobody panics with it");
        if last > 0 && now - last > gap.0 {
            *gap = (now - last, now);
        }
    }
}
