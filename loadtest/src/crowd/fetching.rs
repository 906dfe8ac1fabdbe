//! The socket of a viewer of HLS.

use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::Socket;

use super::seat::{Look, receive, unread};
use crate::inspect::{Findings, Inspector, Moment};
use crate::viewer::Event;
use crate::viewer::hls::{Player, Tally};

/// Connects, then asks and is answered.
pub(super) struct Fetching {
    pub(super) socket: Socket,
    player: Player,
    /// Of one that looks at every byte.
    inspector: Option<Inspector>,
    pub(super) since: Moment,
    is_connected: bool,
    pub(super) is_in: bool,
    /// When the crowd was told to call [`Self::wake`].
    pub(super) alarm: Option<Instant>,
}

/// So many bytes are read to be looked at, at once.
const READ_BYTES: usize = 32 << 10;
/// Reads in one turn; then it is another's.
const READS: usize = 8;

impl Fetching {
    /// `socket` is connecting, as was to begin at `due`.
    pub(super) fn new(
        socket: Socket,
        player: Player,
        looks: bool,
        since: Moment,
        due: Instant,
    ) -> io::Result<Self> {
        if player.is_timed() {
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        }
        let inspector = looks.then(|| Inspector::new(since, due));
        Ok(Self {
            socket,
            player,
            inspector,
            since,
            is_connected: false,
            is_in: false,
            alarm: None,
        })
    }

    /// Whether it does not matter when it reads, within reason.
    pub(super) fn is_patient(&self) -> bool {
        self.is_in && !self.player.hurries()
    }

    /// When it has to be woken, if that is news.
    pub(super) fn new_alarm(&mut self) -> Option<Instant> {
        let due = self.player.poll_timeout();
        let is_news = due != self.alarm;
        self.alarm = due;
        due.filter(|_| is_news)
    }

    /// What it waited for is due.
    pub(super) fn wake(&mut self) -> io::Result<()> {
        self.alarm = None;
        self.player.handle_timeout(Moment::now());
        self.transmit()
    }

    /// The socket is ready. Reads at most `allowed` bytes.
    pub(super) fn look(
        &mut self,
        scratch: &mut [u8],
        findings: &mut Findings,
        tally: &mut Tally,
    ) -> io::Result<Look> {
        if !self.is_connected {
            if let Some(error) = self.socket.take_error()? {
                return Err(error);
            }
            self.is_connected = true;
            self.transmit()?;
            return Ok(Look { asked: true, ..Look::default() });
        }
        let mut look = Look::default();
        for _ in 0..READS {
            let (wanted, count) = match usize::try_from(self.player.skippable()) {
                Ok(0) => self.read(scratch, tally)?,
                rest => self.skip(rest.unwrap_or(usize::MAX), scratch, tally)?,
            };
            look.bytes += count;
            self.tell(findings, &mut look);
            if count < wanted || look.joined.is_some() {
                break;
            }
        }
        self.transmit()?;
        // Not before the crowd is sure to hear of it.
        self.is_in |= look.joined.is_some();
        Ok(look)
    }

    /// Lets the kernel throw bytes away, which copies nothing for TRUNC on TCP (tcp(7)). How many were
    /// wanted, and how many came.
    fn skip(
        &mut self,
        rest: usize,
        scratch: &mut [u8],
        tally: &mut Tally,
    ) -> io::Result<(usize, usize)> {
        let wanted = rest.min(scratch.len());
        let count = receive(&self.socket, &mut scratch[..wanted], RecvFlags::TRUNC)?;
        self.player.skip(count, Moment::now(), tally)?;
        Ok((wanted, count))
    }

    fn read(&mut self, scratch: &mut [u8], tally: &mut Tally) -> io::Result<(usize, usize)> {
        let wanted = match self.inspector {
            Some(_) => READ_BYTES,
            // Heads and playlists; little of a body behind them.
            None => READ_BYTES / 4,
        }
        .min(scratch.len());
        let (count, came) = match self.player.is_timed() {
            true => receive_timed(&self.socket, &mut scratch[..wanted])?,
            false => (receive(&self.socket, &mut scratch[..wanted], RecvFlags::empty())?, None),
        };
        let mut read = Moment::now();
        if let Some(clock_ns) = came {
            read.clock_ns = clock_ns;
        }
        self.player.handle_input(&scratch[..count], read, tally)?;
        Ok((wanted, count))
    }

    /// Tells what happened.
    fn tell(&mut self, findings: &mut Findings, look: &mut Look) {
        let read = Moment::now();
        while let Some(event) = self.player.poll_event() {
            match (event, &mut self.inspector) {
                (Event::Joined { server }, inspector) => {
                    look.joined = Some(server);
                    if let Some(inspector) = inspector {
                        inspector.joined(read.at, findings);
                    }
                }
                (Event::Frame(frame), Some(inspector)) => inspector.take(&frame, read, findings),
                (Event::Fragment(fragment), _) => Inspector::take_fragment(&fragment, findings),
                (Event::Frame(_), None) => {}
            }
        }
    }

    fn transmit(&mut self) -> io::Result<()> {
        let words = self.player.poll_transmit();
        if words.is_empty() {
            return Ok(());
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match rustix::net::send(&self.socket, words.as_bytes(), flags)? == words.len() {
            true => Ok(()),
            false => Err(unread()),
        }
    }

    /// It goes, or the measurement ends.
    pub(super) fn leave(&self, now: Instant, findings: &mut Findings) {
        if let Some(inspector) = &self.inspector {
            inspector.leave(now, findings);
        }
    }
}

/// The same as [`receive`], and when the last of the bytes came, in nanoseconds of `CLOCK_REALTIME`, if
/// the kernel says so (socket(7), `SO_TIMESTAMPNS`).
fn receive_timed(socket: &Socket, into: &mut [u8]) -> io::Result<(usize, Option<u64>)> {
    let mut control = cmsg_space!(TimeSpec);
    let mut slices = [IoSliceMut::new(into)];
    let fd = socket.as_raw_fd();
    let result = recvmsg::<()>(fd, &mut slices, Some(&mut control), MsgFlags::MSG_DONTWAIT);
    let message = match result {
        Ok(message) => message,
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok((0, None)),
        Err(error) => return Err(Errno::from_raw_os_error(error as i32).into()),
    };
    if message.bytes == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up"));
    }
    let mut came = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmTimestampns(time) = control {
            let time = Duration::from(time);
            came = u64::try_from(time.as_nanos()).ok();
        }
    }
    Ok((message.bytes, came))
}
