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

/// Starts one pinned thread per entry of `cpus`, each with its alarm, each running the future `main` makes for it.
/// `ended` is called by each thread as it ends, however it ends.
///
/// # Errors
/// The runtime's message, if a thread could not be started; those before it run on.
pub fn launch<F>(
    cpus: &[usize],
    alarms: &[Arc<Alarm>],
    ended: impl Fn(CoreEnded) + Send + Sync + 'static,
    main: impl Fn(CoreId) -> F + Send + Sync + Clone + 'static,
) -> Result<Vec<rt::CoreThread>, String>
where
    F: Future<Output = ()> + 'static,
{
    let ended: Arc<dyn Fn(CoreEnded) + Send + Sync> = Arc::new(ended);
    let start = |(index, (cpu, alarm)): (usize, (&usize, &Arc<Alarm>))| {
        let core = CoreId(u16::try_from(index).expect("fewer than 2^16 cores"));
        let notice = Notice { core, ended: Arc::clone(&ended) };
        let main = main.clone();
        rt::launch(*cpu, &format!("core-{core}"), Arc::clone(alarm), move || async move {
            let _notice = notice;
            main(core).await;
        })
    };
    cpus.iter().zip(alarms).enumerate().map(start).collect()
}

/// Tells of its core's end when it is dropped, which an unwinding thread does too.
struct Notice {
    core: CoreId,
    ended: Arc<dyn Fn(CoreEnded) + Send + Sync>,
}

impl Drop for Notice {
    fn drop(&mut self) {
        (self.ended)(CoreEnded { core: self.core, panicked: std::thread::panicking() });
    }
}
