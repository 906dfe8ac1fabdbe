//! The inputs of `[[ts_udp]]`, and how they change while the node runs: sockets are bound here, and
//! each is given to the home core of its stream.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::cores::{ANSWER_WITHIN, ask};
use crate::config::{Config, Limits, TsUdp};
use crate::net::udp;
use crate::serve::core::Node;
use crate::serve::order::Order;
use crate::serve::ts_udp::{self, Input, Moved};

/// What is to end and what is to begin. The new sockets are bound already.
#[derive(Debug, Default)]
pub(crate) struct Change {
    closes: Vec<Arc<Input>>,
    opens: Vec<(Arc<Input>, Box<Moved>)>,
}

/// How often an input that is to end is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Binds what `config` has and `node` has not. One whose entry has changed ends and begins anew.
///
/// # Errors
/// What could not be bound; then nothing stays bound of it.
pub(crate) fn prepare(node: &Node, config: &Config) -> Result<Change, Vec<(TsUdp, io::Error)>> {
    let mut closes = node.inputs.all();
    let ours: Vec<_> = closes.iter().map(|input| input.settings().listen).collect();
    let (mut opens, mut failures) = (Vec::new(), Vec::new());
    for settings in &config.ts_udp {
        if let Some(at) = closes.iter().position(|input| input.settings() == settings) {
            closes.swap_remove(at);
            continue;
        }
        let is_ours = ours.iter().any(|own| own.port() == settings.listen.port());
        match open(settings, is_ours, &config.limits) {
            Ok(opened) => opens.push(opened),
            Err(error) => failures.push((settings.clone(), error)),
        }
    }
    if failures.is_empty() { Ok(Change { closes, opens }) } else { Err(failures) }
}

fn open(settings: &TsUdp, is_ours: bool, limits: &Limits) -> io::Result<(Arc<Input>, Box<Moved>)> {
    let wanted = ts_udp::wanted(settings);
    if !is_ours {
        // Alone: a port that another program listens on is in use, even if it would share it.
        drop(udp::bind(&wanted, false)?);
    }
    let input = Input::new(settings.clone());
    let input = input.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let moved = ts_udp::first(&input, udp::bind(&wanted, true)?, limits);
    Ok((input, moved))
}

/// Ends and begins. Answers with what is late.
pub(crate) async fn apply(node: &Node, Change { closes, opens }: Change) -> Option<String> {
    let mut all = node.inputs.all();
    let mut late = None;
    all.retain(|input| !closes.iter().any(|closed| Arc::ptr_eq(closed, input)));
    closes.iter().for_each(|input| input.close());
    let until = Instant::now() + ANSWER_WITHIN;
    // They leave their slots before others want them.
    for input in &closes {
        while !input.is_gone() && Instant::now() < until {
            sleep(LOOK).await;
        }
        if !input.is_gone() {
            late = Some(format!("ts_udp: {} has not ended", input.settings().listen));
        }
    }
    for (input, moved) in opens {
        let home = node.mesh.home(input.key());
        let receive = |asker| Order::Receive(moved, Some(asker));
        if ask(node, home, ANSWER_WITHIN, receive).await.is_none() {
            late = late.or(Some(format!("core {home} does not answer")));
        }
        all.push(input);
    }
    node.inputs.replace(all);
    late
}
