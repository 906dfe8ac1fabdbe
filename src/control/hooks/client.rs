//! HTTP clients for hook servers, with and without TLS.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::config::{Hook, Hooks};

/// Keeps connections for the next request.
pub(super) type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The clients there are.
#[derive(Debug)]
pub(super) struct Clients {
    plain: Client,
    secure: Mutex<Option<Secure>>,
}

/// One that has read whom to trust.
#[derive(Debug)]
struct Secure {
    ca_file: String,
    roots: RootCertStore,
    client: Client,
}

/// Shorter than servers commonly keep them: a request on a connection that is just being closed
/// would have to be sent again.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Nobody waits for longer than `hooks.timeout`, but what is dropped is not always dropped at once.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// To one server.
const CONNECTIONS_KEPT: usize = 128;

impl Clients {
    /// Reads nothing yet.
    pub(super) fn new() -> Self {
        Self { plain: client(RootCertStore::empty()), secure: Mutex::default() }
    }

    /// Without TLS.
    pub(super) fn plain(&self) -> Client {
        self.plain.clone()
    }

    /// With TLS to servers whose certificates are signed by one of `ca_file`, or by one that the host
    /// trusts if that is empty. They are read when they are needed first, and by [`Self::renew`].
    ///
    /// # Errors
    /// Nobody can be trusted.
    pub(super) fn secure(&self, ca_file: &str) -> Result<Client, String> {
        let mut secure = self.secure.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Secure { client, .. }) = secure.as_ref().filter(|it| it.ca_file == ca_file) {
            return Ok(client.clone());
        }
        let new = Secure::new(ca_file, authorities(ca_file)?);
        Ok(secure.insert(new).client.clone())
    }

    /// The authorities of `ca_file` have just been read: they are trusted, and nobody else.
    pub(super) fn renew(&self, ca_file: &str, roots: RootCertStore) {
        let mut secure = self.secure.lock().unwrap_or_else(PoisonError::into_inner);
        // Or else connections that are kept go on.
        if secure.as_ref().is_none_or(|it| it.roots.roots != roots.roots) {
            *secure = Some(Secure::new(ca_file, roots));
        } else if let Some(secure) = secure.as_mut() {
            ca_file.clone_into(&mut secure.ca_file);
        }
    }
}

impl Secure {
    fn new(ca_file: &str, roots: RootCertStore) -> Self {
        Self { ca_file: ca_file.to_owned(), client: client(roots.clone()), roots }
    }
}

fn client(roots: RootCertStore) -> Client {
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider speaks both")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    // Or else it would refuse https.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_MAX));
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(KEEP_ALIVE).pool_timer(TokioTimer::new());
    builder.pool_max_idle_per_host(CONNECTIONS_KEPT);
    builder.build(connector.wrap_connector(tcp))
}

/// Whether the authorities that `hooks` needs can be read: those it names, or those of the host for a
/// server of https.
///
/// # Errors
/// Nobody can be trusted.
pub(crate) fn check_authorities(hooks: &Hooks) -> Result<(), String> {
    if needs_authorities(hooks) { authorities(&hooks.ca_file).map(drop) } else { Ok(()) }
}

pub(super) fn needs_authorities(hooks: &Hooks) -> bool {
    let mut urls = Hook::ALL.into_iter().filter_map(|hook| hooks.url(hook));
    let secure = |url: &str| url.get(..6).is_some_and(|it| it.eq_ignore_ascii_case("https:"));
    !hooks.ca_file.is_empty() || urls.any(secure)
}

/// Reads whom `ca_file` names, or whom the host trusts if it is empty.
///
/// # Errors
/// Nobody can be trusted.
pub(super) fn authorities(ca_file: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if ca_file.is_empty() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err("this host trusts no authority that signs certificates: install its \
                        ca-certificates, or set hooks.ca_file"
                .to_owned());
        }
        return Ok(roots);
    }
    let failed = |error: &dyn std::fmt::Display| format!("hooks.ca_file: {ca_file}: {error}");
    for certificate in CertificateDer::pem_file_iter(ca_file).map_err(|error| failed(&error))? {
        let certificate = certificate.map_err(|error| failed(&error))?;
        roots.add(certificate).map_err(|error| failed(&error))?;
    }
    match roots.is_empty() {
        true => Err(failed(&"expected a certificate in PEM, found none")),
        false => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_named_as_such() {
        let clients = Clients::new();
        let missing = clients.secure("/nowhere/ca.pem").expect_err("there is none");
        assert!(missing.starts_with("hooks.ca_file: /nowhere/ca.pem: "), "{missing}");
        let empty = clients.secure("/dev/null").expect_err("it is empty");
        assert!(empty.ends_with("expected a certificate in PEM, found none"), "{empty}");
    }
}
