//! Recordings: each is a task on the core of its stream, which writes to disk what viewers read.
//!
//! Blocks wait for it in a [`Tap`], bounded in bytes. A disk that is full, broken or too slow ends
//! the recording and nothing else. A file is named `….part` until it is whole; a sidecar beside it
//! says what it holds. Whoever writes it has it locked. What a core writes is durable at most
//! `record_sync` later.

mod open;
mod recover;
mod segment;
mod sidecar;
mod syncs;
mod task;

pub(crate) use open::{FileId, OpenFiles};
pub(crate) use recover::{Recovered, recover};
pub(crate) use sidecar::Kept;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use utoipa::ToSchema;

use super::core::Core;
use super::event::Recorded;
use super::guard;
use super::verdict::{Question, Record};
use crate::config::{App, RecordFormat, RecordPath};
use crate::container::flv::HevcForm;
use crate::media::StreamKey;
use crate::plane::{Format, Tag, Tap};

/// The recordings of one core.
#[derive(Debug, Default)]
pub(crate) struct Recordings {
    running: RefCell<Vec<Rc<Running>>>,
    /// How many have begun.
    begun: Cell<u64>,
}

/// What all cores of a node count together, and what they have open.
#[derive(Debug, Default)]
pub struct Counters {
    /// Recordings that are being written.
    pub running: AtomicUsize,
    /// Those that ended because a disk was full, broken or too slow.
    pub failed: AtomicU64,
    /// Bytes that were written.
    pub bytes: AtomicU64,
    /// Files that are being written.
    open: Arc<OpenFiles>,
}

/// A recording at one moment.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RecordingSnapshot {
    /// Distinguishes it from all others.
    pub id: String,
    /// `APP/NAME`.
    pub stream: String,
    /// How it is muxed.
    pub format: &'static str,
    /// Since when, in seconds since 1970.
    pub since: f64,
    /// The file that is being written; none before its first key frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Files that were begun.
    pub files: u32,
    /// Bytes that were written.
    pub bytes: u64,
}

/// Why a recording was not begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordRefused {
    /// It is being recorded.
    #[error("{0} is being recorded already")]
    Already(StreamKey),
    /// There is no place for files.
    #[error("expected a record_directory for the app {0:?}, found none")]
    NoDirectory(String),
}

/// One recording.
#[derive(Debug)]
struct Running {
    about: Arc<Recorded>,
    since: SystemTime,
    tap: Tap,
    rules: Rules,
    /// Why it is to end, if somebody wants it to.
    stop: RefCell<Option<&'static str>>,
    waker: RefCell<Option<Waker>>,
    file: RefCell<Option<PathBuf>>,
    files: Cell<u32>,
    bytes: Cell<u64>,
    /// Its end was told.
    told: Cell<bool>,
}

/// What it goes by: the configuration of when it began.
#[derive(Debug)]
struct Rules {
    directory: PathBuf,
    path: RecordPath,
    format: RecordFormat,
    rotate: Option<Duration>,
    rotate_bytes: Option<u64>,
    sync: Duration,
}

impl Counters {
    /// The files that are being written.
    pub(crate) fn open(&self) -> Arc<OpenFiles> {
        Arc::clone(&self.open)
    }
}

impl Core {
    /// Begins to record `key`, which has just begun, if whoever let its publisher in says so, or else
    /// its app.
    pub(crate) fn record_if_wanted(self: &Rc<Self>, key: &StreamKey) {
        let tag = self.hub.borrow().publisher_tag(key);
        let said = tag.as_ref().and_then(Tag::downcast_ref::<Question>).and_then(|it| it.record);
        let format = match said {
            Some(Record::No) => return,
            Some(Record::Yes) => None,
            Some(Record::As(format)) => Some(format),
            None if self.setup().app(key.app()).is_some_and(|(app, _)| app.record) => None,
            None => return,
        };
        // None: it has ended again.
        if let Some(Err(refused)) = self.record(key, format) {
            tracing::warn!(stream = %key, "not recorded: {refused}");
        }
    }

    /// Begins to record `key`, as its app says unless there is a `format`. `None` if nobody publishes
    /// it here.
    pub(crate) fn record(
        self: &Rc<Self>,
        key: &StreamKey,
        format: Option<RecordFormat>,
    ) -> Option<Result<RecordingSnapshot, RecordRefused>> {
        let setup = self.setup();
        let (app, _) = setup.app(key.app())?;
        if !self.hub.borrow().is_published(key) {
            return None;
        }
        if self.recordings.of(key).is_some() {
            return Some(Err(RecordRefused::Already(key.clone())));
        }
        if app.record_directory.is_empty() {
            return Some(Err(RecordRefused::NoDirectory(key.app().to_owned())));
        }
        let rules = Rules::of(app, format.unwrap_or(app.record_format));
        let format = match rules.format {
            RecordFormat::Flv => Format::Flv { hevc: HevcForm::Enhanced },
            RecordFormat::Ts => Format::Ts,
            RecordFormat::Fmp4 => Format::Fmp4,
        };
        let tap = Tap::open(&self.hub, key, format, app.record_buffer, Instant::now())?;
        let since = SystemTime::now();
        let number = self.recordings.begun.replace(self.recordings.begun.get() + 1);
        let age = since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = format!("{:x}-{:x}-{number:x}", age.as_millis(), self.id.0);
        let about = Recorded { id, key: key.clone(), format: format.name() };
        let running = Rc::new(Running {
            about: Arc::new(about),
            since,
            tap,
            rules,
            stop: RefCell::default(),
            waker: RefCell::default(),
            file: RefCell::default(),
            files: Cell::new(0),
            bytes: Cell::new(0),
            told: Cell::new(false),
        });
        self.recordings.running.borrow_mut().push(Rc::clone(&running));
        self.node.recordings.running.fetch_add(1, Ordering::Relaxed);
        let snapshot = running.snapshot();
        let [core, end_of] = [Rc::clone(self), Rc::clone(self)];
        let told = Rc::clone(&running);
        let task = async move { task::run(&core, &running).await };
        guard::spawn(self, task, move || task::panicked(&end_of, &told));
        Some(Ok(snapshot))
    }

    /// Ends the recording of `key`. False if there is none here.
    pub(crate) fn end_recording(&self, key: &StreamKey, reason: &'static str) -> bool {
        match self.recordings.of(key) {
            Some(running) => {
                running.end(reason);
                true
            }
            None => false,
        }
    }
}

impl Recordings {
    /// All of them.
    pub(crate) fn snapshots(&self) -> Vec<RecordingSnapshot> {
        self.running.borrow().iter().map(|running| running.snapshot()).collect()
    }

    /// True if there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.running.borrow().is_empty()
    }

    /// The one of `key` that has not come to its end.
    fn of(&self, key: &StreamKey) -> Option<Rc<Running>> {
        let running = self.running.borrow();
        let goes_on = |it: &&Rc<Running>| it.about.key == *key && it.goes_on();
        running.iter().find(goes_on).cloned()
    }

    fn remove(&self, ended: &Rc<Running>) {
        self.running.borrow_mut().retain(|running| !Rc::ptr_eq(running, ended));
    }
}

impl Running {
    fn goes_on(&self) -> bool {
        self.stop.borrow().is_none() && !self.told.get() && !self.tap.has_ended()
    }

    fn end(&self, reason: &'static str) {
        self.stop.borrow_mut().get_or_insert(reason);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Why it is to end; whoever asks is woken when it is.
    fn poll_stop(&self, cx: &Context<'_>) -> Option<&'static str> {
        self.waker.replace(Some(cx.waker().clone()));
        *self.stop.borrow()
    }

    fn snapshot(&self) -> RecordingSnapshot {
        let file = self.file.borrow();
        RecordingSnapshot {
            id: self.about.id.clone(),
            stream: self.about.key.to_string(),
            format: self.about.format,
            since: unix(self.since),
            file: file.as_ref().map(|file| file.display().to_string()),
            files: self.files.get(),
            bytes: self.bytes.get(),
        }
    }
}

impl Rules {
    fn of(app: &App, format: RecordFormat) -> Self {
        Self {
            directory: PathBuf::from(&app.record_directory),
            path: app.record_path.clone(),
            format,
            rotate: Some(app.record_rotate).filter(|time| !time.is_zero()),
            rotate_bytes: Some(app.record_rotate_bytes as u64).filter(|bytes| *bytes > 0),
            sync: app.record_sync,
        }
    }
}

/// In seconds since 1970, to the millisecond.
fn unix(at: SystemTime) -> f64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs_f64() * 1000.0).round() / 1000.0
}
