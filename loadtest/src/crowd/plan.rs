//! Who of a crowd watches what, and how: the same for the same numbers, in every run.

use std::f64::consts::SQRT_2;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::units;

/// How viewers are spread over streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
pub enum Spread {
    /// As many for each.
    #[default]
    Even,
    /// As audiences are: stream n has 1/(n + 1) of the viewers of stream 0.
    Zipf,
}

/// Readers that are slower than the others, `10%@200kbit`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Slow {
    /// Of all viewers, 0 to 1.
    pub share: f64,
    /// What each of them reads at most, bits per second.
    pub bitrate: u64,
}

impl FromStr for Slow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected slow readers such as 10%@200kbit, found {text:?}");
        let (share, bitrate) = text.split_once('@').ok_or_else(expected)?;
        let bitrate = bitrate.strip_suffix("bit").unwrap_or(bitrate);
        let bitrate = units::bitrate(bitrate).ok().filter(|rate| *rate > 0).ok_or_else(expected)?;
        Ok(Self { share: share_of(share).map_err(|_| expected())?, bitrate })
    }
}

/// Readers whose sockets hold little, `20%@16KiB`; they read as fast as the others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SmallBuffer {
    /// Of all viewers, 0 to 1.
    pub share: f64,
    /// The receive buffer (`SO_RCVBUF`) of each of them.
    pub bytes: usize,
}

impl FromStr for SmallBuffer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected receive buffers such as 20%@16KiB, found {text:?}");
        let (share, bytes) = text.split_once('@').ok_or_else(expected)?;
        let bytes = units::size(bytes).ok().filter(|bytes| *bytes > 0).ok_or_else(expected)?;
        Ok(Self { share: share_of(share).map_err(|_| expected())?, bytes })
    }
}

/// `"2%"`: a share from 0 to 1.
///
/// # Errors
/// What was expected, and what was found.
pub(crate) fn share_of(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').unwrap_or(if text == "0" { text } else { "" });
    let share = percent.parse().ok().map(|percent: f64| percent / 100.0);
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| format!("expected a share from 0% to 100% such as 2%, found {text:?}"))
}

/// `"5%/s"`: a share per second.
///
/// # Errors
/// What was expected, and what was found.
pub(crate) fn churn(text: &str) -> Result<f64, String> {
    let share = text.strip_suffix("/s").unwrap_or(if text == "0" { text } else { "" });
    share_of(share).map_err(|_| {
        format!("expected a share of the viewers per second such as 5%/s, found {text:?}")
    })
}

/// What one viewer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) stream: u32,
    pub(super) inspects: bool,
    pub(super) slow: bool,
    pub(super) small_buffer: bool,
}

/// How many of a crowd are something, 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shares {
    pub(super) inspect: f64,
    pub(super) slow: f64,
    pub(super) small_buffer: f64,
}

/// The roles of the viewers numbered `first` and on.
pub(super) fn roles(
    first: usize,
    viewers: usize,
    streams: usize,
    spread: Spread,
    shares: Shares,
) -> Vec<Role> {
    // Irrational steps, so that each choice falls on every part of the others alike.
    let inspects = choose(viewers, shares.inspect, SQRT_2);
    let slow = choose(viewers, shares.slow, GOLDEN);
    let small = choose(viewers, shares.small_buffer, SQRT_3);
    (0..viewers)
        .map(|at| {
            let number = first + at;
            let stream = match spread {
                Spread::Even => number % streams,
                Spread::Zipf => zipf((number as f64 * GOLDEN).fract(), streams),
            };
            let (inspects, slow, small_buffer) = (inspects[at], slow[at], small[at]);
            Role { stream: stream as u32, inspects, slow, small_buffer }
        })
        .collect()
}

const GOLDEN: f64 = 1.618_033_988_749_895;
const SQRT_3: f64 = 1.732_050_807_568_877_2;

/// A share of `viewers`, spread among all of them: at least one, if it is not none.
fn choose(viewers: usize, share: f64, step: f64) -> Vec<bool> {
    let count = (viewers as f64 * share).round() as usize;
    let count = if share > 0.0 { count.clamp(1, viewers) } else { 0 };
    let mut order = (0..viewers).collect::<Vec<_>>();
    let place = |number: &usize| (*number as f64 * step).fract();
    order.sort_by(|a, b| place(a).total_cmp(&place(b)));
    let mut chosen = vec![false; viewers];
    order[..count].iter().for_each(|number| chosen[*number] = true);
    chosen
}

/// The stream below which the share `at` (0 to 1) of all viewers watches.
fn zipf(at: f64, streams: usize) -> usize {
    let weights = (1..=streams).map(|rank| 1.0 / rank as f64);
    let mut left = at * weights.clone().sum::<f64>();
    let below = weights.take_while(|weight| {
        left -= weight;
        left >= 0.0
    });
    below.count().min(streams - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watchers(roles: &[Role], streams: usize) -> Vec<usize> {
        let mut counts = vec![0; streams];
        roles.iter().for_each(|role| counts[role.stream as usize] += 1);
        counts
    }

    #[test]
    fn streams_get_as_many_or_by_their_rank() {
        let even = roles(0, 1000, 8, Spread::Even, Shares::default());
        assert_eq!(watchers(&even, 8), [125; 8]);
        let zipf = watchers(&roles(0, 1000, 4, Spread::Zipf, Shares::default()), 4);
        for (found, want) in zipf.iter().zip([480, 240, 160, 120]) {
            assert!(found.abs_diff(want) <= 5, "{zipf:?}");
        }
    }

    #[test]
    fn parts_of_a_crowd_make_the_whole() {
        for spread in [Spread::Even, Spread::Zipf] {
            let roles = |first, viewers| roles(first, viewers, 7, spread, Shares::default());
            let (whole, parts) = (roles(0, 30), [roles(0, 10), roles(10, 20)]);
            assert_eq!(parts.concat(), whole);
        }
    }

    #[test]
    fn shares_are_exact_and_do_not_follow_the_streams() {
        let shares = Shares { inspect: 0.02, slow: 0.1, small_buffer: 0.2 };
        let roles = roles(0, 1000, 50, Spread::Even, shares);
        let inspected = roles.iter().filter(|role| role.inspects).copied().collect::<Vec<_>>();
        assert_eq!(inspected.len(), 20);
        assert_eq!(roles.iter().filter(|role| role.slow).count(), 100);
        assert!(watchers(&inspected, 50).iter().filter(|count| **count > 0).count() >= 15);
        assert!((1..=4).contains(&inspected.iter().filter(|role| role.slow).count()));
        assert_eq!(roles.iter().filter(|role| role.small_buffer).count(), 200);
        assert!((2..=6).contains(&inspected.iter().filter(|role| role.small_buffer).count()));
        let both = roles.iter().filter(|role| role.small_buffer && role.slow).count();
        assert!((15..=25).contains(&both), "{both}");
        let shares = Shares { inspect: 0.02, ..Shares::default() };
        let few = super::roles(0, 3, 1, Spread::Even, shares);
        assert_eq!(few.iter().filter(|role| role.inspects).count(), 1);
    }

    #[test]
    fn shares_are_read_and_their_lack_is_told() {
        assert_eq!("10%@200kbit".parse(), Ok(Slow { share: 0.1, bitrate: 200_000 }));
        assert_eq!("20%@20M".parse(), Ok(Slow { share: 0.2, bitrate: 20_000_000 }));
        assert_eq!((share_of("2%"), churn("5%/s"), churn("0")), (Ok(0.02), Ok(0.05), Ok(0.0)));
        for text in ["10%", "10@200k", "10%@", "101%@2k", "10%@0k"] {
            assert!(text.parse::<Slow>().is_err(), "{text}");
        }
        assert_eq!("20%@16KiB".parse(), Ok(SmallBuffer { share: 0.2, bytes: 16 << 10 }));
        for text in ["20%", "20@16KiB", "20%@16", "101%@1KiB", "20%@0"] {
            assert!(text.parse::<SmallBuffer>().is_err(), "{text}");
        }
        for text in ["5", "", "5%", "-1%/s", "x%/s"] {
            assert!(churn(text).is_err(), "{text}");
        }
    }
}
