use std::future::Future;
use std::sync::Arc;

use super::CoreId;
use crate::net::{Alarm, rt};

/// A core's thread ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoreEnded {
    /// Which one.
    pub core: CoreId,
    /// By a panic rather than because it was told to.
    pub panicked: bool,
}

/// Starts one pinned thread per entry of `cpus`, each with its alarm and the future `main` makes
/// for it. `ended` is called once for each when its thread has ended, however it ends.
///
/// # Errors
/// The system's or the runtime's message, if a thread could not be started; those before it run on.
pub fn launch<F>(
    cpus: &[usize],
    alarms: &[Arc<Alarm>],
    ended: impl Fn(CoreEnded) + Send + Sync + 'static,
    main: impl Fn(CoreId) -> F + Send + Sync + Clone + 'static,
) -> Result<(), String>
where
    F: Future<Output = ()> + 'static,
{
    let start = |(index, (cpu, alarm)): (usize, (&usize, &Arc<Alarm>))| {
        let core = CoreId(u16::try_from(index).expect("fewer than 2^16 cores"));
        let main = main.clone();
        let thread =
            rt::launch(*cpu, &format!("core-{core}"), Arc::clone(alarm), move || main(core))?;
        Ok((core, thread))
    };
    let threads =
        cpus.iter().zip(alarms).enumerate().map(start).collect::<Result<Vec<_>, String>>()?;
    let ended = Arc::new(ended);
    for (core, thread) in threads {
        let ended = Arc::clone(&ended);
        // Only a join sees each end: a panic in a task beside the main one does not drop that.
        std::thread::Builder::new()
            .name(format!("end-{core}"))
            .stack_size(WATCHER_STACK)
            .spawn(move || ended(CoreEnded { core, panicked: thread.join().is_err() }))
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A watcher waits and then makes one call.
const WATCHER_STACK: usize = 128 << 10;
