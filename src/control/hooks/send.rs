//! One request to a hook server.

use std::sync::Arc;
use std::thread;

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Uri, header};
use tokio::sync::oneshot;

use super::client::{Clients, authorities, needs_authorities};
use super::payload::Message;
use super::reply::Reply;
use crate::config::{Config, Hooks};

/// Sends, over connections that stay for the next request.
#[derive(Debug)]
pub(super) struct Sender(Clients);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    /// For the log.
    pub(super) why: String,
    /// The server may have heard the request nevertheless.
    pub(super) perhaps_heard: bool,
}

/// An answer is read up to here.
const BODY_MAX: usize = 64 << 10;

impl Sender {
    pub(super) fn new() -> Self {
        Self(Clients::new())
    }

    /// Reads whom to trust by `config`, on a thread of its own: a file may have to be waited for, and
    /// those of the runtime may all be busy with names that nobody resolves.
    ///
    /// # Errors
    /// Nobody can be trusted; then those of before are.
    pub(super) async fn trust_anew(&self, config: Arc<Config>) -> Result<(), String> {
        if !needs_authorities(&config.hooks) {
            return Ok(());
        }
        let (done, roots) = oneshot::channel();
        let its = Arc::clone(&config);
        // Err: nobody waits for it any more.
        let read = move || drop(done.send(authorities(&its.hooks.ca_file)));
        let thread = thread::Builder::new().name("authorities".to_owned()).spawn(read);
        thread.map_err(|error| format!("no thread to read them: {error}"))?;
        let roots = roots.await.map_err(|_| "they could not be read: see the log".to_owned())??;
        self.0.renew(&config.hooks.ca_file, roots);
        Ok(())
    }

    /// Sends `message` to `url`, by what `hooks` says, and waits for the answer. Dropped, it closes
    /// the connection.
    pub(super) async fn post(
        &self,
        url: &str,
        hooks: &Hooks,
        message: &Message,
    ) -> Result<Reply, Failed> {
        let unsent = |why: String| Failed { why, perhaps_heard: false };
        let url: Uri = url.parse().map_err(|error| unsent(format!("the URL: {error}")))?;
        let client = match url.scheme_str() {
            Some("https") => self.0.secure(&hooks.ca_file).map_err(unsent)?,
            _ => self.0.plain(),
        };
        let mut request = Request::post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("corecast/", env!("CARGO_PKG_VERSION")))
            .header("x-corecast-event", &message.event_id);
        if let Some(signature) = message.signature(&hooks.secret) {
            request = request.header("x-corecast-signature", signature);
        }
        let request = request.body(Full::new(message.body.clone()));
        let request = request.map_err(|error| unsent(error.to_string()))?;
        let response = client
            .request(request)
            .await
            .map_err(|error| Failed { perhaps_heard: !error.is_connect(), why: chain(&error) })?;
        let status = response.status().as_u16();
        match Limited::new(response.into_body(), BODY_MAX).collect().await {
            Ok(body) => Ok(Reply { status, body: Some(body.to_bytes()) }),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Ok(Reply { status, body: None })
            }
            Err(error) => Err(Failed { why: chain(&*error), perhaps_heard: true }),
        }
    }
}

/// An error with what caused it, which alone says something.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
