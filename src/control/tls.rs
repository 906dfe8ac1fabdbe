//! Certificates: read from files, chosen by the name a client asks for, and read again when the
//! files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use tokio::sync::watch;

use crate::config::{self, Config, TlsVersion};
use crate::net::TlsConfigs;
use crate::serve::Mesh;
use crate::serve::order::Order;
use crate::shard::{CoreId, Tell};

/// Why a certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
#[error("tls.certificates: {}: {cause}\n  cure: {cure}", path.display())]
pub struct TlsError {
    path: PathBuf,
    cause: String,
    cure: &'static str,
}

/// All certificates. The first is for clients that name no host, or one that none is for.
#[derive(Debug)]
struct Certificates(Vec<Named>);

#[derive(Debug)]
struct Named {
    /// Hosts in small letters; `*.` stands for one label.
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = client.server_name().map(str::to_ascii_lowercase);
        let found = name.and_then(|name| self.find(&name)).or(self.0.first())?;
        Some(Arc::clone(&found.key))
    }
}

impl Certificates {
    /// A certificate for the very name goes before one for all of its siblings.
    fn find(&self, name: &str) -> Option<&Named> {
        let has = |wanted: &str| self.0.iter().find(|it| it.names.iter().any(|n| n == wanted));
        let siblings = || has(&format!("*.{}", name.split_once('.')?.1));
        has(name).or_else(siblings)
    }
}

/// Reads what `config` names. `None` if it names nothing.
///
/// # Errors
/// A file cannot be read, or does not hold what it should.
pub(crate) fn load(config: &config::Tls) -> Result<Option<TlsConfigs>, TlsError> {
    if config.certificates.is_empty() {
        return Ok(None);
    }
    let all = config.certificates.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions: &[_] = match config.min_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let mut rtmp = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("the provider has both versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Certificates(all)));
    // So that viewers who come back need no new signature. Err: no randomness, and no tickets then.
    if let Ok(ticketer) = aws_lc_rs::Ticketer::new() {
        rtmp.ticketer = ticketer;
        rtmp.send_tls13_tickets = 1;
    }
    let mut http = rtmp.clone();
    http.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsConfigs { rtmp: Arc::new(rtmp), http: Arc::new(http) }))
}

fn read(files: &config::Certificate) -> Result<Named, TlsError> {
    let wrong = |path: &str, cause: String, cure| TlsError { path: path.into(), cause, cure };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&files.cert, error.to_string(), "name a readable PEM file"))?;
    let first = chain.first().ok_or_else(|| {
        let cure = "the file must hold `-----BEGIN CERTIFICATE-----`";
        wrong(&files.cert, "there is no certificate in it".to_owned(), cure)
    })?;
    let names = webpki::EndEntityCert::try_from(first)
        .map_err(|error| wrong(&files.cert, error.to_string(), "renew the certificate"))?
        .valid_dns_names()
        .map(str::to_ascii_lowercase)
        .collect();
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| {
        wrong(&files.key, error.to_string(), "name a readable PEM file with a key")
    })?;
    let signer = aws_lc_rs::sign::any_supported_type(&key).map_err(|error| {
        wrong(&files.key, error.to_string(), "use an RSA, ECDSA or Ed25519 key")
    })?;
    let key = CertifiedKey::new(chain, signer);
    // Unknown: a kind of key whose public half cannot be told from the private one.
    if let Err(error) = key.keys_match()
        && !matches!(error, rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown))
    {
        return Err(wrong(&files.key, error.to_string(), "name the key of that certificate"));
    }
    Ok(Named { names, key: Arc::new(key) })
}

/// Reads the files again whenever one of them has changed, and tells the cores. What cannot be
/// used is logged, and what there was goes on.
pub(crate) async fn watch(in_force: watch::Receiver<Arc<Config>>, mesh: Arc<Mesh>) {
    let mut seen = stamps(&in_force.borrow().tls);
    loop {
        let interval = in_force.borrow().tls.watch;
        tokio::time::sleep(interval).await;
        let config = Arc::clone(&in_force.borrow());
        let now = stamps(&config.tls);
        if now == seen {
            continue;
        }
        seen = now;
        match load(&config.tls) {
            Ok(Some(configs)) => {
                certify(&mesh, &configs);
                tracing::info!("certificates were read again: new connections get the new ones");
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the certificates stay as they were"),
        }
    }
}

/// Tells every core what to show from now on.
pub(crate) fn certify(mesh: &Mesh, configs: &TlsConfigs) {
    let configs = Arc::new(configs.clone());
    for core in 0..mesh.cores() {
        let core = CoreId(u16::try_from(core).expect("fewer than 2^16 cores"));
        if mesh.try_tell(core, Tell::Order(Order::Certify(Arc::clone(&configs)))).is_err() {
            tracing::error!(%core, "its inbox is full: it goes on with the certificates it has");
        }
    }
}

fn stamps(config: &config::Tls) -> Vec<Option<SystemTime>> {
    let files = config.certificates.iter().flat_map(|files| [&files.cert, &files.key]);
    files.map(|file| Path::new(file).metadata().and_then(|data| data.modified()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_named_with_the_cure() {
        let files =
            config::Certificate { cert: "/nowhere/a.pem".into(), key: "/nowhere/a.key".into() };
        let config = config::Tls { certificates: vec![files], ..config::Tls::default() };
        let error = load(&config).expect_err("there is no such file").to_string();
        assert!(error.starts_with("tls.certificates: /nowhere/a.pem: "), "{error}");
        assert!(error.contains("cure: name a readable PEM file"), "{error}");
    }
}
