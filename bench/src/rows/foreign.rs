//! nginx-rtmp beside the server, for the same viewers.

use std::io;

use corecast_load::server::Recipe;

use super::ratio::{By, Work};
use crate::figure::{Figure, median, range};
use crate::suite::Suite;

const ROUNDS: usize = 3;
const BOUND: f64 = 0.4;

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let work = Work::new(1000, 2_000_000, 350);
    let recipe = recipe();
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
        measured: format!(
            "{:.2} × its CPU ({:.2} % against {:.2} % of a core)",
            median(&ratios),
            median(&ours),
            median(&theirs)
        ),
        bound: format!("{BOUND} × its CPU"),
        shares: ratios.iter().map(|ratio| ratio / BOUND).collect(),
        notes: vec![format!(
            "ratios of the rounds {least:.2} to {most:.2}; {}",
            recipe.version().unwrap_or_default()
        )],
        noise: None,
    }])
}

/// Debian's nginx with its RTMP module; one worker, as it gets one core.
fn recipe() -> Recipe {
    let rtmp = "rtmp://127.0.0.1:{rtmp_port}/live/x{n}".to_owned();
    Recipe {
        name: "nginx-rtmp".to_owned(),
        start: "/usr/sbin/nginx -p {dir} -c {config} -e stderr".to_owned(),
        config: Some(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
             daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid nginx.pid;
             error_log stderr warn;
             events { worker_connections 16384; }
             rtmp { access_log off; server {
               listen 127.0.0.1:{rtmp_port};
               chunk_size 4096;
               application live { live on; }
             } }"
            .to_owned(),
        ),
        ready: None,
        publish: rtmp.clone(),
        play: [(By::Rtmp.name().to_owned(), rtmp)].into(),
        cores: None,
        version: Some("/usr/sbin/nginx -v".to_owned()),
    }
}
