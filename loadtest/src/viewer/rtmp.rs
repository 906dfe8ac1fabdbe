//! RTMP: the server's own client machine. Viewers that let go of it after Play.Start are silent:
//! they acknowledge nothing, which servers that wait for that would notice.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use corecast::bytes::Chain;
use corecast::media::TrackKind;
use corecast::proto::rtmp::client::Event as Told;
use corecast::proto::rtmp::{Client, ClientConfig, Goal, Url};

use super::{Event, Session, Stream, words};

/// A URL of the scheme `rtmp`.
pub(super) fn parse(url: &str) -> Result<Box<dyn Stream>, String> {
    let url: Url = url.parse().map_err(|error| format!("{error}"))?;
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
        Box::new(Viewer(Client::new(config, url, Goal::Play, seed, now)))
    }
}

struct Viewer(Client);

impl Session for Viewer {
    fn handle_input(&mut self, now: Instant, input: &mut &[u8]) -> io::Result<Option<Event>> {
        loop {
            match self.0.poll_event() {
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
                    let taken = self.0.handle_input(now, input).map_err(io::Error::other)?;
                    *input = &input[taken..];
                }
            }
        }
    }

    fn poll_transmit(&mut self, out: &mut Chain) -> bool {
        self.0.poll_transmit(out)
    }
}
