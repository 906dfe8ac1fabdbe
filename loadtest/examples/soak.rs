//! A Corecast of its own and `corecast-load soak` against it: `make soak`.
//!
//! The server gets free ports and all cores; the options given are those of the soak. Ctrl-C ends
//! the soak early with a report of what there was, and the server with it.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use corecast_load::server::{Recipe, beside};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};

fn main() -> ExitCode {
    soak().unwrap_or_else(|error| {
        eprintln!("soak: {error}");
        ExitCode::FAILURE
    })
}

fn soak() -> io::Result<ExitCode> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&asked))?;
    }
    let recipe = Recipe::corecast(&beside("corecast")?, "");
    let server = recipe.start(&[])?;
    // In a group of its own: what the terminal tells all of a group would be told to it twice.
    let mut soak = Command::new(beside("corecast-load")?)
        .args(["soak", "--publish", &server.publish, "--url", &server.play["HTTP-FLV"]])
        .args(["--pid", &server.process.pid().to_string()])
        .args(std::env::args_os().skip(1))
        .process_group(0)
        .spawn()?;
    let status = loop {
        if let Some(status) = soak.try_wait()? {
            break status;
        }
        if asked.swap(false, Ordering::Relaxed) {
            // Not waited for yet, so that its number is still its own.
            kill_process(Pid::from_child(&soak), Signal::INT)?;
        }
        thread::sleep(Duration::from_millis(100));
    };
    if let Some(how) = server.process.ended()? {
        println!("the server ended before the soak: {how}\n{}", server.log_tail());
    }
    server.stop()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
