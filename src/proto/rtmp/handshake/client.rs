use bytes::Bytes;

use super::{
    Arriving, Error, Noise, PACKET_BYTES, Packet, Scheme, VERSION, digest, skip, take_version,
};
use crate::bytes::Chain;

/// Which handshake a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Variant {
    /// As RTMP 1.0 has it; every server knows it.
    #[default]
    Simple,
    /// With a digest in C1. A server that ignores it gets the rest of the simple handshake.
    Digest(Scheme),
}

/// The client's side of the handshake.
///
/// It believes any server: what S2 says is not looked at, because many do not echo C1 well.
#[derive(Debug)]
pub struct Client {
    state: State,
    variant: Variant,
    noise: Noise,
    transmit: Bytes,
}

/// ```text
/// Version -> Challenge -> Answer -> Done
/// ```
#[derive(Debug)]
enum State {
    /// S0 is awaited.
    Version,
    /// S1 is arriving.
    Challenge(Arriving),
    /// S2 is arriving.
    Answer {
        left: usize,
    },
    Done,
}

impl Client {
    /// A client with C0 and C1 ready to be sent. `now_ms` is the time to put into C1, from any
    /// zero; `seed` makes the random bytes, and nothing secret depends on it.
    pub fn new(variant: Variant, now_ms: u32, seed: u64) -> Self {
        let mut noise = Noise(seed);
        let c1 = match variant {
            Variant::Simple => noise.challenge(now_ms, [0; 4]),
            Variant::Digest(scheme) => {
                let mut c1 = noise.challenge(now_ms, DIGEST_VERSION);
                digest::imprint(&mut c1, scheme, digest::CLIENT_KEY);
                c1
            }
        };
        let transmit = [&[VERSION][..], &c1].concat().into();
        Self { state: State::Version, variant, noise, transmit }
    }

    /// Takes what belongs to the handshake from the front of `input`, and answers whether it is
    /// done.
    pub fn handle_input(&mut self, input: &mut &[u8]) -> Result<bool, Error> {
        loop {
            match &mut self.state {
                State::Version => match take_version(input)? {
                    Some(()) => self.state = State::Challenge(Arriving::default()),
                    None => return Ok(false),
                },
                State::Challenge(arriving) => match arriving.take(input) {
                    Some(s1) => {
                        let c2 = self.answer(&s1);
                        // C0 and C1 may still wait, if the server spoke first.
                        self.transmit = [&self.transmit[..], &c2].concat().into();
                        self.state = State::Answer { left: PACKET_BYTES };
                    }
                    None => return Ok(false),
                },
                State::Answer { left } => match skip(left, input) {
                    true => self.state = State::Done,
                    false => return Ok(false),
                },
                State::Done => return Ok(true),
            }
        }
    }

    /// Moves what is to be sent to `out`; false if there was nothing.
    pub fn poll_transmit(&mut self, out: &mut Chain) -> bool {
        let some = !self.transmit.is_empty();
        out.push(std::mem::take(&mut self.transmit));
        some
    }

    /// C2: S1 again, or a proof if digests were asked for and S1 carries one.
    fn answer(&mut self, s1: &Packet) -> Packet {
        let found = match self.variant {
            Variant::Simple => None,
            Variant::Digest(_) => digest::find(s1, digest::SERVER_KEY),
        };
        match found {
            Some((_, peer)) => self.noise.answer(&peer, digest::CLIENT_LONG_KEY),
            None => *s1,
        }
    }
}

/// C1's version when it carries a digest: a Flash Player that knew H.264.
const DIGEST_VERSION: [u8; 4] = [10, 0, 45, 2];
