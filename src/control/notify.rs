//! What a service manager is told (sd_notify(3)): that the node is ready, reloads, stops, how it is
//! doing, and, while every core answers, that it lives. Without one, nothing is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, sleep, timeout};

use super::drain::{Progress, State};
use crate::serve::core::Node;

/// The way to the service manager.
#[derive(Debug)]
pub(crate) struct Notify {
    /// Somebody listens.
    heard: bool,
    /// We are killed if we are silent for this long.
    watchdog: Option<Duration>,
}

/// How often the manager hears how it is going, if it has no watchdog.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// A core that has not begun by then is silent.
const STARTS_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked whether all have.
const STARTING: Duration = Duration::from_millis(20);
/// What the manager may wait beyond the end of a drain.
const MARGIN: Duration = Duration::from_secs(10);

impl Notify {
    /// As the environment says.
    pub(crate) fn new() -> Self {
        let heard = std::env::var_os("NOTIFY_SOCKET").is_some();
        Self { heard, watchdog: sd_notify::watchdog_enabled().filter(|_| heard) }
    }

    /// It serves.
    pub(crate) fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// It reads its configuration again; [`Self::ready`] ends that.
    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    /// It is about to end, within `within`.
    pub(crate) fn stopping(&self, within: Duration) {
        let most = u32::try_from((within + MARGIN).as_micros()).unwrap_or(u32::MAX);
        self.tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(most)]);
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        if self.heard
            && let Err(error) = sd_notify::notify(state)
        {
            tracing::warn!(%error, "the service manager (NOTIFY_SOCKET) was not told");
        }
    }

    /// Says that it is ready when every core runs, then that it lives, for as long as it does.
    pub(crate) async fn run(self: Arc<Self>, node: Arc<Node>, drain: watch::Receiver<Progress>) {
        if !self.heard {
            return;
        }
        // Err: one does not run, which is told below.
        let all_run = async {
            while !node.health.all_run() {
                sleep(STARTING).await;
            }
        };
        let _ = timeout(STARTS_WITHIN, all_run).await;
        let interval = self.watchdog.map_or(STATUS_INTERVAL, |limit| limit / 2);
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut ready, mut said) = (false, String::new());
        loop {
            ticks.tick().await;
            let health = node.healthy();
            let status = match &health {
                Ok(()) => status(&node, &drain.borrow()),
                Err(unfit) => unfit.to_string(),
            };
            if status != said {
                self.tell(&[NotifyState::Status(&status)]);
                said = status;
            }
            match health {
                Err(unfit) => tracing::error!("{unfit}"),
                Ok(()) => {
                    if !std::mem::replace(&mut ready, true) {
                        self.ready();
                    }
                    if self.watchdog.is_some() {
                        self.tell(&[NotifyState::Watchdog]);
                    }
                }
            }
        }
    }
}

fn status(node: &Node, drain: &Progress) -> String {
    let Progress { state, viewers_left, publishers_left, .. } = drain;
    match state {
        State::Serving => {
            format!("serving, {} connections", node.counters.connections.load(Ordering::Relaxed))
        }
        State::Drained => "out of service".to_owned(),
        State::Halted => "out of service: its drain was undone, and it does not listen".to_owned(),
        _ => format!("draining, {viewers_left} viewers and {publishers_left} publishers are left"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixDatagram;
    use std::process::{Command, Stdio};
    use std::sync::atomic::AtomicBool;
    use std::time::Instant;

    use super::*;
    use crate::net::rt;
    use crate::serve::Mesh;
    use crate::shard::{self, CoreId};

    /// The variables of a service manager can be set for another process only: this is that. Its
    /// second core sticks as soon as it is sent a byte.
    #[test]
    #[ignore = "a part of the test below"]
    fn two_cores_of_which_one_sticks() {
        let notify = Arc::new(Notify::new());
        assert!(notify.heard);
        let node = Arc::new(Node::new(Mesh::new(2, 16)));
        let sticks = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&sticks);
        let main = move |core| {
            let sticks = Arc::clone(&sticks);
            async move {
                while core != CoreId(1) || !sticks.load(Ordering::Relaxed) {
                    rt::sleep(Duration::from_millis(5)).await;
                }
                std::thread::sleep(Duration::from_secs(60));
            }
        };
        shard::launch(&[0, 0], node.health.alarms(), |_| (), main).expect("two cores");
        std::thread::spawn(move || {
            let _ = std::io::stdin().read(&mut [0]);
            told.store(true, Ordering::Relaxed);
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let watched = Arc::clone(&node);
            tokio::spawn(async move {
                loop {
                    watched.health.ring(Instant::now());
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
            let (_drain, progress) = watch::channel(Progress::serving());
            let _ = tokio::time::timeout(Duration::from_secs(60), notify.run(node, progress)).await;
        });
    }

    #[test]
    fn the_watchdog_is_fed_while_every_core_answers_and_no_longer() {
        let path = std::env::temp_dir().join(format!("corecast-notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("not zero");
        let mut child = Command::new(std::env::current_exe().expect("it runs"))
            .args(["--ignored", "--exact", "control::notify::tests::two_cores_of_which_one_sticks"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "200000")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("ourselves");
        let mut heard = Vec::new();
        let hear = |heard: &mut Vec<String>| {
            let mut buffer = [0; 4096];
            let read = socket.recv(&mut buffer).expect("it says something");
            heard.push(String::from_utf8_lossy(&buffer[..read]).into_owned());
        };
        let count = |heard: &[String], wanted: &str| {
            heard.iter().filter(|line| line.starts_with(wanted)).count()
        };
        while count(&heard, "WATCHDOG=1") < 5 {
            hear(&mut heard);
        }
        let first = |wanted: &str| heard.iter().position(|line| line.starts_with(wanted));
        let order = ["STATUS=serving, 0 connections\n", "READY=1\n", "WATCHDOG=1\n"].map(first);
        assert!(order.is_sorted() && order[0].is_some(), "{heard:?}");
        let until_then = heard.len();
        child.stdin.take().expect("piped").write_all(b"!").expect("it listens");
        // On a busy host one may be kept from its CPU for longer than a core should take to wake up.
        let silent_s = |line: &str| {
            let told = line.strip_prefix("STATUS=core 1 has not answered for ")?;
            told.trim_end().trim_end_matches('s').parse::<f64>().ok()
        };
        while !heard[until_then..].iter().any(|line| silent_s(line) > Some(3.0)) {
            hear(&mut heard);
        }
        let until_stuck = heard.len();
        // Each says for how long.
        while count(&heard[until_stuck..], "STATUS=core 1 ") < 10 {
            hear(&mut heard);
        }
        child.kill().expect("ours");
        child.wait().expect("ours");
        std::fs::remove_file(&path).expect("ours");
        assert_eq!(count(&heard, "READY=1"), 1, "{heard:?}");
        assert_eq!(count(&heard[until_stuck..], "WATCHDOG=1"), 0, "{heard:?}");
    }
}
