//! The files that a configuration names, read as a start would read them.

use std::time::SystemTime;

use crate::config::Config;
use crate::control::admin::Token;
use crate::control::{hooks, start_checks, tls};

/// Reads the token, the certificates with their keys, and the authorities of hook servers, and tries
/// whether recordings could be written. A node starts with a certificate that no client takes, as its clock may be wrong then; here it is a problem.
/// Addresses and the log are left alone: they are in use where a node runs already.
///
/// # Errors
/// Everything that would keep a node with `config` from its work.
pub fn check(config: &Config) -> Result<(), Vec<String>> {
    let token = Token::of(&config.admin).err().map(|error| error.to_string());
    let certificates = tls::load(&config.tls).and_then(|loaded| {
        loaded.map_or(Ok(()), |loaded| loaded.check_dates(&[], SystemTime::now()))
    });
    let certificates = certificates.err().map(|error| error.to_string());
    let authorities = hooks::check_authorities(&config.hooks).err();
    let directories = start_checks::directories(config, None);
    let directories = directories.iter().map(ToString::to_string);
    let read = token.into_iter().chain(certificates).chain(authorities);
    let problems: Vec<_> = read.chain(directories).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}
