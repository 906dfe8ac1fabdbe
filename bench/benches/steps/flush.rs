//! One merge window to N viewers: the flush loop's own turns, on real TCP sockets of loopback.
//!
//! Beside it the floor of the same machine: one `send` of as many bytes to each of as many
//! sockets, and nothing else. Both are told in CPU time of the thread, so that who else is busy
//! counts for little.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corecast::media::Frame;
use corecast::net::{fd, flush};
use corecast::plane::{Hub, Publisher, Viewer};
use criterion::{BenchmarkId, Criterion, Throughput};
use rustix::net::{RecvFlags, SendFlags};

use crate::clip::{Clip, FORMATS, settings};
use crate::join::watch;

const VIEWERS: [usize; 4] = [1, 10, 100, 1000];
/// Of the clip, in one flush.
const WINDOW_NS: i64 = 350_000_000;

pub(crate) fn benches(criterion: &mut Criterion) {
    let clip = Clip::read();
    let mut group = criterion.benchmark_group("flush one window of 350 ms");
    for viewers in VIEWERS {
        let sockets = match Sockets::new(viewers) {
            Ok(sockets) => sockets,
            Err(error) => {
                eprintln!("{viewers} viewers are left out: {error}\n  cure: ulimit -n 4096");
                continue;
            }
        };
        group.throughput(Throughput::Elements(viewers as u64));
        let mut stage = Stage::new(&clip, &sockets);
        let before = stage.hub.borrow().totals();
        let mut windows = 0;
        group.bench_function(BenchmarkId::new("server", viewers), |bencher| {
            bencher.iter_custom(|rounds| {
                windows += rounds;
                (0..rounds).map(|_| stage.window()).sum()
            });
        });
        let after = stage.hub.borrow().totals();
        let (writes, windows) = (after.writes - before.writes, windows.max(1));
        let bytes = (after.egress_bytes - before.egress_bytes) / writes.max(1);
        let short = after.short_writes - before.short_writes;
        println!(
            "    {:.1} writes a window, {bytes} bytes each, {short} of them short",
            writes as f64 / windows as f64
        );
        let block = vec![0x5a; usize::try_from(bytes).expect("a window is small")];
        group.bench_function(BenchmarkId::new("floor", viewers), |bencher| {
            bencher.iter_custom(|rounds| (0..rounds).map(|_| sockets.floor(&block)).sum());
        });
    }
    group.finish();
}

/// A stream with its viewers.
struct Stage<'a> {
    hub: Rc<RefCell<Hub>>,
    publisher: Publisher,
    frames: std::iter::Peekable<Box<dyn Iterator<Item = Frame> + 'a>>,
    until_ns: i64,
    sockets: &'a Sockets,
    _viewers: Vec<Viewer>,
}

impl<'a> Stage<'a> {
    fn new(clip: &'a Clip, sockets: &'a Sockets) -> Self {
        // What was pushed is due at once; a window here is what is pushed between two flushes.
        let settings = settings(Duration::ZERO);
        let hub = Rc::new(RefCell::new(Hub::new(Arc::default(), Instant::now())));
        let publisher = clip.publish(&hub, &settings);
        let (_, format) = FORMATS[0];
        let viewers = sockets.near.iter();
        let viewers =
            viewers.map(|socket| watch(&hub, &settings, format, socket.as_raw_fd())).collect();
        let frames: Box<dyn Iterator<Item = Frame>> = Box::new(clip.endless());
        let frames = frames.peekable();
        let mut stage = Self { hub, publisher, frames, until_ns: 0, sockets, _viewers: viewers };
        // The first writes have what only newcomers get.
        for _ in 0..3 {
            stage.window();
        }
        stage
    }

    /// Pushes the next frames, and flushes them. Answers how long the flush took.
    fn window(&mut self) -> Duration {
        self.until_ns += WINDOW_NS;
        let until_ns = self.until_ns;
        while let Some(frame) = self.frames.next_if(|frame| frame.dts.as_nanos() < until_ns) {
            self.publisher.push(frame, Instant::now()).expect("it holds the key");
        }
        let (start, now) = (cpu_time(), Instant::now());
        let mut hub = self.hub.borrow_mut();
        hub.set_now(now);
        hub.handle_timeout(now);
        drop(hub);
        while flush::turn(&self.hub, fd::send) {}
        let took = cpu_time() - start;
        self.sockets.drain();
        took
    }
}

/// Connected pairs.
struct Sockets {
    near: Vec<TcpStream>,
    far: Vec<TcpStream>,
}

impl Sockets {
    fn new(count: usize) -> io::Result<Self> {
        corecast_load::fds::allow(2 * count)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (mut near, mut far) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for _ in 0..count {
            far.push(TcpStream::connect(address)?);
            let (socket, _) = listener.accept()?;
            socket.set_nodelay(true)?;
            near.push(socket);
        }
        Ok(Self { near, far })
    }

    /// One send to each. Answers how long they took.
    fn floor(&self, block: &[u8]) -> Duration {
        let start = cpu_time();
        for socket in &self.near {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let taken = rustix::net::send(socket, block, flags).expect("it was emptied");
            assert_eq!(taken, block.len(), "a socket buffer holds a window");
        }
        let took = cpu_time() - start;
        self.drain();
        took
    }

    /// Throws away what has come, in the kernel.
    fn drain(&self) {
        let mut scratch = [0; 1 << 16];
        for socket in &self.far {
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            while rustix::net::recv(socket, &mut scratch, flags).is_ok_and(|(_, count)| count > 0) {
            }
        }
    }
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
