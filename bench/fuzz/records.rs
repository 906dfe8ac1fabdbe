//! TLS, from its first byte and behind a handshake that was right.

use std::io::{IoSlice, Read, Write};
use std::sync::{Arc, LazyLock};

use corecast::net::{Plaintext, ROOM, Session};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

use super::pieces;

/// Made for this alone. It is shown to nobody else and ends in a hundred years.
const IDENTITY: &[u8] = include_bytes!("identity.pem");

static SERVER: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let key = PrivateKeyDer::from_pem_slice(IDENTITY).expect("a key");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("both versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate()], key)
        .expect("they belong together");
    Arc::new(config)
});

/// Clients that trust it, of either version.
static CLIENTS: LazyLock<[Arc<ClientConfig>; 2]> = LazyLock::new(|| {
    [&TLS12, &TLS13].map(|version| {
        let mut roots = RootCertStore::empty();
        roots.add(certificate()).expect("a good one");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("both versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    })
});

fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(IDENTITY).expect("a certificate")
}

/// Records of a client. The first byte says how long the pieces are, the second whether a
/// handshake comes before them, and whether they are what is said in records or the records
/// themselves. What is said arrives, and whoever breaks a rule is told and hears no more.
pub(crate) fn tls_records(data: &[u8]) {
    let (data, size) = pieces(data);
    let [how, data @ ..] = data else { return };
    let mut session = Session::new(Arc::clone(&SERVER)).expect("a good configuration");
    let client = match how % 5 {
        0 => None,
        1 | 2 => Some(connect(&mut session, 0)),
        _ => Some(connect(&mut session, 1)),
    };
    match client {
        Some(mut client) if how % 2 == 1 => speak(&mut session, &mut client, data, size),
        Some(_) | None => feed_raw(&mut session, data, size),
    }
}

/// Shakes hands with a client of rustls.
fn connect(session: &mut Session, version: usize) -> ClientConnection {
    let name = ServerName::try_from("localhost").expect("a host name");
    let config = Arc::clone(&CLIENTS[version]);
    let mut client = ClientConnection::new(config, name).expect("a good configuration");
    while client.is_handshaking() || session.is_handshaking() {
        let mut records = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut records).expect("a vector takes it");
        }
        session.receive(&records).expect("rustls is right");
        hear(session, &mut client).expect("we are right");
    }
    client
}

/// The client takes all that the session has to send.
fn hear(session: &mut Session, client: &mut ClientConnection) -> Result<(), rustls::Error> {
    let mut records = session.unsent();
    let count = records.len();
    while !records.is_empty() {
        client.read_tls(&mut records).expect("a slice is read");
        client.process_new_packets()?;
    }
    session.sent(count);
    Ok(())
}

/// Everything is said there and back.
fn speak(session: &mut Session, client: &mut ClientConnection, data: &[u8], size: usize) {
    let mut room = vec![0; ROOM];
    for said in data.chunks(size) {
        client.writer().write_all(said).expect("it is buffered");
        let mut records = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut records).expect("a vector takes it");
        }
        records.chunks(size).for_each(|piece| {
            session.receive(piece).expect("rustls is right");
        });
        let mut heard = vec![0; said.len() + 1];
        let count = session.read(&mut heard);
        assert_eq!(heard[..count], *said);
        let slices = [IoSlice::new(said), IoSlice::new(b""), IoSlice::new(said)];
        let mut plain = Plaintext::new(&slices);
        while !plain.is_empty() {
            let (taken, made) = session.encrypt(&mut plain, &mut room).expect("they have met");
            assert!(taken > 0);
            session.keep(&room[..made]);
        }
        hear(session, client).expect("we are right");
        let mut back = vec![0; 2 * said.len()];
        client.reader().read_exact(&mut back).expect("it has come");
        assert_eq!(back, [said, said].concat());
    }
    session.close();
    hear(session, client).expect("we are right");
    assert_eq!(client.reader().read(&mut [0]).expect("it has ended"), 0);
}

/// What is no answer to anything. After an error nothing is asked of it but what is left to say.
fn feed_raw(session: &mut Session, data: &[u8], size: usize) {
    let mut scratch = [0; 64];
    for piece in data.chunks(size) {
        if session.receive(piece).is_err() {
            return session.sent(session.unsent().len());
        }
        while session.read(&mut scratch) > 0 {}
        assert_eq!(session.readable(), 0);
    }
    let slices = [IoSlice::new(b"a word")];
    let _ = session.encrypt(&mut Plaintext::new(&slices), &mut vec![0; ROOM]);
    session.close();
    session.sent(session.unsent().len());
}
