//! Random lives of one stream, checked against a model simple enough to be believed: the list of
//! frames the source took. What a viewer got must be a run of that list.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::tests::{Rig, Watcher, audio_track, flv_tags, frame, metadata, video_track};
use super::*;
use crate::container::flv::{TagKind, previous_tag_size, tag_header};
use crate::media::TrackKind;

/// One frame the source took. Its place in the list is written into its bytes.
#[derive(Debug, Clone, Copy)]
struct Taken {
    kind: TrackKind,
    key: bool,
    at_ms: u64,
    /// Versions of the video and audio configuration in force.
    config: (Option<u8>, Option<u8>),
    has_video: bool,
}

/// What the model knows of the publisher.
#[derive(Debug, Default)]
struct Stream {
    taken: Vec<Taken>,
    config: (Option<u8>, Option<u8>),
    needs_key: bool,
    last_video_ms: Option<u64>,
    stalled: bool,
    left_ms: Option<u64>,
    /// A frame has been taken since the source was new.
    line_begun: bool,
}

struct Viewing {
    watcher: Watcher,
    selection: Selection,
    from_cache: bool,
    joined: usize,
    resumes: usize,
    paused: bool,
    ended: Option<SinkEnd>,
    started: bool,
    /// It was told to leave, at a time at which it had to wait for a key frame for that.
    left_at_key: bool,
    /// The least lag and the least bytes of a log that were allowed since it last had all there was.
    bounds: (Duration, usize),
}

struct Life {
    rig: Rig,
    random: u64,
    stream: Stream,
    publisher: Option<Publisher>,
    viewings: Vec<Viewing>,
    versions: (u8, u8),
    /// Key frames are all that a viewer of video starts at: nobody starts for want of one.
    strict: bool,
    gop: u64,
    frames_checked: usize,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut pick = |from: &[u64]| from[(next(&mut random) % from.len() as u64) as usize];
        let strict = pick(&[0, 1]) == 1;
        let ms = Duration::from_millis;
        let rig = Rig::with(|settings| {
            vary(settings, strict, &mut pick);
            settings.publisher_grace = ms(1500);
            settings.wait_for_publisher = ms(2000);
        });
        let gop = pick(&[3, 12, 60]);
        Self {
            rig,
            stream: Stream::default(),
            publisher: None,
            viewings: Vec::new(),
            versions: (1, 1),
            strict,
            gop,
            random,
            frames_checked: 0,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        next(&mut self.random) % bound
    }

    fn step(&mut self) {
        match self.below(1000) {
            0..600 => self.push(),
            600..800 => {
                let ms = self.below(60);
                self.rig.advance(ms);
            }
            800..850 => self.join(),
            850..880 if !self.viewings.is_empty() => {
                let at = self.below(self.viewings.len() as u64) as usize;
                let viewing = self.viewings.swap_remove(at);
                self.check(&viewing);
            }
            880..960 => self.change_room(),
            960..970 => self.pause_or_resume(),
            970..980 => self.send_private(),
            980..990 => self.change_config(),
            990..995 => self.leave_or_return(),
            995 => self.reconfigure(),
            996 => self.drain_or_stay(),
            997 => {
                let ms = self.below(2500);
                self.rig.advance(ms);
            }
            _ => self.only_sound(),
        }
        self.hear_events();
    }

    fn push(&mut self) {
        let kind = match self.below(10) {
            0..5 => TrackKind::Video,
            5..9 => TrackKind::Audio,
            _ => TrackKind::Data,
        };
        let key = kind == TrackKind::Video && self.below(self.gop) == 0;
        self.push_one(kind, key);
    }

    fn push_one(&mut self, kind: TrackKind, key: bool) {
        let Some(publisher) = &self.publisher else { return };
        let (now, stream) = (self.rig.ms(), &mut self.stream);
        let len = 8 + (next(&mut self.random) % if key { 5000 } else { 800 }) as usize;
        let mut frame = frame(kind, now, key, len);
        let mut data = (stream.taken.len() as u64).to_be_bytes().to_vec();
        data.resize(len, 0);
        frame.data = data.into();
        self.rig.push(publisher, frame);
        let known = match kind {
            TrackKind::Video => stream.config.0.is_some(),
            TrackKind::Audio => stream.config.1.is_some(),
            TrackKind::Data | TrackKind::Private => true,
        };
        if !known || (kind == TrackKind::Video && stream.needs_key && !key) {
            return;
        }
        if kind == TrackKind::Video {
            stream.needs_key = false;
            stream.stalled = false;
            stream.last_video_ms = Some(now);
        } else {
            stream.stalled |= now - *stream.last_video_ms.get_or_insert(now) > 1000;
        }
        let has_video = stream.config.0.is_some() && !stream.stalled;
        stream.line_begun = true;
        stream.taken.push(Taken { kind, key, at_ms: now, config: stream.config, has_video });
    }

    /// Other numbers for the stream that is on: of what is promised to viewers nothing changes.
    fn reconfigure(&mut self) {
        let mut settings = Settings::clone(&self.rig.settings);
        let strict = self.strict;
        let mut pick = |from: &[u64]| from[(next(&mut self.random) % from.len() as u64) as usize];
        vary(&mut settings, strict, &mut pick);
        self.rig.settings = Rc::new(settings);
        let settings = Rc::clone(&self.rig.settings);
        self.rig.hub.borrow_mut().configure(|_| Some(Rc::clone(&settings)));
        self.rig.run();
    }

    /// Some are told to leave; who has not left by the end of the drain stays.
    fn drain_or_stay(&mut self) {
        let now = self.rig.now;
        let count = self.below(3) as usize;
        let ms = self.below(300);
        self.rig.hub.borrow_mut().drain(count, now);
        self.rig.advance(ms);
        self.hear_events();
        for _ in 0..self.below(20) {
            self.push();
            self.rig.advance(20);
        }
        self.hear_events();
        self.rig.hub.borrow_mut().stay();
    }

    fn only_sound(&mut self) {
        for _ in 0..self.below(100) {
            self.push_one(TrackKind::Audio, false);
            self.rig.advance(20);
            self.hear_events();
        }
    }

    fn join(&mut self) {
        if self.viewings.len() >= 12 {
            return;
        }
        let (what, from_cache) = (self.below(4), self.below(4) > 0);
        let selection = Selection { audio: what != 1, video: what != 0 };
        let watcher = self.rig.join_with(|request| {
            request.selection = selection;
            request.from_cache = from_cache;
        });
        let joined = self.stream.taken.len();
        let bounds = (self.rig.settings.max_lag, self.rig.settings.log_max_bytes);
        let viewing = Viewing {
            watcher,
            selection,
            from_cache,
            joined,
            resumes: 0,
            paused: false,
            ended: None,
            started: false,
            left_at_key: false,
            bounds,
        };
        self.viewings.push(viewing);
        self.rig.run();
    }

    fn change_room(&mut self) {
        if self.viewings.is_empty() {
            return;
        }
        let at = self.below(self.viewings.len() as u64) as usize;
        let room = match self.below(6) {
            0 => 0,
            1..4 => self.below(3000) as usize,
            _ => usize::MAX,
        };
        self.rig.socket(&self.viewings[at].watcher).room = room;
    }

    fn pause_or_resume(&mut self) {
        let now = self.rig.now;
        if let Some(viewing) = self.viewings.first_mut() {
            if viewing.paused {
                viewing.watcher.viewer.resume(now);
                viewing.resumes += 1;
            } else {
                viewing.watcher.viewer.pause();
            }
            viewing.paused = !viewing.paused;
        }
        let one = self.viewings.len().min(1);
        self.viewings.rotate_left(one);
    }

    /// A tag of its own among the tags of the stream: it would spoil them inside of one.
    fn send_private(&mut self) {
        let now = self.rig.now;
        for viewing in self.viewings.iter().filter(|viewing| viewing.started) {
            let mut tag = tag_header(TagKind::Script, PRIVATE.len(), 0).to_vec();
            tag.extend_from_slice(PRIVATE);
            tag.extend_from_slice(&previous_tag_size(PRIVATE.len()));
            viewing.watcher.viewer.send(Bytes::from(tag), now);
        }
        self.rig.run();
    }

    fn change_config(&mut self) {
        let Some(publisher) = &self.publisher else { return };
        let now = self.rig.now;
        let video = next(&mut self.random).is_multiple_of(2) && self.stream.config.0.is_some();
        if video {
            self.versions.0 = self.versions.0 % 250 + 1;
            publisher.set_track(video_track(self.versions.0), now);
            self.stream.config.0 = Some(self.versions.0);
            self.push_one(TrackKind::Video, true);
        } else if self.stream.config.1.is_some() {
            self.versions.1 = self.versions.1 % 250 + 1;
            publisher.set_track(audio_track(self.versions.1), now);
            self.stream.config.1 = Some(self.versions.1);
        }
    }

    fn leave_or_return(&mut self) {
        let (ms, now) = (self.rig.ms(), self.rig.now);
        if self.publisher.take().is_some() {
            self.stream.left_ms = Some(ms);
            return;
        }
        let stream = &mut self.stream;
        if stream.left_ms.take().is_some_and(|left| ms >= left + 1500) {
            stream.config = (None, None);
            stream.line_begun = false;
        }
        stream.needs_key = stream.config.0.is_some() || stream.line_begun;
        (stream.last_video_ms, stream.stalled) = (None, false);
        let publisher = self.rig.publish();
        let what = next(&mut self.random) % 4;
        let (video, audio) = (what != 0, what != 1);
        publisher.set_metadata(metadata(video, audio), now);
        stream.config.0 = video.then_some(self.versions.0);
        stream.config.1 = audio.then_some(self.versions.1);
        stream.needs_key &= video;
        if video {
            publisher.set_track(video_track(self.versions.0), now);
        }
        if audio {
            publisher.set_track(audio_track(self.versions.1), now);
        }
        self.publisher = Some(publisher);
    }

    fn hear_events(&mut self) {
        let pictures = self.publisher.is_some()
            && self.stream.taken.last().is_some_and(|taken| taken.has_video);
        let (max_lag, log_bytes) = (self.rig.settings.max_lag, self.rig.settings.log_max_bytes);
        for viewing in &mut self.viewings {
            let stats = viewing.watcher.viewer.stats();
            viewing.bounds = match viewing.bounds {
                _ if stats.lag_bytes == 0 => (max_lag, log_bytes),
                (lag, bytes) => (lag.min(max_lag), bytes.min(log_bytes)),
            };
            while let Some(event) = viewing.watcher.event() {
                assert!(viewing.ended.is_none(), "an event after the end");
                match event {
                    SinkEvent::Started => {
                        assert!(!viewing.started);
                        viewing.started = true;
                    }
                    SinkEvent::NotFound => {
                        assert!(!viewing.started);
                        viewing.ended = Some(SinkEnd::PublisherGone);
                    }
                    SinkEvent::TurnedAway => {
                        assert!(!viewing.started);
                        viewing.ended = Some(SinkEnd::Draining);
                    }
                    SinkEvent::Ended(end) => {
                        let moved = viewing.resumes > 0 || viewing.paused;
                        let moved = moved || stats.skips > 0;
                        let waits = viewing.selection.video && pictures && !moved;
                        let waits = waits && !viewing.lags(stats);
                        viewing.left_at_key = end == SinkEnd::Draining && waits;
                        viewing.ended = Some(end);
                    }
                }
            }
        }
    }

    /// Everything a viewer got so far.
    fn check(&mut self, viewing: &Viewing) {
        let mut got = self.rig.sockets[&viewing.watcher.fd].got.clone();
        let inside = viewing.watcher.viewer.take_rest();
        if !viewing.ended.as_ref().is_some_and(SinkEnd::breaks_off) {
            got.extend_from_slice(&inside.into_bytes());
            assert_eq!(flv_tags(&got).1, 0, "a part of a message");
        }
        let mut headers = (None, None);
        let mut last: Option<usize> = None;
        // Where it started last, until the first picture from there on.
        let mut start = None;
        let mut last_ms = [0; 3];
        let mut gaps = 0;
        for (tag, ms, body) in flv_tags(&got).0 {
            let id = match (tag, body) {
                (9, [0x17, 0, .., version]) => {
                    headers.0 = Some(*version);
                    continue;
                }
                (8, [_, 0, _, version]) => {
                    headers.1 = Some(*version);
                    continue;
                }
                (18, [2, ..] | [0xff, ..]) => continue,
                (9, body) => &body[5..],
                (8, body) => &body[2..],
                (_, body) => body,
            };
            let id = u64::from_be_bytes(*id.first_chunk().expect("8 bytes of id")) as usize;
            let taken = self.stream.taken[id];
            self.frames_checked += 1;
            assert!(viewing.takes(taken.kind), "a track nobody asked for");
            assert!(last_ms[taken.kind as usize] <= ms, "time went back");
            last_ms[taken.kind as usize] = ms;
            let starts = match last {
                None => true,
                Some(last) => {
                    assert!(last < id, "frame {id} after {last}");
                    let between = &self.stream.taken[last + 1..id];
                    let gap = between.iter().any(|taken| viewing.takes(taken.kind));
                    gaps += usize::from(gap);
                    gap
                }
            };
            if starts {
                start = Some(id);
            }
            if taken.kind == TrackKind::Video
                && let Some(start) = start.take()
                && self.strict
            {
                let stats = viewing.watcher.viewer.stats();
                assert!(
                    taken.key || self.started_at_sound(start),
                    "started at {start} after {last:?}, then {id}: {taken:?}, {stats:?}"
                );
            }
            if last.is_none() && !viewing.from_cache && id < viewing.joined {
                panic!("gop=0 got frame {id}, of before frame {}", viewing.joined);
            }
            last = Some(id);
            if viewing.selection.video {
                assert!(taken.config.0.is_none() || headers.0 == taken.config.0, "at {id}");
            }
            if viewing.selection.audio {
                assert!(taken.config.1.is_none() || headers.1 == taken.config.1, "at {id}");
            }
        }
        if let (Some(last), true) = (last, viewing.left_at_key) {
            // Where pictures fail, it may leave anywhere; that they do is noticed late.
            let ahead = &self.stream.taken[last..];
            let soon = |taken: &&Taken| taken.at_ms <= ahead[0].at_ms + 2500;
            let alive = ahead.iter().take_while(soon).all(|taken| taken.has_video);
            let mut pictures = ahead[1..].iter().filter(|taken| taken.kind == TrackKind::Video);
            let next = pictures.next().filter(|_| alive);
            assert!(next.is_none_or(|next| next.key), "left after {last}: {next:?}");
        }
        let stats = viewing.watcher.viewer.stats();
        let allowed = stats.skips as usize + viewing.resumes;
        assert!(gaps <= allowed, "{gaps} gaps, {stats:?}, {} resumes", viewing.resumes);
        assert_eq!(stats.bytes as usize, self.rig.sockets[&viewing.watcher.fd].got.len());
    }

    /// There was no living video. What is kept of the second before it was missed counts too.
    fn started_at_sound(&self, id: usize) -> bool {
        let ahead = &self.stream.taken[id..];
        let soon = |taken: &&Taken| taken.at_ms <= ahead[0].at_ms + 2500;
        let silent = ahead.iter().take_while(soon).any(|taken| !taken.has_video);
        ahead[0].kind != TrackKind::Video && silent
    }

    /// Lets everyone catch up; whoever is left has the last frame. Then all leave, and nothing
    /// is left.
    fn finish(mut self) -> usize {
        let node = self.rig.node.clone();
        for viewing in &mut self.viewings {
            self.rig.sockets.get_mut(&viewing.watcher.fd).expect("open").room = usize::MAX;
            if viewing.paused {
                viewing.watcher.viewer.resume(self.rig.now);
                viewing.resumes += 1;
            }
        }
        self.rig.advance(1000);
        for _ in 0..3 {
            self.push_one(TrackKind::Audio, false);
            self.push_one(TrackKind::Video, true);
            self.rig.advance(1000);
        }
        self.hear_events();
        let viewings = std::mem::take(&mut self.viewings);
        for viewing in &viewings {
            let got = &self.rig.sockets[&viewing.watcher.fd].got;
            let wanted = |taken: &Taken| taken.kind != TrackKind::Data && viewing.takes(taken.kind);
            let last = self.stream.taken.iter().rposition(wanted);
            let moved = viewing.resumes > 0 || viewing.watcher.viewer.stats().skips > 0;
            if viewing.ended.is_none() && viewing.started && !moved {
                let tags = flv_tags(got).0;
                let body = tags
                    .iter()
                    .rev()
                    .find(|(kind, _, body)| !(*kind == 18 || body.get(1) == Some(&0)));
                let id = body.map(|(kind, _, body)| {
                    let head = if *kind == 9 { 5 } else { 2 };
                    u64::from_be_bytes(*body[head..].first_chunk().expect("an id")) as usize
                });
                assert!(id.is_none() || id == last, "got up to {id:?} of {last:?}");
            }
            self.check(viewing);
        }
        drop(viewings);
        self.publisher = None;
        self.rig.advance(10_000);
        let Totals { sources, sinks, viewers, transes, log_bytes, gop_bytes, .. } =
            self.rig.totals();
        assert_eq!((sources, sinks, viewers, transes, log_bytes, gop_bytes), (0, 0, 0, 0, 0, 0));
        assert_eq!(node.waiting_sinks.load(std::sync::atomic::Ordering::Relaxed), 0);
        self.frames_checked
    }
}

impl Viewing {
    /// It leaves at a gap, and waits for no key frame: the log may have let go of what would have
    /// come next, or it lay further behind than anyone may. A viewer that reads all the time gets
    /// there too where a log holds less than comes in one merge window, as here it may, and where
    /// such a bound was wider again when the window was over.
    fn lags(&self, stats: SinkStats) -> bool {
        let (max_lag, log_bytes) = self.bounds;
        // What blocks cost beside their bytes counts in a log too; here it is less than they are.
        u128::from(stats.lag_ms) >= max_lag.as_millis() || 2 * stats.lag_bytes > log_bytes as u64
    }

    fn takes(&self, kind: TrackKind) -> bool {
        match kind {
            TrackKind::Video => self.selection.video,
            TrackKind::Audio => self.selection.audio,
            TrackKind::Data | TrackKind::Private => true,
        }
    }
}

/// Numbers that may change while the stream is on.
fn vary(settings: &mut Settings, strict: bool, pick: &mut impl FnMut(&[u64]) -> u64) {
    let ms = Duration::from_millis;
    settings.merge_window = ms(pick(&[0, 40, 100, 350]));
    settings.gop_cache = pick(&[0, 1, 1]) == 1;
    settings.gop_cache_max = ms(pick(&[500, 3000, 15_000]));
    settings.gop_cache_bytes = pick(&[20_000, 1 << 20]) as usize;
    settings.key_wait = ms(if strict { 1_000_000_000 } else { 1500 });
    settings.max_lag = ms(pick(&[500, 2000, 8000]));
    settings.log_max_bytes = pick(&[20_000, 100_000, 1 << 20]) as usize;
    settings.block_bytes = pick(&[2000, 10_000, 1 << 20]) as usize;
    settings.pinned_max_bytes = pick(&[10_000, 1 << 20]) as usize;
    settings.stall_timeout = ms(pick(&[1000, 4000]));
}

/// A script tag's body that is not the stream's.
const PRIVATE: &[u8] = &[0xff; 20];

fn next(random: &mut u64) -> u64 {
    // xorshift64*
    *random ^= *random >> 12;
    *random ^= *random << 25;
    *random ^= *random >> 27;
    random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
}

fn live(seeds: std::ops::Range<u64>, steps: usize) {
    let mut checked = 0;
    for seed in seeds {
        // The seed of a failure stands above its message.
        println!("seed {seed}");
        let mut life = Life::new(seed);
        for _ in 0..steps {
            life.step();
        }
        checked += life.finish();
    }
    println!("{checked} frames checked");
    assert!(checked > 1000);
}

#[test]
fn viewers_get_runs_of_the_stream_whatever_happens() {
    live(0..300, 1500);
}

#[test]
#[ignore = "takes a minute; for changes of the plane"]
fn viewers_get_runs_of_the_stream_in_long_lives() {
    live(1000..11_000, 2000);
}
