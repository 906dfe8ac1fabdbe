//! A strict reader of MPEG-2 transport streams (ISO/IEC 13818-1): what it takes is right by the
//! letter in all that it looks at, and as close together as receivers expect.
//!
//! Clauses of the standard stand beside what they ask for. Times are ticks of 90 kHz.

use std::collections::HashMap;

/// What is in a transport stream.
#[derive(Debug, Default)]
pub(crate) struct Program {
    /// Of the table in force at the end.
    pub(crate) streams: Vec<Listed>,
    /// Versions of the program's table, in order.
    pub(crate) versions: Vec<u8>,
    /// Access units, and what stands in a PES packet of sound.
    pub(crate) video: Vec<Unit>,
    /// Frames of sound.
    pub(crate) audio: Vec<Unit>,
    /// PES packets of private data, whole.
    pub(crate) private: Vec<Vec<u8>>,
    /// Sections of cues, whole.
    pub(crate) cues: Vec<Vec<u8>>,
    /// Packets that said that the counter of the stream of video or sound jumps.
    pub(crate) jumps: usize,
    /// Clocks that were read.
    pub(crate) clocks: usize,
}

/// A stream as the program's table lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) stream_type: u8,
    pub(crate) pid: u16,
    pub(crate) descriptors: Vec<u8>,
}

/// One access unit.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    /// Unwrapped, as all times here.
    pub(crate) pts: i64,
    /// Where the stream may be begun.
    pub(crate) key: bool,
    /// Of a picture with its start codes, of sound without what the container put before it.
    pub(crate) bytes: Vec<u8>,
}

const PACKET: usize = 188;
const PAT: u16 = 0;
const TICKS_PER_MS: i64 = 90;
/// Many receivers expect that; the standard allows 100 ms (2.7.2).
const CLOCK_STEP_MAX: i64 = 40 * TICKS_PER_MS;
const TABLES_APART_MAX: i64 = 500 * TICKS_PER_MS;
/// Nothing waits longer in a decoder's buffers (2.4.2.6).
const AHEAD_MAX: i64 = 1000 * TICKS_PER_MS;

/// Reads a whole stream, or says what is wrong with it and at which packet.
pub(crate) fn check(bytes: &[u8]) -> Result<Program, String> {
    let mut reader = Reader::default();
    if !bytes.len().is_multiple_of(PACKET) {
        return Err(format!("{} bytes are no whole packets", bytes.len()));
    }
    for (number, packet) in bytes.chunks(PACKET).enumerate() {
        reader.packet(packet).map_err(|what| format!("packet {number}: {what}"))?;
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    program: Program,
    /// By PID: the counter of the last packet.
    counters: HashMap<u16, u8>,
    /// Sections as they were last read, to see what is new.
    sections: HashMap<u16, Vec<u8>>,
    pmt_pid: Option<u16>,
    clock_pid: Option<u16>,
    clock: Option<i64>,
    /// The clock when the two tables were last there.
    tables_at: [Option<i64>; 2],
    /// They were there since the last picture.
    tables: [bool; 2],
    /// PES packets that are not whole, by PID.
    open: HashMap<u16, Pes>,
    dts: HashMap<u16, i64>,
}

/// A PES packet.
struct Pes {
    random_access: bool,
    /// The tables stood before it.
    has_tables: bool,
    /// The last clock before it.
    clock: Option<i64>,
    bytes: Vec<u8>,
}

/// What the header of a packet says.
struct Head {
    pid: u16,
    starts: bool,
    discontinuity: bool,
    random_access: bool,
    pcr: Option<u64>,
}

macro_rules! ensure {
    ($fine:expr, $($what:tt)+) => {
        if !$fine {
            return Err(format!($($what)+));
        }
    };
}

impl Reader {
    fn packet(&mut self, packet: &[u8]) -> Result<(), String> {
        let (head, payload) = self.head(packet)?;
        if let Some(pcr) = head.pcr {
            self.clock(&head, pcr)?;
        }
        let Some(payload) = payload else { return Ok(()) };
        match head.pid {
            PAT => self.section(&head, payload, Self::pat),
            pid if Some(pid) == self.pmt_pid => self.section(&head, payload, Self::pmt),
            pid => match self.program.streams.iter().find(|listed| listed.pid == pid) {
                Some(Listed { stream_type: 0x86, .. }) => {
                    self.program.cues.push(whole_section(&head, payload)?.to_vec());
                    Ok(())
                }
                Some(_) => self.pes(&head, payload),
                None => Err(format!("PID {pid:#x} is not listed before it comes")),
            },
        }
    }

    /// 2.4.3.2 and 2.4.3.4.
    fn head<'a>(&mut self, packet: &'a [u8]) -> Result<(Head, Option<&'a [u8]>), String> {
        ensure!(packet[0] == 0x47, "expected the sync byte, found {:#x}", packet[0]);
        ensure!(packet[1] & 0x80 == 0, "transport_error_indicator is set");
        ensure!(packet[3] & 0xc0 == 0, "it is scrambled");
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        let (has_field, has_payload) = (packet[3] & 0x20 != 0, packet[3] & 0x10 != 0);
        ensure!(has_field || has_payload, "adaptation_field_control is zero");
        let mut head = Head {
            pid,
            starts: packet[1] & 0x40 != 0,
            discontinuity: false,
            random_access: false,
            pcr: None,
        };
        let mut at = 4;
        if has_field {
            let length = usize::from(packet[4]);
            let fits = if has_payload { length <= 182 } else { length == 183 };
            ensure!(fits, "adaptation_field_length is {length}");
            at = 5 + length;
            if length > 0 {
                read_field(&packet[5..at], &mut head)?;
            }
        }
        // 2.4.3.3. Two alike are allowed, and nobody here sends them.
        let counter = packet[3] & 15;
        if let Some(last) = self.counters.insert(pid, counter).filter(|_| !head.discontinuity) {
            let expected = if has_payload { (last + 1) & 15 } else { last };
            ensure!(counter == expected, "PID {pid:#x}: counter {counter}, expected {expected}");
        }
        if head.discontinuity && pid != PAT && Some(pid) != self.pmt_pid {
            self.program.jumps += 1;
            if Some(pid) == self.clock_pid {
                self.clock = None;
                self.tables_at = [None; 2];
            }
            self.finish_pes(pid)?;
        }
        ensure!(has_payload || !head.starts, "a unit starts without a payload");
        Ok((head, has_payload.then(|| &packet[at..])))
    }

    /// 2.4.3.5.
    fn clock(&mut self, head: &Head, pcr: u64) -> Result<(), String> {
        let Some(clock_pid) = self.clock_pid else {
            return Err("a clock before the tables".into());
        };
        ensure!(head.pid == clock_pid, "a clock in PID {:#x}, not {clock_pid:#x}", head.pid);
        let now = match self.clock {
            None => pcr as i64,
            Some(last) => {
                let now = unwrap(pcr, last);
                let step = now - last;
                ensure!(step > 0, "the clock goes back by {} ms", -step / TICKS_PER_MS);
                ensure!(step <= CLOCK_STEP_MAX, "the clock steps by {} ms", step / TICKS_PER_MS);
                now
            }
        };
        self.clock = Some(now);
        self.program.clocks += 1;
        for (table, at) in ["PAT", "PMT"].iter().zip(&mut self.tables_at) {
            let apart = now - *at.get_or_insert(now);
            ensure!(apart <= TABLES_APART_MAX, "no {table} for {} ms", apart / TICKS_PER_MS);
        }
        Ok(())
    }

    /// A table that begins and ends in this packet (2.4.4).
    fn section(
        &mut self,
        head: &Head,
        payload: &[u8],
        read: fn(&mut Self, &[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let section = whole_section(head, payload)?;
        ensure!(section[1] & 0xf0 == 0xb0, "section_syntax_indicator and what follows it");
        ensure!(section[5] & 0xc1 == 0xc1, "current_next_indicator");
        ensure!(section[6..8] == [0, 0], "more than one section");
        let number = usize::from(head.pid != PAT);
        (self.tables_at[number], self.tables[number]) = (self.clock, true);
        if self.sections.get(&head.pid).is_none_or(|last| last != section) {
            if let Some(last) = self.sections.insert(head.pid, section.to_vec()) {
                ensure!(last[5] != section[5], "another table of the same version");
            }
            read(self, section)?;
        }
        Ok(())
    }

    fn pat(&mut self, section: &[u8]) -> Result<(), String> {
        ensure!(section[0] == 0, "table_id of the PAT");
        let programs = &section[8..section.len() - 4];
        ensure!(programs.len() == 4 && programs[..2] != [0, 0], "expected one program");
        self.pmt_pid = Some(u16::from_be_bytes([programs[2] & 0x1f, programs[3]]));
        Ok(())
    }

    fn pmt(&mut self, section: &[u8]) -> Result<(), String> {
        ensure!(section[0] == 2, "table_id of the PMT");
        let body = &section[8..section.len() - 4];
        self.clock_pid = Some(u16::from_be_bytes([body[0] & 0x1f, body[1]]));
        let skipped = usize::from(u16::from_be_bytes([body[2] & 0x0f, body[3]]));
        let mut rest = body.get(4 + skipped..).ok_or("program_info_length")?;
        let mut streams = Vec::new();
        while !rest.is_empty() {
            let (head, after) = rest.split_at_checked(5).ok_or("a stream is cut")?;
            let length = usize::from(u16::from_be_bytes([head[3] & 0x0f, head[4]]));
            let (descriptors, after) = after.split_at_checked(length).ok_or("ES_info_length")?;
            let pid = u16::from_be_bytes([head[1] & 0x1f, head[2]]);
            let descriptors = descriptors.to_vec();
            streams.push(Listed { stream_type: head[0], pid, descriptors });
            rest = after;
        }
        let lists_clock = streams.iter().any(|listed| Some(listed.pid) == self.clock_pid);
        ensure!(lists_clock || streams.is_empty(), "the clock is in no stream");
        for listed in std::mem::replace(&mut self.program.streams, streams) {
            // What has begun ends with the table that lists it.
            self.finish_pes_of(&listed)?;
        }
        self.program.versions.push(section[5] >> 1 & 31);
        Ok(())
    }

    fn pes(&mut self, head: &Head, payload: &[u8]) -> Result<(), String> {
        let pid = head.pid;
        if head.starts {
            self.finish_pes(pid)?;
            let has_tables = self.tables == [true; 2];
            let pes = Pes {
                random_access: head.random_access,
                has_tables,
                clock: self.clock,
                bytes: Vec::new(),
            };
            self.open.insert(pid, pes);
            if self.is_video(pid) {
                self.tables = [false; 2];
            }
        }
        ensure!(!head.random_access || head.starts, "random access where nothing starts");
        match self.open.get_mut(&pid) {
            Some(pes) => pes.bytes.extend_from_slice(payload),
            None => return Err(format!("PID {pid:#x} goes on, and nothing has begun")),
        }
        Ok(())
    }

    fn is_video(&self, pid: u16) -> bool {
        self.program.streams.iter().any(|listed| listed.pid == pid && listed.is_video())
    }

    fn finish_pes(&mut self, pid: u16) -> Result<(), String> {
        let listed = self.program.streams.iter().find(|listed| listed.pid == pid).cloned();
        listed.map_or(Ok(()), |listed| self.finish_pes_of(&listed))
    }

    /// 2.4.3.6.
    fn finish_pes_of(&mut self, listed: &Listed) -> Result<(), String> {
        let Some(Pes { random_access, has_tables, clock, bytes }) = self.open.remove(&listed.pid)
        else {
            return Ok(());
        };
        let pid = listed.pid;
        let wrong = |what: &str| format!("a PES packet of PID {pid:#x}: {what}");
        ensure!(bytes.len() > 9 && bytes[..3] == [0, 0, 1], "{}", wrong("no start code"));
        let length = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
        let (is_video, is_told) = (listed.is_video(), length > 0);
        ensure!(is_told || is_video, "{}", wrong("its length is not told"));
        ensure!(!is_told || length == bytes.len() - 6, "{}", wrong("another length than it has"));
        if listed.is_private() {
            self.program.private.push(bytes);
            return Ok(());
        }
        ensure!(bytes[3] == listed.stream_id()?, "{}", wrong("another stream_id"));
        ensure!(bytes[6] == 0x84, "{}", wrong("flags"));
        let (times, header) = (bytes[7] >> 6, usize::from(bytes[8]));
        ensure!(bytes[7] & 0x3f == 0, "{}", wrong("flags of fields that nobody needs"));
        ensure!(matches!(times, 2 | 3), "{}", wrong("it has no times"));
        ensure!(header == 5 * usize::from(times - 1), "{}", wrong("PES_header_data_length"));
        let near = clock.ok_or("a PES packet before the first clock")?;
        let pts = unwrap(time(&bytes[9..], times)?, near);
        let dts = if times == 3 { unwrap(time(&bytes[14..], 1)?, near) } else { pts };
        ensure!(dts <= pts, "{}", wrong("its PTS is before its DTS"));
        ensure!(dts >= near, "{}", wrong(&format!("its DTS is {} ticks late", near - dts)));
        ensure!(dts <= near + AHEAD_MAX, "{}", wrong("it comes more than a second too early"));
        if let Some(last) = self.dts.insert(pid, dts) {
            ensure!(last <= dts, "{}", wrong("its DTS goes back"));
        }
        let payload = &bytes[9 + header..];
        ensure!(!payload.is_empty(), "{}", wrong("it is empty"));
        if is_video {
            let key = listed.look_at_picture(payload).map_err(|what| wrong(&what))?;
            ensure!(key == random_access, "{}", wrong("random_access_indicator"));
            ensure!(!key || has_tables, "{}", wrong("no tables before a key frame"));
            self.program.video.push(Unit { pts, key, bytes: payload.to_vec() });
        } else {
            let frames = listed.frames(payload).map_err(|what| wrong(&what))?;
            for bytes in frames {
                self.program.audio.push(Unit { pts, key: random_access, bytes });
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Program, String> {
        for pid in self.open.keys().copied().collect::<Vec<_>>() {
            self.finish_pes(pid).map_err(|what| format!("at the end: {what}"))?;
        }
        Ok(self.program)
    }
}

/// The section that begins and ends in this packet (2.4.4).
fn whole_section<'a>(head: &Head, payload: &'a [u8]) -> Result<&'a [u8], String> {
    ensure!(head.starts && payload[0] == 0, "a section does not begin with its packet");
    let length = usize::from(u16::from_be_bytes([payload[2] & 0x0f, payload[3]]));
    let section = payload.get(1..4 + length).ok_or("a section is longer than its packet")?;
    ensure!(crc32(section) == 0, "CRC_32 is wrong");
    let rest = &payload[4 + length..];
    ensure!(rest.iter().all(|byte| *byte == 0xff), "no stuffing behind a section");
    Ok(section)
}

/// An adaptation field behind its length.
fn read_field(field: &[u8], head: &mut Head) -> Result<(), String> {
    let flags = field[0];
    head.discontinuity = flags & 0x80 != 0;
    head.random_access = flags & 0x40 != 0;
    ensure!(flags & 0x2f == 0, "an adaptation field with flags {flags:#x}");
    let mut used = 1;
    if flags & 0x10 != 0 {
        let pcr = field.get(1..7).ok_or("no room for a clock")?;
        let base = u64::from(u32::from_be_bytes([pcr[0], pcr[1], pcr[2], pcr[3]]));
        ensure!(pcr[4] & 0x7e == 0x7e, "reserved bits of a clock");
        let extension = u16::from_be_bytes([pcr[4] & 1, pcr[5]]);
        ensure!(extension < 300, "the extension of a clock is {extension}");
        head.pcr = Some(base << 1 | u64::from(pcr[4] >> 7));
        used = 7;
    }
    ensure!(field[used..].iter().all(|byte| *byte == 0xff), "stuffing is not 0xff");
    Ok(())
}

/// A time of 33 bits in five bytes, behind its prefix.
pub(super) fn time(bytes: &[u8], prefix: u8) -> Result<u64, String> {
    let [a, b, c, d, e] = bytes[..5].try_into().expect("five bytes");
    ensure!(a >> 4 == prefix && a & c & e & 1 == 1, "the marks of a time");
    let high = u64::from(a >> 1 & 7) << 30;
    let middle = u64::from(u16::from_be_bytes([b, c]) >> 1) << 15;
    Ok(high | middle | u64::from(u16::from_be_bytes([d, e]) >> 1))
}

/// The time with these lowest 33 bits that is nearest to `near`.
fn unwrap(wire: u64, near: i64) -> i64 {
    const RANGE: i64 = 1 << 33;
    let step = (wire as i64 - near).rem_euclid(RANGE);
    near + if step < RANGE / 2 { step } else { step - RANGE }
}

/// CRC_32 of annex A; zero for a section with its own.
pub(super) fn crc32(section: &[u8]) -> u32 {
    section.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            let shifted = crc << 1;
            if crc >> 31 == 1 { shifted ^ 0x04c1_1db7 } else { shifted }
        })
    })
}

impl Listed {
    fn is_video(&self) -> bool {
        matches!(self.stream_type, 0x1b | 0x24)
    }

    fn is_opus(&self) -> bool {
        // Registration, and the extension that ETSI TS 103 491 has of it.
        let [5, 4, b'O', b'p', b'u', b's', 0x7f, 2, 0x80, channels] = self.descriptors[..] else {
            return false;
        };
        self.stream_type == 6 && channels > 0
    }

    /// What is in it, and when, is not ours to judge.
    fn is_private(&self) -> bool {
        matches!(self.stream_type, 0x06 | 0x15) && !self.is_opus()
    }

    /// Table 2-22.
    fn stream_id(&self) -> Result<u8, String> {
        Ok(match self.stream_type {
            0x1b | 0x24 => 0xe0,
            3 | 4 | 0x0f => 0xc0,
            0x81 => 0xbd,
            _ if self.is_opus() => 0xbd,
            other => return Err(format!("stream_type {other:#x} of PID {:#x}", self.pid)),
        })
    }

    /// Whether an access unit is a key frame. It begins with its delimiter, and a key frame has its
    /// parameter sets (2.14.1, 2.17.1).
    fn look_at_picture(&self, unit: &[u8]) -> Result<bool, String> {
        let kinds = nal_kinds(unit, self.stream_type == 0x24)?;
        let (delimiter, sets, is_key): (_, &[u8], fn(&u8) -> bool) = match self.stream_type {
            0x24 => (35, &[32, 33, 34], |kind| (16..=21).contains(kind)),
            _ => (9, &[7, 8], |kind| *kind == 5),
        };
        ensure!(kinds.first() == Some(&delimiter), "no delimiter begins {kinds:?}");
        let count = |wanted| kinds.iter().filter(|kind| **kind == wanted).count();
        ensure!(count(delimiter) == 1, "two delimiters in {kinds:?}");
        let first_key = kinds.iter().position(is_key);
        for set in sets.iter().filter(|_| first_key.is_some()) {
            let place = kinds.iter().position(|kind| kind == set);
            let fine = place.is_some_and(|place| Some(place) < first_key);
            ensure!(fine, "no parameter set {set} before a key frame in {kinds:?}");
        }
        Ok(first_key.is_some())
    }

    /// The frames of one PES packet, which holds whole ones.
    fn frames(&self, mut rest: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let (before, length) = match self.stream_type {
                0x0f => adts(rest)?,
                _ if self.is_opus() => opus(rest)?,
                // Frames tell their length only to who knows all their tables.
                3 | 4 => {
                    ensure!(rest.starts_with(&[0xff]) && rest[1] & 0xe0 == 0xe0, "no MPEG sound");
                    (0, rest.len())
                }
                _ => {
                    ensure!(rest.starts_with(&[0x0b, 0x77]), "no AC-3");
                    (0, rest.len())
                }
            };
            let frame = rest.get(before..before + length).ok_or("a frame of sound is cut")?;
            frames.push(frame.to_vec());
            rest = &rest[before + length..];
        }
        Ok(frames)
    }
}

/// Types of the NAL units of an access unit (H.264 annex B, H.265 annex B).
fn nal_kinds(unit: &[u8], hevc: bool) -> Result<Vec<u8>, String> {
    ensure!(unit.starts_with(&[0, 0, 0, 1]), "an access unit without its start code");
    let starts = unit.windows(4).filter(|bytes| bytes[..3] == [0, 0, 1]).map(|bytes| bytes[3]);
    Ok(starts.map(|first| if hevc { first >> 1 & 0x3f } else { first & 0x1f }).collect())
}

/// Bytes of the header, and of the frame behind it (ISO/IEC 14496-3 1.A.2.2).
fn adts(bytes: &[u8]) -> Result<(usize, usize), String> {
    let head: [u8; 7] = bytes.get(..7).and_then(|h| h.try_into().ok()).ok_or("ADTS is cut")?;
    ensure!(head[0] == 0xff && head[1] == 0xf1, "no ADTS of MPEG-4 without a CRC");
    ensure!(head[2] >> 2 & 15 < 13 && head[3] >> 6 | head[2] & 1 != 0, "a rate or no channels");
    ensure!(head[6] & 3 == 0, "more than one block in a frame");
    let length = u32::from_be_bytes([0, head[3] & 3, head[4], head[5]]) >> 5;
    let length = (length as usize).checked_sub(7).ok_or("a frame shorter than its header")?;
    Ok((7, length))
}

/// The same of an Opus control header (ETSI TS 103 491 table 4-2), without trimming.
fn opus(bytes: &[u8]) -> Result<(usize, usize), String> {
    ensure!(bytes.starts_with(&[0x7f, 0xe0]), "no control header of Opus");
    let steps = bytes[2..].iter().take_while(|byte| **byte == 0xff).count();
    let last = bytes.get(2 + steps).ok_or("a control header of Opus is cut")?;
    Ok((3 + steps, 255 * steps + usize::from(*last)))
}
