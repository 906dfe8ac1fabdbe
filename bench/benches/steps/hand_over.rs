//! A connection's way to another core: off the runtime here, through the mesh, onto the runtime
//! there, and back. Two real executors, each pinned.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use corecast::net::{self, Alarm, rt};
use corecast::shard::{self, CoreEnded, CoreId, Mesh, Post, Tell};
use criterion::{BenchmarkId, Criterion, Throughput};

const FIRST: CoreId = CoreId(0);
const SECOND: CoreId = CoreId(1);
/// One turn of the flush loop.
const TURN: Duration = Duration::from_millis(1);
/// How often the alarms are looked at, as the server's control thread does.
const ALARM: Duration = Duration::from_secs(1);

pub(crate) fn benches(criterion: &mut Criterion) {
    let cpus = cpus();
    let &[first, second, ..] = &cpus[..] else {
        return eprintln!("hand-over is left out: it takes two CPUs");
    };
    let mut group = criterion.benchmark_group("hand a connection to another core");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    for (what, busy) in [("that sleeps", false), ("that flushes in turns of 1 ms", true)] {
        let cores = match Cores::launch([first, second], busy) {
            Ok(cores) => cores,
            Err(error) => {
                eprintln!("hand-over is left out: {error}");
                break;
            }
        };
        group.bench_function(BenchmarkId::from_parameter(what), |bencher| {
            bencher.iter_custom(|rounds| cores.bounce(rounds));
        });
    }
    group.finish();
}

/// The mesh between the two: a connection is its socket, an order is a number of rounds, or the end.
type Between = Mesh<OwnedFd, Option<u64>>;

struct Cores {
    mesh: Arc<Between>,
    alarms: [Arc<Alarm>; 2],
    took: Receiver<Duration>,
    ended: Receiver<CoreEnded>,
}

impl Cores {
    fn launch(cpus: [usize; 2], busy: bool) -> Result<Self, String> {
        let mesh = Between::new(2, 64);
        let alarms = [Arc::default(), Arc::default()];
        let ((tell_took, took), (tell_end, ended)) = (channel(), channel());
        let between = Arc::clone(&mesh);
        let end = move |ended| {
            // Nobody asks any more when the launch itself has failed.
            let _ = tell_end.send(ended);
        };
        shard::launch(&cpus, &alarms, end, move |core| {
            let (mesh, took) = (Arc::clone(&between), tell_took.clone());
            async move {
                match core {
                    FIRST => first(mesh, took).await,
                    _ => second(mesh, busy).await,
                }
            }
        })?;
        Ok(Self { mesh, alarms, took, ended })
    }

    /// How long `rounds` hand-overs take, one after the other. Half of them go the other way.
    fn bounce(&self, rounds: u64) -> Duration {
        self.tell(FIRST, || Tell::Order(Some(rounds.div_ceil(2))));
        let took = self.listen(&self.took);
        took.mul_f64(rounds as f64 / (rounds.div_ceil(2) * 2) as f64)
    }

    fn tell(&self, to: CoreId, message: impl Fn() -> Tell<OwnedFd, Option<u64>>) {
        while self.mesh.try_tell(to, message()).is_err() {
            std::thread::sleep(TURN);
        }
    }

    fn listen<T>(&self, to: &Receiver<T>) -> T {
        loop {
            match to.recv_timeout(ALARM) {
                Ok(heard) => return heard,
                Err(RecvTimeoutError::Timeout) => {
                    for alarm in &self.alarms {
                        alarm.ring(Instant::now());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => panic!("a core has ended before its time"),
            }
        }
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        for core in [FIRST, SECOND] {
            self.tell(core, || Tell::Order(None));
        }
        for _ in [FIRST, SECOND] {
            self.listen(&self.ended);
        }
    }
}

/// Sends the socket away and waits for it, as often as it is told to.
async fn first(mesh: Arc<Between>, took: Sender<Duration>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    let address = listener.local_addr().expect("it is bound");
    let _far = TcpStream::connect(address).expect("it listens");
    let (near, _) = listener.accept().expect("somebody has connected");
    let post = Post::new(Arc::clone(&mesh));
    let mut socket = OwnedFd::from(near);
    loop {
        let rounds = match mesh.receive(FIRST).await {
            Tell::Order(Some(rounds)) => rounds,
            _ => return,
        };
        let start = Instant::now();
        for _ in 0..rounds {
            post.hand_over(SECOND, Box::new(socket)).expect("its inbox is empty");
            socket = match mesh.receive(FIRST).await {
                Tell::HandOver(socket) => pass_through(*socket).await,
                _ => return,
            };
        }
        if took.send(start.elapsed()).is_err() {
            return;
        }
    }
}

/// Takes each socket in and sends it back. Beside that it may have other work, without end.
async fn second(mesh: Arc<Between>, busy: bool) {
    if busy {
        rt::spawn(async {
            loop {
                let start = Instant::now();
                while start.elapsed() < TURN {
                    std::hint::spin_loop();
                }
                rt::yield_now().await;
            }
        });
    }
    let state = Rc::new(Cell::new(Some(Waker::noop().clone())));
    let told = Rc::clone(&state);
    rt::spawn_urgent(async move {
        let post = Post::new(Arc::clone(&mesh));
        while let Tell::HandOver(socket) = mesh.receive(SECOND).await {
            let socket = pass_through(*socket).await;
            post.hand_over(FIRST, Box::new(socket)).expect("its inbox is empty");
        }
        told.take().expect("only an end takes the waker").wake();
    });
    // The waker is gone when the end has come.
    poll_fn(|cx| match state.take() {
        None => Poll::Ready(()),
        Some(_) => {
            state.set(Some(cx.waker().clone()));
            Poll::Pending
        }
    })
    .await;
}

/// Onto this core's runtime, which waits for input, and off again.
async fn pass_through(socket: OwnedFd) -> OwnedFd {
    let mut stream = net::TcpStream::arrive(net::Moved::from(socket));
    poll_fn(|cx| {
        assert!(stream.poll_read(cx, &mut [0; 16]).is_pending(), "nobody writes to it");
        Poll::Ready(())
    })
    .await;
    stream.duplicate().expect("there are descriptors left")
}

fn cpus() -> Vec<usize> {
    let allowed = rustix::thread::sched_getaffinity(None).expect("a thread may ask for its own");
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect()
}
