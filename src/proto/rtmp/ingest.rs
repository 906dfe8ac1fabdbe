//! Media messages (8, 9, 15, 18 and aggregates, 22) to tracks and frames.

use bytes::Bytes;

use super::command::amf0_of;
use super::{Error, Message, kind};
use crate::bytes::{Reader, Short};
use crate::container::flv::{Item, Limits, Notice, TagKind, Tags};

/// Demultiplexes what one publisher sends.
pub(super) struct Ingest {
    tags: Tags,
    /// Tags in one aggregate, at most: each becomes an event, which is larger than the tag may be.
    aggregate_tags: usize,
}

impl Ingest {
    pub(super) fn new(limits: Limits, aggregate_tags: usize) -> Self {
        Self { tags: Tags::new(limits), aggregate_tags }
    }

    /// True for the kinds [`Self::push`] takes.
    pub(super) fn takes(kind: u8) -> bool {
        matches!(kind, kind::AUDIO | kind::VIDEO | kind::DATA | kind::DATA_AMF3 | kind::AGGREGATE)
    }

    /// Appends what `message` held to `items`. Nothing but kinds that [`Self::takes`] comes here.
    pub(super) fn push(&mut self, message: Message, items: &mut Vec<Item>) -> Result<(), Error> {
        let Message { kind, timestamp_ms, payload, .. } = message;
        let (kind, body) = match kind {
            kind::AUDIO => (TagKind::Audio, payload),
            kind::VIDEO => (TagKind::Video, payload),
            kind::AGGREGATE => return self.push_aggregate(timestamp_ms, &payload, items),
            _ => {
                let body = payload.slice_ref(amf0_of(kind, &payload));
                if is_of_the_session(&body) {
                    return Ok(());
                }
                (TagKind::Script, body)
            }
        };
        Ok(self.tags.push(kind, timestamp_ms, body, items)?)
    }

    /// RTMP 7.1.6: FLV tags in a row. Their times count from the first one's, which stands for
    /// the time of the message.
    fn push_aggregate(
        &mut self,
        timestamp_ms: u32,
        body: &[u8],
        items: &mut Vec<Item>,
    ) -> Result<(), Error> {
        let mut reader = Reader::new(body);
        let mut first_ms = None;
        let mut left = self.aggregate_tags;
        while !reader.is_empty() {
            left = left.checked_sub(1).ok_or_else(|| {
                let found = format!("more than {}", self.aggregate_tags);
                Error::unexpected("aggregate", "a bounded number of tags", found)
            })?;
            let tag = sub_message(&mut reader)
                .map_err(|short| Error::unexpected("aggregate", "whole tags", short.to_string()))?;
            let offset_ms = tag.time_ms.wrapping_sub(*first_ms.get_or_insert(tag.time_ms));
            let time_ms = timestamp_ms.wrapping_add(offset_ms);
            let kind = match tag.kind {
                kind::AUDIO => TagKind::Audio,
                kind::VIDEO => TagKind::Video,
                kind::DATA => TagKind::Script,
                other => {
                    let found = format!("message type {other}");
                    return Err(Error::unexpected("aggregate", "audio, video or data", found));
                }
            };
            self.tags.push(kind, time_ms, tag.body, items)?;
        }
        Ok(())
    }

    /// What the demultiplexer has to tell the log, each once.
    pub(super) fn poll_notice(&mut self) -> Option<Notice> {
        self.tags.poll_notice()
    }
}

/// Data messages by which a server speaks to its player of this one session; they are no part of
/// the stream, and must not go round in a relay.
fn is_of_the_session(body: &[u8]) -> bool {
    let name = |name: &[u8]| body.get(3..).is_some_and(|text| text.starts_with(name));
    body.first() == Some(&AMF0_STRING) && (name(b"|RtmpSampleAccess") || name(b"onStatus"))
}

const AMF0_STRING: u8 = 2;

struct SubMessage {
    kind: u8,
    time_ms: u32,
    body: Bytes,
}

/// The body is a copy: as a slice, one small frame would keep the whole aggregate in memory.
fn sub_message(reader: &mut Reader<'_>) -> Result<SubMessage, Short> {
    let kind = reader.u8("sub-message type")?;
    let size = reader.u24("sub-message size")? as usize;
    let low = reader.u24("sub-message time")?;
    let time_ms = u32::from(reader.u8("sub-message time")?) << 24 | low;
    reader.u24("sub-message stream id")?;
    let body = Bytes::copy_from_slice(reader.take("sub-message", size)?);
    // The last back pointer is missing from some senders' aggregates.
    if !reader.is_empty() {
        reader.u32("sub-message back pointer")?;
    }
    Ok(SubMessage { kind, time_ms, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_an_aggregate_does_not_keep_the_aggregate() {
        let mp3 = [&[kind::AUDIO, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0][..], b"\x2fsound"].concat();
        let payload = Bytes::from([&mp3[..], &[0, 0, 0, 17], &mp3].concat());
        let message = Message {
            kind: kind::AGGREGATE,
            timestamp_ms: 0,
            stream_id: 1,
            payload: payload.clone(),
        };
        let mut items = Vec::new();
        Ingest::new(Limits::default(), 10).push(message, &mut items).expect("two tags");
        let frames = items.iter().filter_map(|item| match item {
            Item::Frame(frame) => Some(&frame.data),
            _ => None,
        });
        let kept = frames.clone().filter(|data| payload.as_ptr_range().contains(&data.as_ptr()));
        assert_eq!((frames.clone().count(), kept.count()), (2, 0));
    }

    #[test]
    fn data_with_an_amf3_object_is_dropped_and_named() {
        let mut ingest = Ingest::new(Limits::default(), 10);
        let mut push = |kind, body: &[u8]| {
            let payload = Bytes::copy_from_slice(body);
            let mut items = Vec::new();
            let message = Message { kind, timestamp_ms: 0, stream_id: 1, payload };
            ingest.push(message, &mut items).expect("the stream goes on");
            (items.len(), ingest.poll_notice())
        };
        assert_eq!(push(kind::DATA_AMF3, b"\0\x02\0\x04text\x05"), (1, None));
        let object = b"\0\x02\0\x0aonMetaData\x11\x0a\x0b\x01\x01";
        assert_eq!(push(kind::DATA_AMF3, object), (0, Some(Notice::Amf3Script)));
        assert!(Notice::Amf3Script.to_string().contains("AMF3"));
    }
}
