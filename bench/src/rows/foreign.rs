//! nginx-rtmp beside the server, for the same viewers.

use std::io;
use std::path::Path;

use corecast_load::compare::Plan;
use corecast_load::server::Recipe;

use super::ratio::{By, Work};
use crate::figure::{Figure, median, range};
use crate::suite::Suite;

const NAME: &str = "nginx-rtmp";
const ROUNDS: usize = 3;
const BOUND: f64 = 0.4;

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let work = Work::new(1000, 2_000_000, 350);
    let recipe = recipe()?;
    let what = "1000 × 2 Mbit/s, RTMP, beside nginx-rtmp".to_owned();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=suite.rounds(ROUNDS) {
        let nginx = suite
            .quietly(&what, || work.watch(suite, By::Rtmp, &recipe.start(&[suite.core])?))?
            .cpu;
        let server = suite.quietly(&what, || work.server(suite, By::Rtmp))?.cpu;
        eprintln!("  {what}, round {round}: nginx {nginx:.2} %, Corecast {server:.2} %");
        theirs.push(nginx);
        ours.push(server);
    }
    let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>();
    let (least, most) = range(&ratios);
    Ok(vec![Figure {
        what,
        measured: format!("{:.2} × its CPU", median(&ratios)),
        details: format!("{:.2} % against {:.2} % of a core", median(&ours), median(&theirs)),
        bound: format!("≤ {BOUND} ×"),
        shares: ratios.iter().map(|ratio| ratio / BOUND).collect(),
        notes: vec![format!(
            "ratios of the rounds {least:.2} to {most:.2}; {}",
            recipe.version().unwrap_or_default()
        )],
        noise: None,
    }])
}

/// As every comparison starts it.
fn recipe() -> io::Result<Recipe> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("compare.toml");
    let found = Plan::read(&path)?.servers.into_iter().find(|server| server.name == NAME);
    found.ok_or_else(|| {
        io::Error::other(format!("{}: expected a server {NAME}, found none", path.display()))
    })
}
