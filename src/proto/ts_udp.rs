//! A transport stream in datagrams, bare or in RTP: datagrams in; tracks, frames and a deadline out.
//!
//! There is no connection. Who sends a transport stream first is the sender, and what others send
//! meanwhile is left out, until the sender has been silent for a second: then the next one takes its
//! place, be it the same encoder started anew. Datagrams that are no transport stream do nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::container::{Item, rtp, ts};

/// What an input takes.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Datagrams of this address alone; `None` for anyone's.
    pub source: Option<IpAddr>,
    /// The number of the program that is routed; `None` for the first.
    pub program: Option<u16>,
    /// Without a frame for so long it is silent.
    pub silence: Duration,
    /// Of the demultiplexer.
    pub ts: ts::Limits,
}

/// What came, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Datagrams of the sender that hold a transport stream.
    pub taken: u64,
    /// Those of others than the sender or the configured source, or of whom nothing is taken.
    pub foreign: u64,
    /// Those that hold no transport stream.
    pub invalid: u64,
    /// RTP packets that did not come, or too late.
    pub lost: u64,
    /// RTP packets that came twice or too late.
    pub late: u64,
    /// Jumps of the counters of transport packets: one or more are missing each time.
    pub discontinuities: u64,
}

/// One input.
#[derive(Debug)]
pub struct Ingest {
    config: Config,
    sender: Option<Box<Sender>>,
    /// Of senders before.
    counts: Counts,
}

/// Who sends.
#[derive(Debug)]
struct Sender {
    address: SocketAddr,
    /// Its latest datagram.
    heard: Instant,
    /// Its latest frame, or its first datagram.
    alive: Instant,
    demux: ts::Demux,
    order: rtp::Order,
    /// Where the next bare datagram begins in a packet: some senders cut anywhere.
    within: usize,
    /// This one does.
    cuts: bool,
}

/// Another may take the place of a sender that has been silent for so long. A sender that is there is
/// heard every 100 ms at least: its clock must come as often (ISO/IEC 13818-1 2.7.2).
const TAKES_OVER: Duration = Duration::from_secs(1);
const PACKET: usize = ts::PACKET_BYTES;
const SYNC: u8 = 0x47;

impl Ingest {
    /// An input that has heard nobody.
    pub fn new(config: Config) -> Self {
        Self { config, sender: None, counts: Counts::default() }
    }

    /// Takes a datagram and appends what it completed to `items`.
    ///
    /// # Errors
    /// The transport stream is one that is not routed; the sender is forgotten.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        items: &mut Vec<Item>,
    ) -> Result<(), ts::Error> {
        if self.config.source.is_some_and(|source| source != from.ip()) {
            self.counts.foreign += 1;
            return Ok(());
        }
        let goes_on = self.sender.as_ref().is_some_and(|sender| sender.address == from);
        if !goes_on {
            let is_there = |it: &Sender| now.saturating_duration_since(it.heard) < TAKES_OVER;
            if self.sender.as_deref().is_some_and(is_there) {
                self.counts.foreign += 1;
                return Ok(());
            }
            if !begins(datagram) {
                self.counts.invalid += 1;
                return Ok(());
            }
            self.finish(items)?;
            self.sender = Some(Box::new(Sender::new(&self.config, from, now)));
        }
        let Some(sender) = &mut self.sender else { return Ok(()) };
        let before = items.len();
        match sender.take(now, datagram, items) {
            Ok(true) => self.counts.taken += 1,
            Ok(false) => {
                self.counts.invalid += 1;
                return Ok(());
            }
            Err(error) => {
                self.forget();
                return Err(error);
            }
        }
        sender.heard = now;
        sender.note_frames(now, &items[before..]);
        Ok(())
    }

    /// A datagram came of somebody of whom nothing is taken now.
    pub fn leave_out(&mut self) {
        self.counts.foreign += 1;
    }

    /// When it will have been silent for too long, or a missing packet will have been waited for.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sender = self.sender.as_ref()?;
        let silent = sender.alive + self.config.silence;
        Some(sender.order.poll_timeout().map_or(silent, |waited| waited.min(silent)))
    }

    /// Appends to `items` what has waited for a missing packet for too long by now. True if it has been
    /// silent for too long: then `items` has what was still open, too, and the next sender begins anew.
    ///
    /// # Errors
    /// As [`Self::handle_datagram`].
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        items: &mut Vec<Item>,
    ) -> Result<bool, ts::Error> {
        let Some(sender) = &mut self.sender else { return Ok(false) };
        let before = items.len();
        if let Err(error) = sender.give_up(now, items) {
            self.forget();
            return Err(error);
        }
        sender.note_frames(now, &items[before..]);
        if now < sender.alive + self.config.silence {
            return Ok(false);
        }
        self.finish(items)?;
        Ok(true)
    }

    /// Nothing follows of this sender: gives out what was open.
    ///
    /// # Errors
    /// As [`Self::handle_datagram`].
    pub fn finish(&mut self, items: &mut Vec<Item>) -> Result<(), ts::Error> {
        let Some(sender) = &mut self.sender else { return Ok(()) };
        let finished = sender.finish(items);
        self.forget();
        finished
    }

    /// Whatever comes next begins anew.
    pub fn forget(&mut self) {
        self.counts = self.counts();
        self.sender = None;
    }

    /// Who sends.
    pub fn sender(&self) -> Option<SocketAddr> {
        Some(self.sender.as_ref()?.address)
    }

    /// The silence after which it is over.
    pub fn silence(&self) -> Duration {
        self.config.silence
    }

    /// It is this from now on.
    pub fn set_silence(&mut self, silence: Duration) {
        self.config.silence = silence;
    }

    /// The next notice of the demultiplexer.
    pub fn poll_notice(&mut self) -> Option<ts::Notice> {
        self.sender.as_mut()?.demux.poll_notice()
    }

    /// What came so far.
    pub fn counts(&self) -> Counts {
        let mut counts = self.counts;
        if let Some(sender) = &self.sender {
            let order = sender.order.counts();
            counts.lost += order.lost;
            counts.late += order.late;
            counts.discontinuities += sender.demux.counts().losses;
        }
        counts
    }
}

impl Sender {
    fn new(config: &Config, address: SocketAddr, now: Instant) -> Self {
        let demux = ts::Demux::new(config.ts);
        let demux = match config.program {
            Some(number) => demux.of_program(number),
            None => demux,
        };
        let order = rtp::Order::default();
        Self { address, heard: now, alive: now, demux, order, within: 0, cuts: false }
    }

    /// False if the datagram is no part of a transport stream.
    fn take(
        &mut self,
        now: Instant,
        datagram: &[u8],
        items: &mut Vec<Item>,
    ) -> Result<bool, ts::Error> {
        // The rest of a packet, then others: first, as it may look like anything, RTP too.
        let next = (PACKET - self.within) % PACKET;
        if self.cuts && datagram.get(next).map_or(next > 0, |byte| *byte == SYNC) {
            self.take_bare(datagram, items)?;
        } else if let Some(packet) = carried(datagram) {
            self.in_order(items, |order, push| order.arrive(now, &packet, push))?;
        } else if let Some(start) = first_packet(datagram) {
            self.within = 0;
            self.take_bare(&datagram[start..], items)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn take_bare(&mut self, content: &[u8], items: &mut Vec<Item>) -> Result<(), ts::Error> {
        self.within = (self.within + content.len()) % PACKET;
        self.cuts |= self.within > 0;
        self.demux.push(content, items)
    }

    /// What has been waited for long enough does not come any more.
    fn give_up(&mut self, now: Instant, items: &mut Vec<Item>) -> Result<(), ts::Error> {
        self.in_order(items, |order, push| order.handle_timeout(now, push))
    }

    fn finish(&mut self, items: &mut Vec<Item>) -> Result<(), ts::Error> {
        self.in_order(items, |order, push| order.flush(push))?;
        self.demux.finish(items)
    }

    /// Has `deliver` push payloads, up to one that is an error.
    fn in_order(
        &mut self,
        items: &mut Vec<Item>,
        deliver: impl FnOnce(&mut rtp::Order, &mut dyn FnMut(&[u8])),
    ) -> Result<(), ts::Error> {
        let (demux, mut taken) = (&mut self.demux, Ok(()));
        deliver(&mut self.order, &mut |payload| {
            if taken.is_ok() {
                taken = demux.push(payload, items);
            }
        });
        taken
    }

    /// It is alive as long as it sends them.
    fn note_frames(&mut self, now: Instant, items: &[Item]) {
        if items.iter().any(Item::is_media) {
            self.alive = now;
        }
    }
}

/// Whether a transport stream may begin with it.
fn begins(datagram: &[u8]) -> bool {
    carried(datagram).is_some() || first_packet(datagram).is_some()
}

/// The RTP packet that it is, if that holds transport packets. Its type is not asked: nobody is there
/// to say what another number than 33 means.
fn carried(datagram: &[u8]) -> Option<rtp::Packet<'_>> {
    let packet = rtp::Packet::parse(datagram).ok()?;
    (!packet.payload.is_empty() && agree(packet.payload)).then_some(packet)
}

/// Where transport packets begin in a bare datagram: at its front, or, if it was cut anywhere, where
/// three of them follow each other.
fn first_packet(datagram: &[u8]) -> Option<usize> {
    let most = datagram.len().checked_sub(PACKET)?;
    let mut starts = 0..PACKET.min(most + 1);
    starts.find(|&at| agree(&datagram[at..]) && (at == 0 || datagram.len() - at > 2 * PACKET))
}

/// Whether each packet in it begins as one.
fn agree(packets: &[u8]) -> bool {
    packets.iter().step_by(PACKET).all(|first| *first == SYNC)
}

#[cfg(test)]
mod tests;
