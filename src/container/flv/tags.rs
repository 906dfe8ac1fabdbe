use bytes::Bytes;

use super::{Demux, Error, Item, Limits, Notice, TagKind};
use crate::time::{Timestamp, Unwrap};

/// Demultiplexes the tags of one publisher, whose times are milliseconds in 32 bits and go round.
#[derive(Debug)]
pub struct Tags {
    demux: Demux,
    /// Audio and video share one unfolder, because both count on one clock: with one each, the
    /// kind that joins after a wrap would land 2^32 ms away from the other.
    clock_ms: Unwrap,
}

impl Tags {
    /// Before the first tag.
    pub fn new(limits: Limits) -> Self {
        Self { demux: Demux::new(limits), clock_ms: Unwrap::new(32) }
    }

    /// Takes one tag and appends what it held to `items`.
    ///
    /// # Errors
    /// As [`Demux::push`].
    pub fn push(
        &mut self,
        kind: TagKind,
        time_ms: u32,
        body: Bytes,
        items: &mut Vec<Item>,
    ) -> Result<(), Error> {
        let wire = u64::from(time_ms);
        let millis = match kind {
            // Data may sit at zero for ever; it must not lead the clock astray.
            TagKind::Script => self.clock_ms.clone().unfold(wire),
            TagKind::Audio | TagKind::Video => self.clock_ms.unfold(wire),
        };
        self.demux.push(kind, Timestamp::from_millis(millis), body, items)
    }

    /// The next notice. Each is told once, however often its cause comes.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.demux.poll_notice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_that_joins_after_a_wrap_is_beside_the_pictures_and_data_moves_no_clock() {
        let mut tags = Tags::new(Limits::default());
        let mut time_of = |kind, time_ms, body: &'static [u8]| {
            let mut items = Vec::new();
            tags.push(kind, time_ms, Bytes::from_static(body), &mut items).expect("right");
            match items.pop() {
                Some(Item::Frame(frame)) => frame.dts.as_millis(),
                other => panic!("{other:?}"),
            }
        };
        let mp3 = b"\x2fsound";
        assert_eq!(time_of(TagKind::Audio, u32::MAX, mp3), i64::from(u32::MAX));
        assert_eq!(time_of(TagKind::Script, 0, b"\x02\0\x04text"), 1 << 32);
        assert_eq!(time_of(TagKind::Audio, 22, mp3), (1 << 32) + 22);
        time_of(TagKind::Script, 1 << 31, b"\x02\0\x04text");
        assert_eq!(time_of(TagKind::Audio, 44, mp3), (1 << 32) + 44);
    }
}
