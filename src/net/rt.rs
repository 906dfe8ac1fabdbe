//! The door to the runtime: launch, spawn, sleep, yield. A second runtime would be put behind
//! this file, [`stream`](super::TcpStream) and [`listener`](super::Listener).

use std::future::{Future, poll_fn};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use glommio::{Latency, LocalExecutorBuilder, Placement, Shares, TaskQueueHandle};

use super::Alarm;
pub use super::timers::Deadline;

/// A core's thread.
pub type CoreThread = glommio::ExecutorJoinHandle<()>;

/// A message from another core waits for a busy core at most about this long.
const PREEMPT: Duration = Duration::from_millis(1);
/// glommio registers this much memory per core for direct I/O, which nothing here does.
const IO_MEMORY: usize = 64 << 10;
/// The kernel finds a timer to cancel, which glommio does at each turn, by way of a hash table of
/// all sockets that are waited for. The table grows with the ring; at the default depth it has 8
/// rows, and each turn walks past an eighth of all viewers. From this depth on it has 256.
const RING_DEPTH: usize = 4096;

/// A thread that has not begun after this long has slept through its own start.
const START: Duration = Duration::from_secs(1);
/// How often a start is tried.
const STARTS: usize = 10;

/// Starts a thread pinned to `cpu` and runs `main` on it until it ends. Returns when it stands.
/// Somebody else must look at `alarm` now and then.
///
/// The runtime may sleep although tasks are ready (see [`Alarm`]), and before its first task has
/// run nothing can wake it. Such a thread is left asleep, with nothing in its hands, and another
/// one is started.
///
/// # Errors
/// The message of the kernel or of glommio: no io_uring, too little locked memory, no such CPU.
pub fn launch<F>(
    cpu: usize,
    name: &str,
    alarm: Arc<Alarm>,
    main: impl FnOnce() -> F + Send + 'static,
) -> Result<CoreThread, String>
where
    F: Future<Output = ()> + 'static,
{
    // Whichever thread begins takes it.
    let main = Arc::new(Mutex::new(Some((alarm, main))));
    let mut asleep = Vec::new();
    for _ in 0..STARTS {
        let (main, (standing, stands)) = (Arc::clone(&main), mpsc::channel());
        let thread = LocalExecutorBuilder::new(Placement::Fixed(cpu))
            .name(name)
            .io_memory(IO_MEMORY)
            .ring_depth(RING_DEPTH)
            .preempt_timer(PREEMPT)
            .spawn(move || async move {
                let taken = main.lock().ok().and_then(|mut main| main.take());
                let Some((alarm, main)) = taken else { return };
                // If nobody listens any more, the launch was given up.
                let _ = standing.send(());
                drop(standing);
                spawn(async move { super::timers::run(&alarm).await });
                main().await;
            })
            .map_err(|error| error.to_string())?;
        match stands.recv_timeout(START) {
            Ok(()) => return Ok(thread),
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!(cpu, "a thread slept through its start: another one is started");
                asleep.push((thread, stands));
            }
            // The thread sets up its rings itself; only its end tells why it could not. Or one
            // that seemed asleep had begun before it.
            Err(RecvTimeoutError::Disconnected) => {
                let begun =
                    asleep.into_iter().find(|(_, stands)| stands.recv_timeout(START).is_ok());
                return match (begun, thread.join()) {
                    (Some((thread, _)), _) => Ok(thread),
                    (None, Ok(())) => Err("its thread ended at once".to_owned()),
                    (None, Err(error)) => Err(error.to_string()),
                };
            }
        }
    }
    // The last may have been just too slow, or one before it.
    match asleep.into_iter().find(|(_, stands)| stands.try_recv().is_ok()) {
        Some((thread, _)) => Ok(thread),
        None => Err(format!("none of {STARTS} threads began within {} s", START.as_secs())),
    }
}

/// Runs `task` on this core beside everything else, whoever spawns it: a task that is not told
/// where to run would run as urgently as its parent.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    spawn_into(task, TaskQueueHandle::default());
}

/// Runs `task` on this core ahead of media: for what other cores wait for.
pub fn spawn_urgent(task: impl Future<Output = ()> + 'static) {
    let executor = glommio::executor();
    let queue = executor.create_task_queue(Shares::Static(1000), Latency::Matters(PREEMPT), "mesh");
    spawn_into(task, queue);
}

fn spawn_into(task: impl Future<Output = ()> + 'static, queue: TaskQueueHandle) {
    match glommio::spawn_local_into(task, queue) {
        Ok(task) => {
            task.detach();
        }
        Err(_) => unreachable!("the default queue is always there, and no other is ever removed"),
    }
}

/// Ready at `at`.
pub async fn sleep_until(at: Instant) {
    let mut deadline = Deadline::default();
    poll_fn(|cx| deadline.poll(cx, Some(at))).await;
}

/// Ready after `time`.
pub async fn sleep(time: Duration) {
    sleep_until(Instant::now() + time).await;
}

/// Lets the other tasks of this core have a turn if this one has had its time.
pub async fn yield_if_needed() {
    glommio::executor().yield_if_needed().await;
}

/// Lets the other tasks of this core have a turn.
pub async fn yield_now() {
    futures_lite::future::yield_now().await;
}
