use bytes::Bytes;

use super::{Arriving, Error, Noise, PACKET_BYTES, Packet, VERSION, digest, skip, take_version};
use crate::bytes::Chain;

/// The server's side of the handshake.
///
/// A C1 with a nonzero version and a valid digest is answered with digests in its own scheme, all
/// others simply: S2 is then C1 again, byte for byte, which is what the strictest clients compare.
#[derive(Debug)]
pub struct Server {
    state: State,
    noise: Noise,
    transmit: Bytes,
}

/// ```text
/// Version -> Challenge -> Answer -> Done
/// ```
#[derive(Debug)]
enum State {
    /// C0 is awaited.
    Version,
    /// C1 is arriving.
    Challenge(Arriving),
    /// C2 is arriving; it is not looked at, as clients fill it in various ways.
    Answer {
        left: usize,
    },
    Done,
}

impl Server {
    /// A server that waits for C0. `seed` makes its random bytes and should differ from one
    /// connection to the next; nothing secret depends on it.
    pub fn new(seed: u64) -> Self {
        Self { state: State::Version, noise: Noise(seed), transmit: Bytes::new() }
    }

    /// Takes what belongs to the handshake from the front of `input`, and answers whether it is
    /// done. `now_ms` is the time to put into S1, from any zero.
    pub fn handle_input(&mut self, now_ms: u32, input: &mut &[u8]) -> Result<bool, Error> {
        loop {
            match &mut self.state {
                State::Version => match take_version(input)? {
                    Some(()) => self.state = State::Challenge(Arriving::default()),
                    None => return Ok(false),
                },
                State::Challenge(arriving) => match arriving.take(input) {
                    Some(c1) => {
                        self.transmit = reply(&mut self.noise, now_ms, &c1);
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
}

/// S0, S1 and S2.
fn reply(noise: &mut Noise, now_ms: u32, c1: &Packet) -> Bytes {
    let simple = c1[4..8] == [0; 4];
    let found = if simple { None } else { digest::find(c1, digest::CLIENT_KEY) };
    let (s1, s2) = match found {
        Some((scheme, peer)) => {
            let mut s1 = noise.challenge(now_ms, DIGEST_VERSION);
            digest::imprint(&mut s1, scheme, digest::SERVER_KEY);
            (s1, noise.answer(&peer, digest::SERVER_LONG_KEY))
        }
        None => (noise.challenge(now_ms, [0; 4]), *c1),
    };
    [&[VERSION][..], &s1, &s2].concat().into()
}

/// S1's version when it carries a digest. Clients take a first number below 3 for a server
/// without digests.
const DIGEST_VERSION: [u8; 4] = [4, 5, 0, 1];
