//! nginx-rtmp beside the server, for the same viewers.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::ratio::{By, Work};
use crate::child::{Child, Scratch};
use crate::figure::{Figure, median, range};
use crate::load::{Play, Publish};
use crate::suite::Suite;

const ROUNDS: usize = 3;
const BOUND: f64 = 0.4;

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let work = Work::new(1000, 2_000_000, 350);
    let what = "1000 × 2 Mbit/s, RTMP, beside nginx-rtmp".to_owned();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=suite.rounds(ROUNDS) {
        let nginx = suite.quietly(&what, || nginx(suite, &work))?;
        let server = suite.quietly(&what, || work.server(suite, By::Rtmp))?.cpu;
        eprintln!("  {what}, round {round}: nginx {nginx:.2} %, Corecast {server:.2} %");
        theirs.push(nginx);
        ours.push(server);
    }
    let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>();
    let (least, most) = range(&ratios);
    Ok(vec![Figure {
        what,
        measured: format!(
            "{:.2} × its CPU ({:.2} % to {:.2} % of a core)",
            median(&ratios),
            median(&ours),
            median(&theirs)
        ),
        bound: format!("{BOUND} × its CPU"),
        shares: ratios.iter().map(|ratio| ratio / BOUND).collect(),
        notes: vec![format!("ratios of the rounds {least:.2} to {most:.2}")],
    }])
}

/// nginx's CPU, for exactly the nominal bytes.
fn nginx(suite: &Suite, work: &Work) -> io::Result<f64> {
    let _ = (suite, work);
    todo!()
}
