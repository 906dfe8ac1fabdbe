//! The RTMP handshake (RTMP 1.0, 5.2), plain and with Adobe's digests.
//!
//! ```text
//! client                         server
//!   C0 version, C1 challenge  -->
//!                             <--  S0 version, S1 challenge, S2 answer to C1
//!   C2 answer to S1           -->
//! ```
//!
//! C0 and S0 are one byte, all others 1536. RTMPE, the encrypted variant, is refused by name.

mod client;
mod digest;
mod server;

pub use client::{Client, Variant};
pub use digest::Scheme;
pub use server::Server;

/// A handshake that cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The peer wants RTMPE.
    #[error("rtmp/handshake: expected version 3, found {version}, which is RTMPE: not supported")]
    Encrypted {
        /// The first byte it sent: 6, 8 or 9, by cipher.
        version: u8,
    },
    /// The first byte is no version of RTMP; another protocol most likely.
    #[error("rtmp/handshake: expected version 3, found {found}{}", hint(*found))]
    Version {
        /// The first byte the peer sent.
        found: u8,
    },
}

/// What a balancer says before its client does is no RTMP.
fn hint(found: u8) -> &'static str {
    match found {
        b'P' | b'\r' => " (a PROXY protocol header? proxy.trusted names those who may send one)",
        _ => "",
    }
}

/// C1, S1, C2 or S2.
type Packet = [u8; 1536];

const PACKET_BYTES: usize = size_of::<Packet>();
const VERSION: u8 = 3;

/// C0 or S0, taken from `input`; None if it is empty.
fn take_version(input: &mut &[u8]) -> Result<Option<()>, Error> {
    let Some((&version, rest)) = input.split_first() else { return Ok(None) };
    match version {
        VERSION => *input = rest,
        6 | 8 | 9 => return Err(Error::Encrypted { version }),
        found => return Err(Error::Version { found }),
    }
    Ok(Some(()))
}

/// A challenge that arrives in pieces; given up when whole.
#[derive(Debug, Default)]
struct Arriving(Vec<u8>);

impl Arriving {
    fn take(&mut self, input: &mut &[u8]) -> Option<Box<Packet>> {
        let (now, rest) = input.split_at(input.len().min(PACKET_BYTES - self.0.len()));
        self.0.reserve_exact(PACKET_BYTES - self.0.len());
        self.0.extend_from_slice(now);
        *input = rest;
        if self.0.len() < PACKET_BYTES {
            return None;
        }
        let whole = std::mem::take(&mut self.0).into_boxed_slice();
        Some(whole.try_into().expect("1536 bytes were counted"))
    }
}

/// Forgets up to `left` bytes of `input`; true when none are left to forget.
fn skip(left: &mut usize, input: &mut &[u8]) -> bool {
    let (now, rest) = input.split_at(input.len().min(*left));
    *left -= now.len();
    *input = rest;
    *left == 0
}

/// The bytes which the spec calls random. Nothing secret depends on them, so a seed will do
/// (SplitMix64).
#[derive(Debug)]
struct Noise(u64);

impl Noise {
    fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            word.copy_from_slice(&mixed.to_le_bytes()[..word.len()]);
        }
    }

    /// A C1 or S1 without a digest yet.
    fn challenge(&mut self, now_ms: u32, version: [u8; 4]) -> Packet {
        let mut packet = [0; PACKET_BYTES];
        packet[..4].copy_from_slice(&now_ms.to_be_bytes());
        packet[4..8].copy_from_slice(&version);
        self.fill(&mut packet[8..]);
        packet
    }

    /// A C2 or S2 that answers a digest.
    fn answer(&mut self, peer: &digest::Digest, key: &[u8]) -> Packet {
        let mut packet = [0; PACKET_BYTES];
        self.fill(&mut packet);
        digest::sign(&mut packet, peer, key);
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Chain;
    use bytes::Bytes;
    use proptest::prelude::*;

    const VARIANTS: [Variant; 3] =
        [Variant::Simple, Variant::Digest(Scheme::DigestFirst), Variant::Digest(Scheme::KeyFirst)];

    fn said(poll: impl FnOnce(&mut Chain) -> bool) -> Bytes {
        let mut out = Chain::default();
        poll(&mut out);
        out.into_bytes()
    }

    fn packet(bytes: &[u8]) -> &Packet {
        bytes.try_into().expect("1536 bytes")
    }

    /// What the server says to `request` (C0 and C1).
    fn reply_to(request: &[u8]) -> Bytes {
        let mut server = Server::new(7);
        let mut input = request;
        assert_eq!(server.handle_input(1000, &mut input), Ok(false));
        assert!(input.is_empty());
        said(|out| server.poll_transmit(out))
    }

    /// Both ends, each given `step` bytes at a time. What follows the handshake must stay unread.
    fn shake(variant: Variant, step: usize) {
        let (mut client, mut server) = (Client::new(variant, 5, 1), Server::new(2));
        let (mut client_done, mut server_done) = (false, false);
        for _ in 0..3 {
            let request = said(|out| client.poll_transmit(out));
            for mut piece in request.chunks(step) {
                assert!(!server_done);
                server_done = server.handle_input(9, &mut piece).expect("server");
                assert!(piece.is_empty());
            }
            let reply = said(|out| server.poll_transmit(out));
            for mut piece in reply.chunks(step) {
                assert!(!client_done);
                client_done = client.handle_input(&mut piece).expect("client");
                assert!(piece.is_empty());
            }
        }
        assert!(client_done && server_done);
        let mut chunk = &[2_u8, 0, 0][..];
        assert_eq!(server.handle_input(9, &mut chunk), Ok(true));
        assert_eq!(client.handle_input(&mut chunk), Ok(true));
        assert_eq!(chunk.len(), 3);
    }

    #[test]
    fn both_ends_finish_in_every_variant_in_any_pieces() {
        for variant in VARIANTS {
            [1, 7, 1536, 1537, 4000].into_iter().for_each(|step| shake(variant, step));
        }
    }

    #[test]
    fn a_simple_client_gets_its_own_challenge_back() {
        let request = said(|out| Client::new(Variant::Simple, 5, 1).poll_transmit(out));
        let reply = reply_to(&request);
        assert_eq!(reply.len(), 1 + 2 * 1536);
        assert_eq!(reply[0], 3);
        assert_eq!(reply[1..5], 1000_u32.to_be_bytes());
        assert_eq!(reply[5..9], [0; 4]);
        assert_eq!(reply[1537..], request[1..]);
    }

    #[test]
    fn a_digest_client_gets_a_digest_in_its_scheme_and_a_signed_answer() {
        for scheme in [Scheme::DigestFirst, Scheme::KeyFirst] {
            let mut client = Client::new(Variant::Digest(scheme), 5, 1);
            let request = said(|out| client.poll_transmit(out));
            let (_, client_digest) =
                digest::find(packet(&request[1..]), digest::CLIENT_KEY).expect("digest in C1");
            let reply = reply_to(&request);
            let s1 = packet(&reply[1..1537]);
            // libavformat and librtmp go on with digests only if this byte is 3 or more.
            assert!(s1[4] >= 3);
            let (found, server_digest) = digest::find(s1, digest::SERVER_KEY).expect("digest");
            assert_eq!(found, scheme);
            let s2 = packet(&reply[1537..]);
            assert!(digest::is_signed(s2, &client_digest, digest::SERVER_LONG_KEY));

            client.handle_input(&mut &reply[..]).expect("client");
            let c2 = said(|out| client.poll_transmit(out));
            assert!(digest::is_signed(packet(&c2), &server_digest, digest::CLIENT_LONG_KEY));
        }
    }

    #[test]
    fn a_version_without_a_valid_digest_falls_back_to_simple() {
        let mut request =
            said(|out| Client::new(Variant::Simple, 5, 1).poll_transmit(out)).to_vec();
        request[5..9].copy_from_slice(&[9, 0, 124, 2]);
        let reply = reply_to(&request);
        assert_eq!(reply[5..9], [0; 4]);
        assert_eq!(reply[1537..], request[1..]);
    }

    #[test]
    fn a_zero_version_is_answered_simply_even_with_a_digest() {
        let mut c1 = [0; 1536];
        digest::imprint(&mut c1, Scheme::DigestFirst, digest::CLIENT_KEY);
        let reply = reply_to(&[&[3][..], &c1].concat());
        assert_eq!(reply[1537..], c1);
    }

    #[test]
    fn a_client_tolerates_a_server_that_answers_nonsense() {
        for variant in VARIANTS {
            let mut client = Client::new(variant, 5, 1);
            said(|out| client.poll_transmit(out));
            let reply = [&[3][..], &[4; 1536], &[0xee; 1536], b"after"].concat();
            let mut input = &reply[..];
            assert_eq!(client.handle_input(&mut input), Ok(true));
            assert_eq!(input, b"after");
            assert_eq!(said(|out| client.poll_transmit(out)), [4; 1536][..]);
        }
    }

    #[test]
    fn rtmpe_is_refused_by_name_and_other_versions_by_number() {
        let first = |byte| Server::new(0).handle_input(0, &mut &[byte, 0][..]);
        for version in [6, 8] {
            assert_eq!(first(version), Err(Error::Encrypted { version }));
            assert!(Error::Encrypted { version }.to_string().contains("RTMPE"));
        }
        let error = first(b'G').expect_err("HTTP is no RTMP");
        assert_eq!(error.to_string(), "rtmp/handshake: expected version 3, found 71");
        let client = Client::new(Variant::Simple, 0, 0).handle_input(&mut &[6][..]);
        assert_eq!(client, Err(Error::Encrypted { version: 6 }));
    }

    #[test]
    fn a_finished_handshake_keeps_no_memory() {
        assert!(size_of::<Server>() <= 80 && size_of::<Client>() <= 80);
        assert_eq!(Arriving::default().0.capacity(), 0);
    }

    #[test]
    fn the_same_seed_says_the_same_and_another_seed_does_not() {
        let c1 = |seed| said(|out| Client::new(Variant::Simple, 5, seed).poll_transmit(out));
        assert_eq!(c1(1), c1(1));
        assert_ne!(c1(1), c1(2));
    }

    proptest! {
        #[test]
        fn random_bytes_end_in_the_simple_handshake(c1 in prop::collection::vec(any::<u8>(), 1536)) {
            let reply = reply_to(&[&[3], &c1[..]].concat());
            prop_assert_eq!(&reply[1537..], &c1[..]);
        }

        #[test]
        fn random_pieces_never_panic(pieces: Vec<Vec<u8>>) {
            let (mut server, mut client) = (Server::new(1), Client::new(Variant::Simple, 0, 1));
            for piece in [vec![3]].into_iter().chain(pieces) {
                let _ = server.handle_input(0, &mut &piece[..]);
                let _ = client.handle_input(&mut &piece[..]);
            }
        }
    }
}
