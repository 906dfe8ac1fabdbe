//! nginx-rtmp beside the server, for the same viewers.

use std::io;
use std::path::Path;

use corecast_load::compare::Plan;
use corecast_load::server::Recipe;

use super::ratio::{By, Round, Work};
use crate::figure::{Figure, median, range};
use crate::suite::Suite;
use crate::whole::egress_words;

const NAME: &str = "nginx-rtmp";
const ROUNDS: usize = 3;
const BOUND: f64 = 0.4;

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let work = Work::new(1000, 2_000_000, 350);
    let recipe = recipe()?;
    let what = "1000 × 2 Mbit/s, RTMP, beside nginx-rtmp".to_owned();
    let pairs = suite.each_round(&what, ROUNDS, |round| {
        let nginx =
            suite.quietly(&what, || work.watch(suite, By::Rtmp, &recipe.start(&[suite.core])?))?;
        let server = suite.quietly(&what, || work.server(suite, By::Rtmp))?;
        eprintln!(
            "  {what}, round {round}: nginx {:.2} %, Corecast {:.2} %",
            nginx.cpu, server.cpu
        );
        Ok((server, nginx))
    })?;
    let (ours, theirs): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let cpu = |rounds: &[Round]| rounds.iter().map(|round| round.cpu).collect::<Vec<_>>();
    let sent = |rounds: &[Round]| egress_words(rounds.iter().map(|round| round.egress));
    let sent = format!("sent {}, nginx {}", sent(&ours), sent(&theirs));
    let (ours, theirs) = (cpu(&ours), cpu(&theirs));
    let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>();
    let (least, most) = range(&ratios);
    Ok(vec![Figure {
        what,
        measured: format!("{:.2} × its CPU", median(&ratios)),
        details: format!("{:.2} % against {:.2} % of a core", median(&ours), median(&theirs)),
        bound: format!("≤ {BOUND} ×"),
        shares: ratios.iter().map(|ratio| ratio / BOUND).collect(),
        notes: vec![format!(
            "ratios of the rounds {least:.2} to {most:.2}; {sent}; {}",
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
