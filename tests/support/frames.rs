//! What went in against what came out: ffmpeg's `framemd5` of every packet, with its times.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use super::players::Ffmpeg;

/// One packet: its times in ms and the MD5 of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) dts: i64,
    pub(crate) pts: i64,
    pub(crate) hash: String,
}

/// The packets of a stream, by track, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Recording {
    pub(crate) video: Vec<Packet>,
    pub(crate) audio: Vec<Packet>,
    /// MD5 of the codecs' configurations: of video, of audio.
    pub(crate) config: [Option<String>; 2],
}

/// Where a recording may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// With the first picture that was sent, and all sound from there on.
    First,
    /// At a key frame; they stand this many pictures apart.
    KeyFrame { every: usize },
    /// Anywhere (there is no video).
    Any,
}

/// What a comparison asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expect {
    pub(crate) start: Start,
    /// Packets at the end a player may keep to itself, by track. 0 for those that write all.
    pub(crate) tail: usize,
    /// Whether the configurations come out byte for byte.
    pub(crate) same_config: bool,
    /// How long before the first picture the sound may begin.
    pub(crate) sound_ahead_ms: i64,
    /// How far a time may be from what was sent: not every container counts in milliseconds.
    pub(crate) rounding_ms: i64,
}

impl Expect {
    /// Everything that was sent.
    pub(crate) const WHOLE: Self = Self {
        start: Start::First,
        tail: 0,
        same_config: true,
        sound_ahead_ms: 120,
        rounding_ms: 0,
    };

    /// Everything from a key frame on.
    pub(crate) const fn from_key(every: usize) -> Self {
        Self { start: Start::KeyFrame { every }, ..Self::WHOLE }
    }

    /// The same for a player that loses the last packets by itself.
    pub(crate) const fn but_tail(self, tail: usize) -> Self {
        Self { tail, ..self }
    }

    /// The same for a configuration that the server writes as the spec has it, unlike ffmpeg.
    pub(crate) const fn other_config(self) -> Self {
        Self { same_config: false, ..self }
    }

    /// The same for a container with a clock of its own.
    pub(crate) const fn rounded_by(self, rounding_ms: i64) -> Self {
        Self { rounding_ms, ..self }
    }

    /// The same where sound may be heard before the first key frame comes.
    pub(crate) const fn sound_ahead(self, sound_ahead_ms: i64) -> Self {
        Self { sound_ahead_ms, ..self }
    }
}

impl Recording {
    /// The packets of a file, read with `tool`.
    pub(crate) fn of_file(tool: Ffmpeg, path: &Path) -> Self {
        Self::of_file_with(tool, path, &[])
    }

    /// The same with more output options, such as a filter of bitstreams.
    pub(crate) fn of_file_with(tool: Ffmpeg, path: &Path, options: &[&str]) -> Self {
        let output = Command::new(tool.path())
            .args(["-nostdin", "-v", "error", "-copyts", "-i"])
            .arg(path)
            .args(["-c", "copy"])
            .args(options)
            .args(["-f", "framemd5", "-"])
            .stdin(Stdio::null())
            .output()
            .expect("ffmpeg starts");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ffmpeg cannot read {}: {complaint}", path.display());
        Self::parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// Reads the text of `-f framemd5`. A last line without its end is left out.
    pub(crate) fn parse(text: &str) -> Self {
        let mut recording = Self::default();
        let mut configs: BTreeMap<usize, String> = BTreeMap::new();
        let mut clocks: BTreeMap<usize, (i64, i64)> = BTreeMap::new();
        let mut video: BTreeMap<usize, bool> = BTreeMap::new();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            if let Some(header) = line.strip_prefix('#') {
                let words: Vec<&str> =
                    header.split([' ', ',', ':']).filter(|w| !w.is_empty()).collect();
                let stream = words.get(1).and_then(|n| n.parse::<usize>().ok());
                match (words.first(), stream, words.last()) {
                    (Some(&"extradata"), Some(stream), Some(hash)) => {
                        configs.insert(stream, (*hash).to_owned());
                    }
                    (Some(&"tb"), Some(stream), Some(clock)) => {
                        let (num, den) = clock.split_once('/').expect("a fraction");
                        let parse = |n: &str| n.parse().expect("a number");
                        clocks.insert(stream, (parse(num), parse(den)));
                    }
                    (Some(&"media_type"), Some(stream), Some(kind)) => {
                        video.insert(stream, *kind == "video");
                        if let Some(hash) = configs.get(&stream) {
                            recording.config[usize::from(*kind != "video")] = Some(hash.clone());
                        }
                    }
                    _ => {}
                }
                continue;
            }
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let [stream, dts, pts, _duration, _size, hash, ..] = fields[..] else { continue };
            let stream: usize = stream.parse().expect("a stream number");
            let (num, den) = clocks[&stream];
            // A packet without a time of its own says NOPTS; both of ours have one.
            let ms =
                |ticks: &str| ticks.parse::<i64>().unwrap_or(i64::MIN / 2000) * num * 1000 / den;
            let packet = Packet { dts: ms(dts), pts: ms(pts), hash: hash.to_owned() };
            if video[&stream] { recording.video.push(packet) } else { recording.audio.push(packet) }
        }
        recording
    }

    /// Without its audio track.
    pub(crate) fn without_audio(mut self) -> Self {
        self.audio.clear();
        self.config[1] = None;
        self
    }

    /// Without its video track.
    pub(crate) fn without_video(mut self) -> Self {
        self.video.clear();
        self.config[0] = None;
        self
    }

    /// Panics unless `got` holds what `self` holds, from where `expect` lets it begin to the end:
    /// no packet missing, changed or twice, and the times of both tracks moved by the same amount.
    #[track_caller]
    pub(crate) fn assert_came_out(&self, got: &Self, expect: Expect) {
        if let Err(what) = self.compare(got, expect) {
            panic!("what came out is not what went in: {what}");
        }
    }

    /// See [`Self::assert_came_out`].
    pub(crate) fn compare(&self, got: &Self, expect: Expect) -> Result<(), String> {
        for (kind, sent, came) in [("video", 0, &got.config), ("audio", 1, &got.config)]
            .map(|(kind, i, config)| (kind, &self.config[i], &config[i]))
        {
            let fine = match expect.same_config {
                true => sent == came,
                false => sent.is_some() == came.is_some(),
            };
            if !fine {
                return Err(format!("{kind} configuration: sent {sent:?}, received {came:?}"));
            }
        }
        let video = run_in("video", &self.video, &got.video, expect)?;
        let audio = run_in("audio", &self.audio, &got.audio, expect)?;
        if let (Some(video), Some(audio)) = (&video, &audio) {
            if (video.shift - audio.shift).abs() > expect.rounding_ms {
                let (v, a) = (video.shift, audio.shift);
                return Err(format!("A/V offset changed: video moved by {v} ms, audio by {a} ms"));
            }
            // Sound of before the key frame is of no use; a gap after it would be a loss.
            let picture = self.video[video.start].dts;
            let gap = self.audio[audio.start].dts - picture;
            let missing = self.audio[..audio.start].iter().filter(|sound| sound.dts >= picture);
            if gap > 120 || (expect.start == Start::First && missing.count() > 0) {
                return Err(format!("the first audio is {gap} ms after the first picture"));
            }
            if gap < -expect.sound_ahead_ms {
                return Err(format!("audio begins {} ms before the first picture", -gap));
            }
        }
        let starts = [("video", &video), ("audio", &audio)];
        for (kind, run) in starts.into_iter().filter_map(|(kind, run)| Some((kind, run.as_ref()?)))
        {
            match expect.start {
                Start::First if run.start > 0 && (kind == "video" || self.video.is_empty()) => {
                    return Err(format!("the first {} {kind} packets are missing", run.start));
                }
                Start::KeyFrame { every } if kind == "video" && run.start % every > 0 => {
                    return Err(format!("begins with picture {}, no key frame", run.start));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A run of sent packets that came out.
struct Run {
    /// The index of the first.
    start: usize,
    /// Received time less sent time, in ms.
    shift: i64,
}

/// Finds `got` as an unbroken run of `sent` that reaches its end, all times moved alike.
fn run_in(
    kind: &str,
    sent: &[Packet],
    got: &[Packet],
    expect: Expect,
) -> Result<Option<Run>, String> {
    let Expect { tail, rounding_ms, .. } = expect;
    let Some(first) = got.first() else {
        return match sent.is_empty() {
            true => Ok(None),
            false => Err(format!("no {kind} came out, {} packets were sent", sent.len())),
        };
    };
    let mut best = (0, format!("its first packet ({}) was never sent", first.hash));
    // Packets of silence are alike, so the first may fit in many places.
    for start in (0..sent.len()).filter(|&i| sent[i].hash == first.hash) {
        let shift = first.dts - sent[start].dts;
        let same = |(sent, got): (&Packet, &Packet)| {
            let near = |got: i64, sent: i64| (got - sent - shift).abs() <= rounding_ms;
            sent.hash == got.hash && near(got.dts, sent.dts) && near(got.pts, sent.pts)
        };
        let length = sent[start..].iter().zip(got).take_while(|pair| same(*pair)).count();
        if length == got.len() && start + length + tail >= sent.len() {
            return Ok(Some(Run { start, shift }));
        }
        if length > best.0 {
            let at = start + length;
            let what = match (sent.get(at), got.get(length)) {
                (Some(sent), Some(got)) => format!("then expected {sent:?}, found {got:?}"),
                (Some(_), None) => format!("then {} are missing at the end", sent.len() - at),
                (None, _) => format!("then {} more came than were sent", got.len() - length),
            };
            best = (length, format!("packet {start} and on fit for {length} packets, {what}"));
        }
    }
    Err(format!("{kind}: {} sent, {} received; {}", sent.len(), got.len(), best.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Recording {
        let track = |name: &str| -> Vec<Packet> {
            (0..20)
                .map(|i| Packet { dts: i * 40, pts: i * 40, hash: format!("{name}{i}") })
                .collect()
        };
        Recording { video: track("v"), audio: track("a"), config: [Some("c".to_owned()), None] }
    }

    fn cut(from: usize, shift: i64) -> Recording {
        let mut got = sample();
        for track in [&mut got.video, &mut got.audio] {
            track.drain(..from);
            track.iter_mut().for_each(|p| (p.dts, p.pts) = (p.dts + shift, p.pts + shift));
        }
        got
    }

    #[test]
    fn a_whole_or_later_start_passes() {
        sample().assert_came_out(&sample(), Expect::WHOLE);
        sample().assert_came_out(&cut(5, 777), Expect::from_key(5));
    }

    #[test]
    fn every_kind_of_loss_is_found() {
        let sent = sample();
        let bad = |change: &dyn Fn(&mut Recording), expect: Expect| {
            let mut got = cut(5, 7);
            change(&mut got);
            sent.compare(&got, expect).expect_err("must not pass")
        };
        let key = Expect::from_key(5);
        assert!(bad(&|got| drop(got.video.remove(3)), key).contains("expected"));
        assert!(bad(&|got| drop(got.audio.remove(3)), key).contains("expected"));
        assert!(bad(&|got| drop(got.audio.pop()), key).contains("missing at the end"));
        assert!(bad(&|got| got.video.insert(3, got.video[3].clone()), key).contains("expected"));
        assert!(bad(&|got| got.video[2].pts += 1, key).contains("expected"));
        assert!(bad(&|got| got.video[2].hash.push('x'), key).contains("expected"));
        assert!(
            bad(
                &|got| got.audio.iter_mut().for_each(|p| (p.dts, p.pts) = (p.dts + 1, p.pts + 1)),
                key
            )
            .contains("A/V offset")
        );
        assert!(bad(&|got| drop(got.video.remove(0)), key).contains("no key frame"));
        assert!(bad(&|got| drop(got.audio.drain(..4)), key).contains("first audio"));
        assert!(bad(&|got| got.video.clear(), key).contains("no video"));
        assert!(bad(&|got| got.config[0] = None, key).contains("configuration"));
        assert!(bad(&|_| (), Expect::WHOLE).contains("first 5 video packets are missing"));
    }

    #[test]
    fn framemd5_text_is_read() {
        let text = "#extradata 0,   57, aa\n#tb 0: 1/1000\n#media_type 0: video\n#tb 1: 1/44100\n\
                    #media_type 1: audio\n#stream#, dts, pts\n0, 10, 90, 40, 5, h1\n1, 441, 441, 1, 2, h2\n0, 1";
        let got = Recording::parse(text);
        assert_eq!(got.video, [Packet { dts: 10, pts: 90, hash: "h1".to_owned() }]);
        assert_eq!(got.audio, [Packet { dts: 10, pts: 10, hash: "h2".to_owned() }]);
        assert_eq!(got.config, [Some("aa".to_owned()), None]);
    }
}
