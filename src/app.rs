//! Builds the program from a configuration and waits for its end.

use crate::config::Config;
use crate::control::log;
use crate::control::start_checks::{self, StartError};

/// What the command line asks for besides the configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Publish the built-in clip in a loop.
    pub demo: bool,
}

/// Why the program could not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host is not fit, or a port is taken. Nothing was bound.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Runs until it is told to stop.
///
/// # Errors
/// [`Error::Start`] before anything is bound.
pub fn run(config: &Config, options: Options) -> Result<(), Error> {
    // PLACEHOLDER: checks the host and returns; the cores are not built yet.
    let _log = log::start(&config.log);
    let host = start_checks::run(config)?;
    tracing::info!(?host, demo = options.demo, "app: nothing to run yet");
    Ok(())
}
