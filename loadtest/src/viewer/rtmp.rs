//! RTMP: the server's own client machine. Viewers that let go of it after Play.Start answer no ping,
//! and acknowledge what they received by the clock, not by the server's window.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use corecast::bytes::Chain;
use corecast::media::TrackKind;
use corecast::proto::rtmp::client::Event as Told;
use corecast::proto::rtmp::{Client, ClientConfig, Goal, Url};

use super::{Event, SECURE_PORT, Session, SignOfLife, Stream, is_http, words};

/// A URL of the scheme `rtmp`, or `rtmps`.
pub(super) fn parse(url: &str) -> Result<Box<dyn Stream>, String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("rtmp", url));
    let has_port = || {
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        authority.rsplit(']').next().is_some_and(|behind| behind.contains(':'))
    };
    let default = (scheme.eq_ignore_ascii_case("rtmps") && !has_port()).then_some(SECURE_PORT);
    // The machine is the same, and knows nothing of TLS.
    let mut url: Url = format!("rtmp://{rest}").parse().map_err(|error| format!("{error}"))?;
    url.port = default.unwrap_or(url.port);
    Ok(Box::new(Play { url: url.into(), config: ClientConfig::default().into() }))
}

struct Play {
    url: Arc<Url>,
    config: Arc<ClientConfig>,
}

impl Stream for Play {
    fn address(&self) -> (&str, u16) {
        (&self.url.host, self.url.port)
    }

    fn open(&self, seed: u64, now: Instant) -> Box<dyn Session> {
        let (config, url) = (Arc::clone(&self.config), Arc::clone(&self.url));
        let client = Client::new(config, url, Goal::Play, seed, now);
        Box::new(Viewer { client, has_heard: false })
    }

    /// An Acknowledgement, RTMP 5.4.3.
    fn sign_of_life(&self, received: u32) -> Option<SignOfLife> {
        let mut message = SignOfLife::from(ACKNOWLEDGEMENT);
        message[12..].copy_from_slice(&received.to_be_bytes());
        Some(message)
    }
}

/// One whole chunk (RTMP 5.3.1) that depends on none before it: type 0 on chunk stream 2, time 0,
/// 4 bytes of message type 3 on stream 0; then the sequence number.
const ACKNOWLEDGEMENT: [u8; 16] = [2, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0];

struct Viewer {
    client: Client,
    has_heard: bool,
}

impl Session for Viewer {
    fn handle_input(&mut self, now: Instant, input: &mut &[u8]) -> io::Result<Option<Event>> {
        if !std::mem::replace(&mut self.has_heard, true) {
            is_http(input)?;
        }
        loop {
            match self.client.poll_event() {
                Some(Told::Started) => return Ok(Some(Event::Joined { server: None })),
                Some(Told::Frame(frame)) if frame.kind != TrackKind::Data => {
                    return Ok(Some(Event::Frame(frame)));
                }
                Some(Told::Refused { code, description } | Told::Ended { code, description }) => {
                    return Err(io::Error::other(format!(
                        "{}: {}",
                        words(&code),
                        words(&description)
                    )));
                }
                Some(_) => {}
                None if input.is_empty() => return Ok(None),
                None => {
                    let taken = self.client.handle_input(now, input).map_err(io::Error::other)?;
                    *input = &input[taken..];
                }
            }
        }
    }

    fn poll_transmit(&mut self, out: &mut Chain) -> bool {
        self.client.poll_transmit(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_speaks_http_is_told() {
        let stream = parse("rtmp://127.0.0.1:8080/live/x").expect("a URL");
        let mut viewer = stream.open(0, Instant::now());
        let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        let error = viewer.handle_input(Instant::now(), &mut &answer[..]).expect_err("no RTMP");
        assert!(error.to_string().contains("this port speaks HTTP"), "{error}");
    }

    #[test]
    fn a_sign_of_life_is_an_acknowledgement_of_the_bytes_received() {
        let stream = parse("rtmp://127.0.0.1/live/x").expect("a URL");
        let said = stream.sign_of_life(0x0102_0304).expect("RTMP has one");
        let header = [0x02, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0];
        assert_eq!(said.as_slice(), [&header[..], &[1, 2, 3, 4]].concat());
    }
}
