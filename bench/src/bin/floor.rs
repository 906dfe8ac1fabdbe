//! `floor`: the bare cost of live streaming on this machine.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use corecast_bench::{floor, process};
use corecast_load::{fds, play, units};

/// The bare cost of live streaming on this machine: one thread, one `send` per viewer and window.
/// The viewers are those of corecast-load, in a process of their own.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// How many viewers.
    #[arg(long, default_value_t = 1000)]
    viewers: usize,
    /// Bits per second for each.
    #[arg(long, default_value = "2M", value_parser = units::bitrate)]
    bitrate: u64,
    /// Each gets its bytes once per window.
    #[arg(long, default_value = "350ms", value_parser = units::duration)]
    window: Duration,
    /// How long to measure.
    #[arg(long, default_value = "20s", value_parser = units::duration)]
    duration: Duration,
    /// The sender's core.
    #[arg(long, default_value_t = 0)]
    cpu: usize,
    /// The viewers' core.
    #[arg(long, default_value_t = 1)]
    viewers_cpu: usize,
    /// Only send, to viewers that come here from elsewhere (corecast-load play --url http://...);
    /// prints the address. Ends with the last viewer, or after --duration.
    #[arg(long)]
    listen: Option<SocketAddr>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> io::Result<()> {
    let load = floor::Load { viewers: cli.viewers, bitrate: cli.bitrate, window: cli.window };
    if let Some(address) = cli.listen {
        fds::allow(cli.viewers)?;
        let listener = TcpListener::bind(address)?;
        println!("{}", listener.local_addr()?);
        io::stdout().flush()?;
        let sent = floor::serve(&listener, load, cli.duration)?;
        let (sends, short, late) = (sent.sends, sent.short, sent.late);
        eprintln!("floor: {sends} sends, {short} of them short; {late} windows late");
        return Ok(());
    }
    process::pin(cli.viewers_cpu)?;
    let at_most = cli.duration + Duration::from_secs(60);
    let (sender, address) = process::floor(cli.cpu, load, at_most)?;
    let options = play::Options {
        url: format!("http://{address}/floor"),
        viewers: cli.viewers,
        duration: cli.duration,
        pid: Some(sender.pid()),
        ..play::Options::default()
    };
    let report = play::run(&options, &mut |_| {})?;
    println!(
        "{:.2} % of a core for {} viewers, {:.1} Mbit/s; {} lost, viewers' own CPU {:.1} %",
        report.cost.cpu_percent.unwrap_or_default(),
        report.viewers.joined,
        report.viewers.egress_mbit_s,
        report.viewers.lost,
        report.cost.own_cpu_percent,
    );
    Ok(())
}
