//! Certificates: read from files, chosen by the name a client asks for, and read again when the
//! files change.

mod dated;

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

use super::cores::{ANSWER_WITHIN, ask_all, silent};
use crate::config::{self, Config, TlsVersion};
use crate::net::TlsConfigs;
use crate::serve::core::Node;
use crate::serve::order::Order;

pub(crate) use self::dated::{Dated, remind};

/// Why a certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
#[error("tls.certificates: {}: {cause}\n  cure: {cure}", path.display())]
pub struct TlsError {
    path: PathBuf,
    cause: String,
    cure: &'static str,
}

/// Certificates that may be shown.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What shows them.
    pub(crate) configs: Arc<TlsConfigs>,
    dated: Vec<Dated>,
}

impl Loaded {
    /// Whether clients would take them at `now`. Those that are `shown` already are not looked at:
    /// nothing is worse by them than it was.
    ///
    /// # Errors
    /// The first that they would not take.
    pub(crate) fn check_dates(&self, shown: &[Dated], now: SystemTime) -> Result<(), TlsError> {
        let mut others = self.dated.iter().filter(|it| !shown.contains(it));
        let refused = others.find_map(|it| Some((it, it.refusal(now)?)));
        refused.map_or(Ok(()), |(it, (cause, cure))| {
            Err(TlsError { path: PathBuf::from(&it.file), cause, cure })
        })
    }

    /// When the next of those is good that are not yet.
    fn begins(&self, now: SystemTime) -> Option<SystemTime> {
        self.dated.iter().map(|it| it.not_before).filter(|begins| *begins > now).min()
    }
}

/// All certificates. The first is for clients that name no host, or one that none is for.
#[derive(Debug)]
struct Certificates(Vec<Named>);

#[derive(Debug)]
struct Named {
    /// Whom it is for, among others.
    dated: Dated,
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
        let has =
            |wanted: &str| self.0.iter().find(|it| it.dated.names.iter().any(|n| n == wanted));
        let siblings = || has(&format!("*.{}", name.split_once('.')?.1));
        has(name).or_else(siblings)
    }
}

/// Reads what `config` names, whatever its dates. `None` if it names nothing.
///
/// # Errors
/// A file cannot be read, or does not hold what it should.
pub(crate) fn load(config: &config::Tls) -> Result<Option<Loaded>, TlsError> {
    if config.certificates.is_empty() {
        return Ok(None);
    }
    let all = config.certificates.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let dated = all.iter().map(|named| named.dated.clone()).collect();
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
    let configs = TlsConfigs { rtmp: Arc::new(rtmp), http: Arc::new(http) };
    Ok(Some(Loaded { configs: Arc::new(configs), dated }))
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
    let dated = Dated::read(&files.cert, first)
        .map_err(|error| wrong(&files.cert, error.to_string(), "renew the certificate"))?;
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
    Ok(Named { dated, key: Arc::new(key) })
}

/// Reads the files again whenever one of them has changed, and has them shown. What cannot be
/// used is logged, and what there was goes on: a certificate that was written without its key yet, and
/// one that no client takes any more, or not yet.
pub(crate) async fn watch(in_force: watch::Receiver<Arc<Config>>, shown: Shown) {
    let mut seen = stamps(&in_force.borrow().tls);
    // When one is good that was not yet.
    let mut begins: Option<SystemTime> = None;
    loop {
        let interval = in_force.borrow().tls.watch;
        tokio::time::sleep(interval).await;
        let config = Arc::clone(&in_force.borrow());
        let (changed, now) = (stamps(&config.tls), SystemTime::now());
        if changed == seen && begins.is_none_or(|begins| now < begins) {
            continue;
        }
        (seen, begins) = (changed, None);
        let loaded = load(&config.tls).and_then(|loaded| {
            let Some(loaded) = loaded else { return Ok(None) };
            begins = loaded.begins(now);
            loaded.check_dates(&shown.certificates.borrow(), now)?;
            Ok(Some(loaded))
        });
        match loaded {
            Ok(Some(loaded)) => match shown.certify(loaded).await {
                Ok(()) => {
                    tracing::info!(
                        "certificates were read again: new connections get the new ones"
                    );
                }
                Err(late) => {
                    tracing::error!("{late}: it is told of the new certificates once more");
                    // As if none had been seen, so that the next look finds them new.
                    seen.clear();
                }
            },
            Ok(None) => {}
            Err(TlsError { path, cause, cure }) => tracing::warn!(
                file = %path.display(),
                cause,
                cure,
                "the certificates stay as they were until the files change"
            ),
        }
    }
}

/// Those who show the certificates: the cores, and the API.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    node: Arc<Node>,
    api: watch::Sender<Option<Arc<ServerConfig>>>,
    certificates: watch::Sender<Arc<[Dated]>>,
}

impl Shown {
    /// The API shows those that were `loaded`; the cores have been given theirs.
    pub(crate) fn new(node: Arc<Node>, loaded: Option<&Loaded>) -> Self {
        let api = loaded.map(|loaded| Arc::clone(&loaded.configs.http));
        let certificates = loaded.map_or_else(Arc::default, |loaded| loaded.dated.clone().into());
        let certificates = watch::Sender::new(certificates);
        Self { node, api: watch::Sender::new(api), certificates }
    }

    /// From now on they show those that were `loaded`, to newcomers.
    ///
    /// # Errors
    /// The cores that have not said so, in words.
    pub(crate) async fn certify(&self, loaded: Loaded) -> Result<(), String> {
        let Loaded { configs, dated } = loaded;
        self.api.send_replace(Some(Arc::clone(&configs.http)));
        self.certificates.send_replace(dated.into());
        let certify = |_, asker| Order::Certify(Arc::clone(&configs), asker);
        silent(&ask_all(&self.node, ANSWER_WITHIN, certify).await).map_or(Ok(()), Err)
    }

    /// Those that are shown, now.
    pub(crate) fn certificates(&self) -> watch::Receiver<Arc<[Dated]>> {
        self.certificates.subscribe()
    }

    /// What the API shows, now.
    pub(crate) fn by_api(&self) -> watch::Receiver<Option<Arc<ServerConfig>>> {
        self.api.subscribe()
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
