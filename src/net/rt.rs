//! The door to the runtime: launch, spawn, sleep, yield. A second runtime would be put behind
//! this file, [`stream`](super::TcpStream) and [`listener`](super::Listener).

use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use glommio::{Latency, LocalExecutorBuilder, Placement, PoolPlacement, Shares, TaskQueueHandle};

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
/// Threads of each core for what sleeps in the kernel: as many slow disks or directories hold up
/// nobody else. They are free of its CPU, which is to do other things meanwhile; one that is idle
/// costs its stack.
const BLOCKING_THREADS: usize = 4;

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
            .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
            .spawn(move || async move {
                let taken = main.lock().ok().and_then(|mut main| main.take());
                let Some((alarm, main)) = taken else { return };
                // The thread may sleep again before the task below has run for the first time.
                poll_fn(|cx| {
                    alarm.set(None, cx.waker());
                    Poll::Ready(())
                })
                .await;
                // If nobody listens any more, the launch was given up.
                let _ = standing.send(());
                drop(standing);
                // As urgent as the mesh: that a core answers its alarm is to mean that it is not
                // stuck, however many tasks it has to run.
                spawn_urgent(async move { super::timers::run(&alarm).await });
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

/// Runs `task` on this core ahead of media: for what other threads wait for.
pub fn spawn_urgent(task: impl Future<Output = ()> + 'static) {
    let executor = glommio::executor();
    let queue =
        executor.create_task_queue(Shares::Static(1000), Latency::Matters(PREEMPT), "urgent");
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

/// Runs `work`, which may sleep in the kernel, on a thread beside this core, and waits for it. As much
/// as there are threads for goes on at once; the rest waits. If it panics, so does who waits.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // What comes when nobody waits any more, the runtime forgets without a drop: a file would stay open.
    let place = Arc::new(Mutex::new(None));
    let done = Arc::clone(&place);
    let work = move || {
        // One that unwound its thread would be one thread less, and never be done.
        let value = panic::catch_unwind(AssertUnwindSafe(work));
        *done.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    };
    glommio::executor().spawn_blocking(work).await;
    let value = place.lock().unwrap_or_else(PoisonError::into_inner).take();
    value.expect("the work was done").unwrap_or_else(|panicked| panic::resume_unwind(panicked))
}

/// Lets the other tasks of this core have a turn if this one has had its time.
pub async fn yield_if_needed() {
    glommio::executor().yield_if_needed().await;
}

/// Lets the other tasks of this core have a turn.
pub async fn yield_now() {
    futures_lite::future::yield_now().await;
}

/// Runs `main` on a core to its end. Rings its alarm meanwhile, as the control thread would: what is
/// to wake a core may be lost, and one without a deadline would then sleep for ever.
#[cfg(test)]
pub(crate) fn on_a_core<F: Future<Output = ()> + 'static>(
    main: impl FnOnce() -> F + Send + 'static,
) {
    const EVERY: Duration = Duration::from_millis(100);
    let alarm = Arc::<Alarm>::default();
    let (rung, (running, ends)) = (Arc::clone(&alarm), mpsc::channel::<()>());
    let ringer = std::thread::spawn(move || {
        while ends.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
            rung.ring(Instant::now());
        }
    });
    let end = launch(0, "test", alarm, main).expect("a core").join();
    drop(running);
    ringer.join().expect("it only rings");
    end.expect("it ends well, and has not noticed what panics beside it");
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use futures_lite::FutureExt;
    use futures_lite::future::zip;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn work_that_sleeps_holds_up_no_other_work() {
        on_a_core(|| async {
            let (tell, hear) = mpsc::channel();
            // The first sleeps until the second has run.
            let sleeps = blocking(move || hear.recv_timeout(PATIENCE));
            let (slept, told) = zip(sleeps, blocking(move || tell.send(()))).await;
            assert_eq!((slept, told), (Ok(()), Ok(())));
        });
    }

    #[test]
    fn work_that_sleeps_is_not_bound_to_the_cpu_of_its_core() {
        let allowed = || rustix::thread::sched_getaffinity(None).expect("the kernel tells").count();
        let all = allowed();
        on_a_core(move || async move {
            assert_eq!(allowed(), 1);
            assert_eq!(blocking(allowed).await, all);
        });
    }

    #[test]
    fn a_panic_is_that_of_who_waits_and_leaves_the_thread_to_others() {
        on_a_core(|| async {
            for _ in 0..2 * BLOCKING_THREADS {
                let panics = blocking(|| panic!("as the test wants it"));
                assert!(AssertUnwindSafe(panics).catch_unwind().await.is_err());
            }
            let (tell, hear): (_, Receiver<u8>) = mpsc::channel();
            assert!(blocking(move || tell.send(1)).await.is_ok());
            assert_eq!(hear.try_recv(), Ok(1));
        });
    }
}
