//! The API over TLS. The handshake is done in the connection's own task and place, so that whoever
//! dawdles at it holds up nobody.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONNECTION;
use axum::response::IntoResponse;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::problem::Problem;
use super::{End, HEAD_TIMEOUT};

/// What newcomers are shown, now; none if there is no certificate.
pub(super) type Certificates = watch::Receiver<Option<Arc<ServerConfig>>>;

/// How a client has begun.
enum Begun {
    Tls(Box<TlsStream<TcpStream>>),
    /// It speaks HTTP as it is.
    Plain(TcpStream),
}

/// Serves whoever has connected, to its end.
pub(super) async fn answer(
    socket: TcpStream,
    end: End,
    certificates: &Certificates,
    router: Router,
) {
    let Some(config) = certificates.borrow().clone() else {
        tracing::error!("admin: a client of TLS was closed, as there is no certificate");
        return;
    };
    match timeout(HEAD_TIMEOUT, begin(socket, config)).await {
        Ok(Ok(Begun::Tls(stream))) => super::answer(stream, end, router).await,
        Ok(Ok(Begun::Plain(socket))) => {
            super::answer(socket, end, Router::new().fallback(is_secure)).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "admin: no TLS handshake"),
        Err(_) => tracing::debug!("admin: no TLS handshake in time"),
    }
}

async fn begin(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Begun> {
    let mut first = [0];
    if socket.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // A method; TLS begins with 22.
    if first[0].is_ascii_uppercase() {
        return Ok(Begun::Plain(socket));
    }
    let stream = TlsAcceptor::from(config).accept(socket).await?;
    Ok(Begun::Tls(Box::new(stream)))
}

async fn is_secure() -> impl IntoResponse {
    let problem = Problem::bad_request("this port speaks TLS alone: ask by https://");
    ([(CONNECTION, "close")], problem)
}
