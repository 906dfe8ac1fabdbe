//! What a service manager is told (sd_notify(3)): that the node is ready, reloads, stops, how it is
//! doing, and, while every core answers, that it lives. Without one, nothing is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::cores::{ask_all, silent};
use super::drain::{Progress, State};
use crate::serve::core::Node;
use crate::serve::order::Order;

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
        let interval = self.watchdog.map_or(STATUS_INTERVAL, |limit| limit / 2);
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut ready, mut said) = (false, String::new());
        loop {
            ticks.tick().await;
            // Answers that come later than the next question are none.
            let answers = ask_all(&node, interval, |_, asker| Order::Ping(asker)).await;
            let silent = silent(&answers);
            let status = match &silent {
                Some(silent) => silent.clone(),
                None => status(&node, &drain.borrow()),
            };
            if status != said {
                self.tell(&[NotifyState::Status(&status)]);
                said = status;
            }
            match silent {
                Some(silent) => tracing::error!("{silent} within {interval:?}"),
                None => {
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
        _ => format!("draining, {viewers_left} viewers and {publishers_left} publishers are left"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;
    use crate::serve::Mesh;
    use crate::shard::{CoreId, Tell};

    /// The variables of a service manager can be set for another process only: this is that.
    #[test]
    #[ignore = "a part of the test below"]
    fn two_cores_of_which_one_sticks() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let node = Arc::new(Node::new(Mesh::new(2, 16)));
            for (core, answers) in [(CoreId(0), usize::MAX), (CoreId(1), 10)] {
                let node = Arc::clone(&node);
                tokio::spawn(async move {
                    for _ in 0..answers {
                        if let Tell::Order(Order::Ping(asker)) = node.mesh.receive(core).await {
                            let _ = asker.send(());
                        }
                    }
                });
            }
            let notify = Arc::new(Notify::new());
            assert!(notify.heard);
            let (_drain, progress) = watch::channel(Progress::serving());
            let _ = tokio::time::timeout(Duration::from_secs(60), notify.run(node, progress)).await;
        });
    }

    #[test]
    fn the_watchdog_is_fed_while_every_core_answers_and_no_longer() {
        let path = std::env::temp_dir().join(format!("corecast-notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(1500))).expect("not zero");
        let mut child = Command::new(std::env::current_exe().expect("it runs"))
            .args(["--ignored", "--exact", "control::notify::tests::two_cores_of_which_one_sticks"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "200000")
            .stdout(Stdio::null())
            .spawn()
            .expect("ourselves");
        let mut heard = Vec::new();
        let hear = |heard: &mut Vec<String>| {
            let mut buffer = [0; 4096];
            let read = socket.recv(&mut buffer).ok();
            heard.extend(read.map(|read| String::from_utf8_lossy(&buffer[..read]).into_owned()));
            read.is_some()
        };
        let gave_up = Instant::now() + Duration::from_secs(30);
        let stuck = "STATUS=core 1 does not answer\n";
        while !heard.iter().any(|line| line == stuck) && Instant::now() < gave_up {
            hear(&mut heard);
        }
        let until_stuck = heard.len();
        // Many intervals in which nothing is said.
        let silent = !hear(&mut heard);
        child.kill().expect("ours");
        child.wait().expect("ours");
        std::fs::remove_file(&path).expect("ours");
        assert!(silent, "{heard:?}");
        let count = |wanted: &str| heard.iter().filter(|line| *line == wanted).count();
        assert_eq!(heard[..2], ["STATUS=serving, 0 connections\n", "READY=1\n"], "{heard:?}");
        assert_eq!(
            (count("READY=1\n"), count("WATCHDOG=1\n"), until_stuck),
            (1, 10, 13),
            "{heard:?}"
        );
    }
}
