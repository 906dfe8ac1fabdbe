//! The digest handshake, which Adobe's players and servers speak and RTMP 1.0 leaves out.
//!
//! C1 and S1 carry a nonzero version and, somewhere in their random bytes, the HMAC-SHA256 of all
//! other bytes under a key everyone knows. C2 and S2 are random bytes that end in their own
//! HMAC-SHA256, under a key derived from the other side's digest. It proves nothing, but old
//! players insist on it before they show H.264.
//!
//! ```text
//! digest first: time 4 | version 4 | digest block 764 | key block 764
//! key first:    time 4 | version 4 | key block 764 | digest block 764
//! digest block: offset 4 | noise | digest 32 | noise     (the offset counts from its own end)
//! ```

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Packet;

/// Where in C1 and S1 the digest lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the first block, at byte 8.
    DigestFirst,
    /// In the second block, at byte 772.
    KeyFirst,
}

pub(super) type Digest = [u8; 32];

/// The scheme and digest of a C1 or S1, if it carries one that is valid under `key`.
pub(super) fn find(packet: &Packet, key: &[u8]) -> Option<(Scheme, Digest)> {
    [Scheme::DigestFirst, Scheme::KeyFirst].into_iter().find_map(|scheme| {
        let digest = digest_of(packet, scheme, key);
        let at = position(packet, scheme);
        (packet[at..at + 32] == digest).then_some((scheme, digest))
    })
}

/// Puts the digest into a C1 or S1 that is otherwise complete.
pub(super) fn imprint(packet: &mut Packet, scheme: Scheme, key: &[u8]) {
    let digest = digest_of(packet, scheme, key);
    let at = position(packet, scheme);
    packet[at..at + 32].copy_from_slice(&digest);
}

/// Ends a C2 or S2 with the proof that the peer's digest was read.
pub(super) fn sign(packet: &mut Packet, peer: &Digest, key: &[u8]) {
    let (noise, proof) = packet.split_at_mut(PROOF_AT);
    proof.copy_from_slice(&hmac(&hmac(key, &[peer]), &[noise]));
}

/// The short keys make digests, the long ones (with [`KEY_TAIL`]) make the proofs.
pub(super) const CLIENT_KEY: &[u8] = CLIENT_LONG_KEY.first_chunk::<30>().expect("30 of 62 bytes");
pub(super) const SERVER_KEY: &[u8] = SERVER_LONG_KEY.first_chunk::<36>().expect("36 of 68 bytes");
pub(super) const CLIENT_LONG_KEY: &[u8] = &with_tail::<62>(b"Genuine Adobe Flash Player 001");
pub(super) const SERVER_LONG_KEY: &[u8] = &with_tail::<68>(b"Genuine Adobe Flash Media Server 001");

const KEY_TAIL: [u8; 32] = [
    0xf0, 0xee, 0xc2, 0x4a, 0x80, 0x68, 0xbe, 0xe8, 0x2e, 0x00, 0xd0, 0xd1, 0x02, 0x9e, 0x7e, 0x57,
    0x6e, 0xec, 0x5d, 0x2d, 0x29, 0x80, 0x6f, 0xab, 0x93, 0xb8, 0xe6, 0x36, 0xcf, 0xeb, 0x31, 0xae,
];

const PROOF_AT: usize = size_of::<Packet>() - size_of::<Digest>();

const fn with_tail<const N: usize>(name: &[u8]) -> [u8; N] {
    assert!(name.len() + KEY_TAIL.len() == N);
    let mut key = [0; N];
    let mut at = 0;
    while at < N {
        key[at] = if at < name.len() { name[at] } else { KEY_TAIL[at - name.len()] };
        at += 1;
    }
    key
}

/// Index of the digest. The offset is the sum of four bytes, kept so small that the digest ends
/// inside its block.
fn position(packet: &Packet, scheme: Scheme) -> usize {
    let block = match scheme {
        Scheme::DigestFirst => 8,
        Scheme::KeyFirst => 772,
    };
    let offset: usize = packet[block..block + 4].iter().copied().map(usize::from).sum();
    block + 4 + offset % 728
}

/// The digest a packet should have: over all of it but the digest's own place.
fn digest_of(packet: &Packet, scheme: Scheme, key: &[u8]) -> Digest {
    let at = position(packet, scheme);
    hmac(key, &[&packet[..at], &packet[at + 32..]])
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// True if a C2 or S2 ends in the proof made of `peer` under `key`.
#[cfg(test)]
pub(super) fn is_signed(packet: &Packet, peer: &Digest, key: &[u8]) -> bool {
    let mut expected = *packet;
    sign(&mut expected, peer, key);
    expected == *packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_found_in_the_scheme_it_was_put_in_at_the_extreme_offsets() {
        for scheme in [Scheme::DigestFirst, Scheme::KeyFirst] {
            for fill in [0_u8, 181, 182, 255] {
                // Four times 182 is 728 and wraps to zero; 181 gives 724, near the block's end.
                let mut packet = [fill; 1536];
                imprint(&mut packet, scheme, CLIENT_KEY);
                assert_eq!(find(&packet, CLIENT_KEY).map(|found| found.0), Some(scheme));
                assert_eq!(find(&packet, SERVER_KEY), None);
                packet[1535] ^= 1;
                assert_eq!(find(&packet, CLIENT_KEY), None);
            }
        }
    }

    #[test]
    fn the_long_keys_end_in_the_shared_tail() {
        assert_eq!(CLIENT_KEY, b"Genuine Adobe Flash Player 001");
        assert_eq!(SERVER_KEY, b"Genuine Adobe Flash Media Server 001");
        assert_eq!(CLIENT_LONG_KEY[30..], KEY_TAIL);
        assert_eq!(SERVER_LONG_KEY[36..], KEY_TAIL);
    }
}
