//! The floor: the bare cost of live streaming on this machine. One thread, one `send` per viewer
//! and window, and nothing else. Viewers come by HTTP; what they get is no stream.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::server::{self, Process};
use crate::{fds, units};

/// What is sent, and to how many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Sending begins when so many are there. Those that come later are served too.
    pub viewers: usize,
    /// For each, in bits per second.
    pub bitrate: u64,
    /// Each gets its bytes once per window.
    pub window: Duration,
}

impl Load {
    /// The floor of a server that writes to each viewer so many times a second: as often as frames
    /// come, if it merges none.
    pub fn with_writes(self, per_second: f64) -> Self {
        Self { window: Duration::from_secs_f64(per_second.recip()), ..self }
    }

    /// Bytes of one viewer's window number `window`, so that all together are the bitrate.
    fn window_bytes(&self, window: u64) -> usize {
        let until = |window: u64| {
            (self.bitrate as f64 / 8.0 * self.window.as_secs_f64() * window as f64) as u64
        };
        (until(window + 1) - until(window)) as usize
    }
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
    listener.set_nonblocking(true)?;
    let begin = Instant::now();
    let mut viewers = Vec::with_capacity(load.viewers);
    while viewers.len() < load.viewers {
        accept(listener, &mut viewers)?;
        if begin.elapsed() > JOIN_PATIENCE {
            return Err(io::Error::other(format!(
                "floor: expected {} viewers within {} s, found {}",
                load.viewers,
                JOIN_PATIENCE.as_secs(),
                viewers.len()
            )));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let stream = vec![0x5a; (load.window_bytes(0) + 1) * WINDOWS_AT_ONCE];
    let (start, mut sent) = (Instant::now(), Sent::default());
    let mut due = start;
    let mut window = 0;
    while !viewers.is_empty() && start.elapsed() < at_most {
        due += load.window;
        match due.checked_duration_since(Instant::now()) {
            Some(wait) => std::thread::sleep(wait),
            None => sent.late += 1,
        }
        let bytes = load.window_bytes(window);
        viewers.retain_mut(|viewer| viewer.send(&stream, bytes, &mut sent));
        window += 1;
        // One call more per window, not per viewer.
        accept(listener, &mut viewers)?;
    }
    Ok(sent)
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

/// Takes all that knock at the moment.
fn accept(listener: &TcpListener, viewers: &mut Vec<Viewer>) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((mut socket, _)) => {
                socket.set_nodelay(true)?;
                // One that has left again is noticed with the first window.
                let _ = socket.write_all(HEAD);
                viewers.push(Viewer { socket, owed: 0 });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The floor as a process of its own, kept on `cores`, and where it listens. Ends when dropped.
///
/// # Errors
/// It could not be started.
pub fn start(cores: &[usize], load: Load, at_most: Duration) -> io::Result<(Process, SocketAddr)> {
    let program = server::beside("corecast-load")?;
    let arguments = [
        "floor".to_owned(),
        "--listen=127.0.0.1:0".to_owned(),
        format!("--viewers={}", load.viewers),
        format!("--bitrate={}k", load.bitrate as f64 / 1000.0),
        format!("--writes={}", load.window.as_secs_f64().recip()),
        format!("--duration={}s", at_most.as_secs()),
    ];
    let command = [program.into_os_string()].into_iter().chain(arguments.map(OsString::from));
    let mut process = Process::start(&command.collect::<Vec<_>>(), cores, None)?;
    let stdout = process.stdout().expect("no file was given for it");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let address = line.trim().parse();
    address.map(|address| (process, address)).map_err(|_| {
        io::Error::other(format!("floor: expected the address it listens on, found {line:?}"))
    })
}

/// The options of `floor`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// Where viewers come to, by HTTP; port 0 is any free one. The address is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Begin when so many have come.
    #[arg(long, default_value_t = 1000)]
    pub viewers: usize,
    /// Bits per second for each (800k, 2M).
    #[arg(long, default_value = "2M", value_parser = units::bitrate)]
    pub bitrate: u64,
    /// Each gets its bytes once per window.
    #[arg(long, default_value = "350ms", value_parser = units::duration)]
    pub window: Duration,
    /// Each gets its bytes so many times a second, instead of a window.
    #[arg(long, conflicts_with = "window", allow_hyphen_values = true,
        value_parser = units::frequency)]
    pub writes: Option<f64>,
    /// Ends after this, or with the last viewer.
    #[arg(long, default_value = "1h", value_parser = units::duration)]
    pub duration: Duration,
}

const EXAMPLE: &str = "\
Example, the floor on one core and its viewers on another:
  taskset -c 0 corecast-load floor --listen 127.0.0.1:8099 --viewers 1000 &
  taskset -c 1 corecast-load play --url http://127.0.0.1:8099/ --viewers 1000 --pid $!

One thread sends the same bytes to each viewer once per window and does nothing else, so no server
can do it for much less on this machine. What it sends is no stream: viewers cannot --inspect it.
`corecast-load compare` measures it between servers by itself.";

/// Serves as the floor until the last viewer has left.
///
/// # Errors
/// As [`serve`], or the address is taken.
pub fn run(args: &Args) -> io::Result<()> {
    let Args { viewers, bitrate, window, writes, .. } = *args;
    let load = Load { viewers, bitrate, window };
    let load = writes.map_or(load, |per_second| load.with_writes(per_second));
    if load.window.is_zero() {
        return Err(io::Error::other("floor: expected a window above 0, or --writes"));
    }
    fds::allow(viewers)?;
    let listener = TcpListener::bind(args.listen)?;
    println!("{}", listener.local_addr()?);
    io::stdout().flush()?;
    let Sent { sends, short, late } = serve(&listener, load, args.duration)?;
    eprintln!("floor: {sends} sends, {short} of them short; {late} windows late");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn windows_of_any_length_add_up_to_the_bitrate() {
        let load = Load { viewers: 1, bitrate: 2_000_000, window: Duration::from_millis(350) };
        let writes = load.with_writes(71.875);
        assert!(writes.window > Duration::from_millis(13) && writes.window < load.window);
        for load in [load, writes, Load { bitrate: 1001, ..writes }] {
            let seconds = 1000.0 * load.window.as_secs_f64();
            let bytes = (0..1000).map(|window| load.window_bytes(window)).sum::<usize>() as f64;
            assert!((bytes * 8.0 / seconds - load.bitrate as f64).abs() < 10.0, "{load:?}");
        }
    }

    #[test]
    fn late_joiners_are_served_and_it_ends_with_the_last() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let load = Load { viewers: 2, bitrate: 800_000, window: Duration::from_millis(10) };
        let floor = std::thread::spawn(move || serve(&listener, load, Duration::from_secs(60)));
        let join = || {
            let mut socket = TcpStream::connect(address).expect("it listens");
            let mut head = vec![0; HEAD.len()];
            socket.read_exact(&mut head).expect("it greets");
            assert_eq!(head, HEAD);
            socket
        };
        let take = |socket: &mut TcpStream| {
            let mut bytes = [0; 3000];
            socket.read_exact(&mut bytes).expect("three windows and a bit");
        };
        let (mut first, mut second) = (join(), join());
        take(&mut first);
        let mut late = join();
        take(&mut late);
        drop(first);
        take(&mut second);
        drop((second, late));
        let sent = floor.join().expect("no panic").expect("all came");
        assert!(sent.sends >= 9, "{sent:?}");
    }
}
