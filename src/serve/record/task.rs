//! A recording's life: blocks from its tap, to its files, until one of the two ends.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::Running;
use super::segment::Segment;
use super::syncs::Syncs;
use crate::net::rt::Deadline;
use crate::plane::{Piece, TapEnd};
use crate::serve::core::Core;
use crate::serve::event::{Event, RecordEnd};

/// How a recording ended.
struct End {
    reason: String,
    /// It was not to end yet.
    failed: bool,
}

/// What a task wakes up for.
enum Wake {
    Piece(Piece),
    /// What had come when a sync was due is written.
    Written,
    /// What has come is to be written and made durable.
    SyncIsDue,
    /// Somebody wants it to end.
    Stop(&'static str),
    Ended(TapEnd),
}

struct Task<'a> {
    core: &'a Core,
    running: &'a Running,
    segment: Option<Segment>,
    syncs: Syncs,
    /// Why it ends with what had come when somebody wanted it to.
    stops: Option<&'static str>,
    deadline: Deadline,
    /// Since when tracks are counted that were others than those before, and how many.
    changes: (Instant, u32),
}

/// In each minute. Each begins another file, and costs the disk some syncs.
const CHANGES_MAX: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);

pub(super) async fn run(core: &Core, running: &Rc<Running>) {
    let about = &running.about;
    tracing::info!(stream = %about.key, recording = about.id, format = about.format,
        "recording: begins");
    core.node.events.tell(Event::RecordStarted(about.clone()));
    let now = Instant::now();
    let mut task = Task {
        core,
        running,
        segment: None,
        syncs: Syncs::new(running.rules.sync, now),
        stops: None,
        deadline: Deadline::default(),
        changes: (now, 0),
    };
    let mut end = task.write().await;
    if let Err(failed) = task.finish().await
        && !end.failed
    {
        end = failed;
    }
    over(core, running, &end);
}

/// Its task has ended by a panic. The file that it was at stays as after a crash.
pub(super) fn panicked(core: &Core, running: &Rc<Running>) {
    over(core, running, &End { reason: "its task panicked".to_owned(), failed: true });
}

fn over(core: &Core, running: &Rc<Running>, end: &End) {
    running.tell_end(core, end);
    core.recordings.remove(running);
    core.node.recordings.running.fetch_sub(1, Ordering::Relaxed);
}

impl Task<'_> {
    /// Writes until there is no more, or it can write no more.
    async fn write(&mut self) -> End {
        loop {
            let done = match self.wait().await {
                Wake::Piece(piece) => self.take(&piece).await,
                Wake::SyncIsDue => {
                    let now = Instant::now();
                    self.running.tap.seal(now);
                    self.syncs.is_due(self.running.tap.waiting(), now);
                    Ok(())
                }
                Wake::Written => self.sync().await,
                Wake::Stop(reason) => {
                    // What has come until now belongs to it.
                    self.stops = Some(reason);
                    self.running.tap.close(Instant::now());
                    Ok(())
                }
                Wake::Ended(end) => {
                    let failed = matches!(end, TapEnd::TooSlow(_));
                    let reason = match (end, self.stops) {
                        (TapEnd::Closed, Some(stops)) => stops.to_owned(),
                        (end, _) => end.to_string(),
                    };
                    return End { reason, failed };
                }
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Pieces come last: while a disk is hardly fast enough, one is always there.
    async fn wait(&mut self) -> Wake {
        poll_fn(|cx| {
            let stop = self.running.poll_stop(cx);
            if let Some(reason) = stop.filter(|_| self.stops.is_none()) {
                return Poll::Ready(Wake::Stop(reason));
            }
            if self.syncs.begins() {
                return Poll::Ready(Wake::Written);
            }
            if self.deadline.poll(cx, self.syncs.due_at()).is_ready() {
                return Poll::Ready(Wake::SyncIsDue);
            }
            self.running.tap.poll_piece(cx).map(|piece| match piece {
                Ok(piece) => {
                    self.syncs.takes_piece();
                    Wake::Piece(piece)
                }
                Err(end) => Wake::Ended(end),
            })
        })
        .await
    }

    async fn take(&mut self, piece: &Piece) -> Result<(), End> {
        let rules = &self.running.rules;
        let changes = |segment: &Segment| segment.changes_before(piece, rules);
        let is_full = |segment: &Segment| segment.is_full_before(piece, rules);
        if self.segment.as_ref().is_some_and(changes) {
            self.count_change(Instant::now())?;
            self.finish().await?;
        } else if self.segment.as_ref().is_some_and(is_full) {
            self.finish().await?;
        }
        if self.segment.is_none() {
            let sequence = self.running.files.get();
            let open = &self.core.node.recordings.open;
            let create = Segment::create(rules, &self.running.about, sequence, piece, open);
            let created = self.watched(create).await;
            let segment = created.map_err(|error| End::failed(&rules.directory, &error))?;
            self.running.files.set(sequence + 1);
            self.count(segment.bytes());
            self.running.file.replace(Some(segment.path().to_owned()));
            self.segment = Some(segment);
        }
        let Some(mut segment) = self.segment.take() else { return Ok(()) };
        let before = segment.bytes();
        let appended = self.watched(segment.append(piece)).await;
        self.count(segment.bytes() - before);
        let appended = appended.map_err(|error| End::failed(segment.path(), &error));
        self.segment = Some(segment);
        appended
    }

    fn count_change(&mut self, now: Instant) -> Result<(), End> {
        let (since, changes) = &mut self.changes;
        if now.duration_since(*since) >= MINUTE {
            (*since, *changes) = (now, 0);
        }
        *changes += 1;
        if *changes > CHANGES_MAX {
            let reason = format!(
                "expected other tracks, each of which begins a file, at most {CHANGES_MAX} times a minute, \
                 found more"
            );
            return Err(End { reason, failed: true });
        }
        Ok(())
    }

    fn count(&self, bytes: u64) {
        self.running.bytes.set(self.running.bytes.get() + bytes);
        self.core.node.recordings.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    async fn sync(&mut self) -> Result<(), End> {
        let Some(mut segment) = self.segment.take() else { return Ok(()) };
        let synced = self.watched(segment.sync()).await;
        let synced = synced.map_err(|error| End::failed(segment.path(), &error));
        self.segment = Some(segment);
        synced
    }

    /// Ends the file that is being written, if there is one.
    async fn finish(&mut self) -> Result<(), End> {
        let Some(segment) = self.segment.take() else { return Ok(()) };
        let path = segment.path().to_owned();
        let finished = self.watched(segment.finish()).await;
        self.running.file.take();
        match finished {
            Ok(segment) => {
                let recording = self.running.about.clone();
                tracing::info!(stream = %recording.key, recording = recording.id,
                    file = segment.file, bytes = segment.bytes,
                    duration_s = segment.lasted.as_secs_f64(), "recording: a file is whole");
                self.core.node.events.tell(Event::Segment { recording, segment });
                Ok(())
            }
            Err(error) => Err(End::failed(&path, &error)),
        }
    }

    /// Waits for the disk. If that takes so long that the recording has ended, it is told at once.
    async fn watched<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            if !self.running.told.get()
                && let Poll::Ready(end) = self.running.tap.poll_too_slow(cx)
            {
                let end = End { reason: end.to_string(), failed: true };
                self.running.tell_end(self.core, &end);
            }
            Poll::Pending
        })
        .await
    }
}

impl End {
    fn failed(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self { reason: format!("{}: {error}", path.display()), failed: true }
    }
}

impl Running {
    /// Tells its end, once.
    fn tell_end(&self, core: &Core, end: &End) {
        if self.told.replace(true) {
            return;
        }
        let recording = self.about.clone();
        let (files, bytes, reason) = (self.files.get(), self.bytes.get(), &end.reason);
        let (stream, id) = (&recording.key, &recording.id);
        if end.failed {
            core.node.recordings.failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%stream, recording = id, files, bytes, reason, "recording: failed");
        } else {
            tracing::info!(%stream, recording = id, files, bytes, reason, "recording: ended");
        }
        let (reason, failed) = (reason.as_str().into(), end.failed);
        let end = RecordEnd { reason, failed, files, bytes };
        core.node.events.tell(Event::RecordEnded { recording, end });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::config::{App, Config};
    use crate::media::{AudioCodec, Codec, Frame, StreamKey, Track, TrackKind, VideoCodec};
    use crate::net::rt;
    use crate::plane::Publisher;
    use crate::serve::Mesh;
    use crate::serve::core::Node;
    use crate::shard::CoreId;
    use crate::time::Timestamp;

    fn track(codec: Codec, config: &'static [u8]) -> Track {
        Track { codec, config: Bytes::from_static(config), hdr: None, video: None, audio: None }
    }

    fn picture(ms: i64) -> Frame {
        let (at, data) = (Timestamp::from_millis(ms), Bytes::from_static(&[0; 100]));
        Frame { kind: TrackKind::Video, dts: at, pts: at, key: true, data }
    }

    #[test]
    fn a_recording_of_which_each_picture_would_be_a_file_ends() {
        let root = std::env::temp_dir().join(format!("corecast-changes-{}", std::process::id()));
        let record_directory = root.display().to_string();
        let main = move || async move {
            let app = App { record_directory, ..App::default() };
            let config = Config { app_defaults: Arc::new(app), ..Config::default() };
            let node = Arc::new(Node::new(Mesh::new(1, 16)));
            let core = Core::new(CoreId(0), node, Arc::new(config));
            core.start();
            let key = StreamKey::new("live", "a").expect("valid");
            let request = core.claim(&key).expect("the only core");
            let now = Instant::now();
            let publisher = Publisher::acquire(core.hub(), request, now).expect("nobody is there");
            let avc = |level: u8| {
                let config = Bytes::from(vec![1, 100, 0, level, 0xff, 0xe0, 0, 1]);
                Track { config, ..track(Codec::Video(VideoCodec::H264), &[]) }
            };
            publisher.set_track(avc(0), now);
            publisher.set_track(track(Codec::Audio(AudioCodec::Aac), &[0x12, 1]), now);
            publisher.push(picture(0), now).expect("within limits");
            core.record(&key, None).expect("it is published").expect("there is room");
            let running = core.recordings.of(&key).expect("it has begun");
            let gave_up = now + Duration::from_secs(50);
            for level in 1..200 {
                publisher.set_track(avc(level), Instant::now());
                publisher.push(picture(40 * i64::from(level)), Instant::now()).expect("in limits");
                running.tap.seal(Instant::now());
                while running.tap.waiting() > 0
                    && !core.recordings.is_empty()
                    && Instant::now() < gave_up
                {
                    rt::yield_now().await;
                }
            }
            assert!(core.recordings.is_empty(), "it goes on");
            assert_eq!(running.files.get(), CHANGES_MAX + 1);
            assert_eq!(core.node.recordings.failed.load(Ordering::Relaxed), 1);
        };
        rt::on_a_core(main);
        std::fs::remove_dir_all(&root).expect("ours");
    }

    #[test]
    fn a_recording_ends_when_it_is_to_though_more_comes_than_it_can_write() {
        let root = std::env::temp_dir().join(format!("corecast-task-{}", std::process::id()));
        let record_directory = root.display().to_string();
        let main = move || async move {
            let app = App { record_directory, ..App::default() };
            let config = Config { app_defaults: Arc::new(app), ..Config::default() };
            let node = Arc::new(Node::new(Mesh::new(1, 16)));
            let core = Core::new(CoreId(0), node, Arc::new(config));
            core.start();
            let key = StreamKey::new("live", "a").expect("valid");
            let request = core.claim(&key).expect("the only core");
            let now = Instant::now();
            let publisher = Publisher::acquire(core.hub(), request, now).expect("nobody is there");
            let avc = track(Codec::Video(VideoCodec::H264), &[1, 100, 0, 31, 0xff, 0xe0, 0, 1]);
            publisher.set_track(avc, now);
            publisher.set_track(track(Codec::Audio(AudioCodec::Aac), &[0x12, 1]), now);
            publisher.push(picture(0), now).expect("within limits");
            core.record(&key, None).expect("it is published").expect("there is room");
            let running = core.recordings.of(&key).expect("it has begun");
            let gave_up = now + Duration::from_secs(20);
            let mut ms = 0;
            while !core.recordings.is_empty() && Instant::now() < gave_up {
                // A piece waits whenever it looks for one: writing takes longer than a turn.
                if running.tap.waiting() == 0 {
                    ms += 40;
                    publisher.push(picture(ms), Instant::now()).expect("within limits");
                    running.tap.seal(Instant::now());
                }
                if running.bytes.get() > 2000 {
                    core.end_recording(&key, "it is enough");
                }
                rt::yield_now().await;
            }
            assert!(core.recordings.is_empty(), "it goes on: {} bytes", running.bytes.get());
            assert!(running.bytes.get() > 2000);
        };
        rt::on_a_core(main);
        std::fs::remove_dir_all(&root).expect("ours");
    }
}
