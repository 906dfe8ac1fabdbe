//! Connections from trusted proxies, before anyone knows whose they are.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;

use super::conn::{Conn, End, Io};
use super::core::Core;
use super::end_line::EndLine;
use super::proxy_header::{Opening, ProxyHeader};
use super::verdict::Protocol;
use super::{accept, http};
use crate::config;
use crate::net::rt;

/// What is to be read of a connection from `peer` before anything else.
pub(super) fn header_of(core: &Core, peer: IpAddr, protocol: Protocol) -> Option<ProxyHeader> {
    let setup = core.setup();
    let proxy = &setup.config.proxy;
    let kind = match protocol {
        Protocol::Rtmp => proxy.rtmp,
        Protocol::Http => proxy.http,
    };
    match kind {
        _ if !proxy.trusts(peer) => None,
        config::ProxyHeader::Off => None,
        config::ProxyHeader::Optional => Some(ProxyHeader::new(false)),
        config::ProxyHeader::Required => Some(ProxyHeader::new(true)),
    }
}

/// Reads the header, and goes on with the connection as its client's own, or ends it.
/// `secure`: over TLS, which begins behind the header.
pub(super) async fn run(mut conn: Conn, header: ProxyHeader, secure: bool) {
    match read(&mut conn, header).await {
        Ok(Opening { client, rest }) => go_on(conn, client, &rest, secure),
        Err(None) => {}
        Err(Some(end)) => {
            let told = match (&end, conn.about.protocol) {
                (End::Violation(what), Protocol::Http) if !secure => Some(http::bad_request(what)),
                _ => None,
            };
            EndLine::default().write(&conn, &end);
            if let Some(told) = told {
                conn.out.push(told);
                conn.say_goodbye().await;
            }
        }
    }
}

/// `Err(None)`: it was closed without a word, as balancers do that only look whether we are there.
async fn read(conn: &mut Conn, mut header: ProxyHeader) -> Result<Opening, Option<End>> {
    let patience = conn.core.setup().config.proxy.header_timeout;
    let until = conn.about.opened + patience;
    loop {
        match poll_fn(|cx| conn.poll_io(cx, Some(until))).await {
            Ok(Io::Input { read, .. }) => {
                let found = header.handle_input(&conn.core.scratch.borrow()[..read]);
                if let Some(opening) = found.map_err(|error| End::Violation(error.to_string()))? {
                    return Ok(opening);
                }
            }
            Ok(Io::Closed) if header.had() == 0 => return Err(None),
            Ok(Io::Closed) => return Err(Some(End::PeerClosed)),
            Ok(Io::Written) => {}
            Ok(Io::Deadline) => {
                let what = format!(
                    "proxy: expected a PROXY protocol header or a first byte within {patience:?} \
                     (proxy.header_timeout), found {} bytes",
                    header.had()
                );
                return Err(Some(End::Violation(what)));
            }
            Err(error) => return Err(Some(End::Socket(error))),
        }
        rt::yield_if_needed().await;
    }
}

fn go_on(mut conn: Conn, client: Option<SocketAddr>, rest: &[u8], secure: bool) {
    let mut refused = None;
    if let Some(client) = client {
        let proxy = conn.about.peer;
        let here = conn.about.set_peer(client);
        let id = conn.about.client;
        tracing::debug!(client = %id, peer = %client, %proxy, "the proxy says whose it is");
        refused = accept::too_many_of_one(&conn.core, client.ip(), here);
    }
    if secure {
        if !accept::begin_tls(&mut conn, rest) {
            return;
        }
    } else if !rest.is_empty() {
        conn.unread = Some(Box::new(BytesMut::from(rest)));
    }
    match refused {
        Some(reason) => accept::refuse(conn, None, &reason),
        None => accept::serve(conn),
    }
}
