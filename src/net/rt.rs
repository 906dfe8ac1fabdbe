//! The door to the runtime: launch, spawn, sleep, yield. A second runtime would be put behind
//! this file, [`stream`](super::TcpStream) and [`listener`](super::Listener).

use std::future::{Future, poll_fn};
use std::sync::Arc;
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

/// Starts a thread pinned to `cpu` and runs `main` on it until it ends. Returns when it stands.
/// Somebody else must look at
/// `alarm` now and then.
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
    let (standing, stands) = std::sync::mpsc::channel();
    let thread = LocalExecutorBuilder::new(Placement::Fixed(cpu))
        .name(name)
        .io_memory(IO_MEMORY)
        .ring_depth(RING_DEPTH)
        .preempt_timer(PREEMPT)
        .spawn(move || async move {
            // If nobody listens any more, the launch was given up.
            let _ = standing.send(());
            spawn(async move { super::timers::run(&alarm).await });
            main().await;
        })
        .map_err(|error| error.to_string())?;
    // The thread sets up its rings itself; only its end tells why it could not.
    match stands.recv() {
        Ok(()) => Ok(thread),
        Err(_) => Err(match thread.join() {
            Ok(()) => "its thread ended at once".to_owned(),
            Err(error) => error.to_string(),
        }),
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
