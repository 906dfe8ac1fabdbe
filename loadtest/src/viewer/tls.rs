//! TLS around what a viewer says and hears, whatever the protocol.
//!
//! Who inspects decrypts all that comes. Who only discards keeps no more than what it takes to say a
//! word now and then ([`Voice`]): its records are thrown away by the kernel as they are.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use corecast::bytes::Chain;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use serde::{Deserialize, Serialize};

use super::{Event, Session, SignOfLife, Stream};

/// Which servers are believed to be who they say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// A PEM file with the authorities that sign their certificates, or with such a certificate
    /// itself; none: those that this host trusts.
    pub ca: Option<PathBuf>,
    /// All of them, whatever they show.
    pub insecure: bool,
}

impl Trust {
    /// What clients go by.
    ///
    /// # Errors
    /// There is no authority in the file, or none on this host.
    pub(super) fn client(&self) -> io::Result<Arc<ClientConfig>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let mut config = match self.insecure {
            true => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            }
            false => builder.with_root_certificates(self.roots()?),
        }
        .with_no_client_auth();
        // Each viewer is somebody else.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    fn roots(&self) -> io::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.ca else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return match roots.is_empty() {
                true => Err(io::Error::other(
                    "this host has no authorities that sign certificates (cure: --ca FILE)",
                )),
                false => Ok(roots),
            };
        };
        let wrong = |error: &dyn fmt::Display| {
            let path = path.display();
            io::Error::other(format!("expected certificates in PEM in {path}: {error}"))
        };
        let found = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
        for certificate in found {
            roots
                .add(certificate.map_err(|error| wrong(&error))?)
                .map_err(|error| wrong(&error))?;
        }
        match roots.is_empty() {
            true => Err(wrong(&"there are none")),
            false => Ok(roots),
        }
    }
}

/// Believes everybody who has the key of the certificate that they show.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A stream behind TLS.
pub(super) struct Secure {
    inner: Box<dyn Stream>,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Secure {
    /// `inner`, whose host is asked for by name.
    pub(super) fn new(inner: Box<dyn Stream>, config: Arc<ClientConfig>) -> Result<Self, String> {
        let (host, _) = inner.address();
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            format!("expected a host name that a certificate can have, found {host:?}")
        })?;
        Ok(Self { inner, config, name })
    }
}

impl Stream for Secure {
    fn address(&self) -> (&str, u16) {
        self.inner.address()
    }

    fn open(&self, seed: u64, now: Instant) -> Box<dyn Session> {
        let tls = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        let tls = tls.expect("the configuration has versions and suites");
        let speaks_later = self.inner.sign_of_life(0).is_some();
        let inner = self.inner.open(seed, now);
        Box::new(Viewer { tls, inner, plain: Vec::new(), read: 0, has_heard: false, speaks_later })
    }

    fn sign_of_life(&self, received: u32) -> Option<SignOfLife> {
        self.inner.sign_of_life(received)
    }
}

struct Viewer {
    tls: ClientConnection,
    inner: Box<dyn Session>,
    /// Decrypted; the session inside has taken the first `read` bytes of it.
    plain: Vec<u8>,
    read: usize,
    has_heard: bool,
    speaks_later: bool,
}

impl Session for Viewer {
    fn handle_input(&mut self, now: Instant, input: &mut &[u8]) -> io::Result<Option<Event>> {
        loop {
            // Before its first byte there is nothing to be asked.
            if self.has_heard {
                let mut rest = &self.plain[self.read..];
                let event = self.inner.handle_input(now, &mut rest)?;
                self.read = self.plain.len() - rest.len();
                if event.is_some() {
                    return Ok(event);
                }
            }
            if input.is_empty() {
                return Ok(None);
            }
            self.decrypt(input)?;
        }
    }

    fn poll_transmit(&mut self, out: &mut Chain) -> bool {
        let mut words = Chain::default();
        while self.inner.poll_transmit(&mut words) {}
        // Until the handshake is done they wait in there.
        let records = words.slices().try_for_each(|slice| self.tls.writer().write_all(slice));
        let records = records.and_then(|()| records_of(&mut self.tls));
        // Err: more waits than a viewer ever says, and the server will mind what is missing.
        let any = records.as_ref().is_ok_and(|records| !records.is_empty());
        records.into_iter().filter(|_| any).for_each(|records| out.push(records));
        any
    }

    fn into_voice(self: Box<Self>) -> Option<Box<Voice>> {
        self.speaks_later.then(|| Box::new(Voice(self.tls)))
    }
}

impl Viewer {
    fn decrypt(&mut self, input: &mut &[u8]) -> io::Result<()> {
        self.plain.drain(..std::mem::take(&mut self.read));
        self.tls.read_tls(input)?;
        let state = self.tls.process_new_packets().map_err(|error| self.explain(&error))?;
        let more = state.plaintext_bytes_to_read();
        let begin = self.plain.len();
        self.plain.resize(begin + more, 0);
        self.has_heard |= more > 0;
        self.tls.reader().read_exact(&mut self.plain[begin..])
    }

    fn explain(&self, error: &rustls::Error) -> io::Error {
        let cure = match error {
            rustls::Error::InvalidCertificate(_) => {
                " (cure: --ca FILE with who signed it, the name that it is for, or --insecure)"
            }
            rustls::Error::InvalidMessage(_) if self.tls.is_handshaking() => {
                "; does this port speak TLS?"
            }
            _ => "",
        };
        io::Error::other(format!("TLS: {error}{cure}"))
    }
}

/// What is left of a viewer that only says a word now and then.
pub(crate) struct Voice(ClientConnection);

impl Voice {
    /// `words` as they are sent.
    ///
    /// # Errors
    /// The keys are used up.
    pub(crate) fn seal(&mut self, words: &[u8]) -> io::Result<Vec<u8>> {
        self.0.writer().write_all(words)?;
        records_of(&mut self.0)
    }
}

/// All that is to be sent.
fn records_of(tls: &mut ClientConnection) -> io::Result<Vec<u8>> {
    let mut records = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut records)?;
    }
    Ok(records)
}
