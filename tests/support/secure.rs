//! Plain sockets whose other end is a TLS connection to the server: a client of rustls between two
//! sockets, so that every peer of the tests can speak through it.

// Each test program uses a part.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, RootCertStore, ServerConfig,
    SupportedProtocolVersion,
};

/// A certificate for some names, in files of its own.
pub(crate) struct Certificate {
    dir: PathBuf,
}

impl Certificate {
    /// A new one for `names`, signed by itself; `number` tells the directory.
    pub(crate) fn new(number: u32, names: &[&str]) -> Self {
        let dir =
            std::env::temp_dir().join(format!("corecast-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory of ours");
        let this = Self { dir };
        this.renew(names);
        this
    }

    /// Writes another one into the same files.
    pub(crate) fn renew(&self, names: &[&str]) {
        let [key, cert] = self.beside();
        let kind = |name: &str| if name.parse::<IpAddr>().is_ok() { "IP" } else { "DNS" };
        let names: Vec<_> = names.iter().map(|name| format!("{}:{name}", kind(name))).collect();
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ])
            .args(["-days", "30", "-subj", "/CN=test", "-addext"])
            .arg(format!("subjectAltName={}", names.join(",")))
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-keyout", &key, "-out", &cert])
            .output()
            .expect("openssl is there");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        self.put_in_place([&key, &cert]);
    }

    /// Where new files are made.
    fn beside(&self) -> [String; 2] {
        ["new-key.pem", "new-cert.pem"]
            .map(|name| self.dir.join(name).to_string_lossy().into_owned())
    }

    /// Whole from the first moment on: what is filled within one tick of the clock of the file system
    /// is not newer than what was empty, and whoever has read that would not look again.
    fn put_in_place(&self, [key, cert]: [&str; 2]) {
        std::fs::rename(key, self.key()).expect("one directory");
        std::fs::rename(cert, self.cert()).expect("one directory");
    }

    /// Writes another one into the same files, that is good from one day to another; each as date(1)
    /// reads it, such as `-3 days`.
    pub(crate) fn renew_for(&self, names: &[&str], from: &str, until: &str) {
        let run = |program: &str, arguments: &[&str]| {
            let made = Command::new(program).args(arguments).output().expect("it is there");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            String::from_utf8(made.stdout).expect("text").trim().to_owned()
        };
        let date = |day: &str| run("date", &["--utc", "--date", day, "+%Y%m%d%H%M%SZ"]);
        // `openssl req` knows no dates before version 3.4, `openssl ca` always did.
        let at = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        let (request, config, index) = (at("request.pem"), at("ca.cnf"), at("index"));
        let dir = self.dir.display();
        let text = format!(
            "[ca]\ndefault_ca = own\n[own]\ndatabase = {index}\nnew_certs_dir = {dir}\n\
             rand_serial = yes\ndefault_md = sha256\npolicy = any\ncopy_extensions = copy\n\
             unique_subject = no\n[any]\ncommonName = supplied\n"
        );
        std::fs::write(&config, text).expect("ours");
        std::fs::write(&index, "").expect("ours");
        let names: Vec<_> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let names = format!("subjectAltName={}", names.join(","));
        let [key, cert] = self.beside();
        run(
            "openssl",
            &[
                &["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"][..],
                &["-nodes", "-subj", "/CN=test", "-addext", &names, "-addext"],
                &["basicConstraints=critical,CA:FALSE", "-keyout", &key, "-out", &request],
            ]
            .concat(),
        );
        run(
            "openssl",
            &[
                &["ca", "-selfsign", "-batch", "-notext", "-config", &config, "-keyfile", &key][..],
                &["-startdate", &date(from), "-enddate", &date(until)],
                &["-in", &request, "-out", &cert],
            ]
            .concat(),
        );
        self.put_in_place([&key, &cert]);
    }

    pub(crate) fn cert(&self) -> String {
        self.dir.join("cert.pem").to_string_lossy().into_owned()
    }

    pub(crate) fn key(&self) -> String {
        self.dir.join("key.pem").to_string_lossy().into_owned()
    }

    /// As a value in the list `tls.certificates`.
    pub(crate) fn toml(&self) -> String {
        format!("{{ cert = '{}', key = '{}' }}", self.cert(), self.key())
    }

    /// Trusts this certificate alone, and speaks `versions`.
    pub(crate) fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for cert in CertificateDer::pem_file_iter(self.cert()).expect("written") {
            roots.add(cert.expect("a certificate")).expect("a good one");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("known versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    /// Shows this certificate.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let chain = CertificateDer::pem_file_iter(self.cert()).expect("written");
        let chain = chain.map(|cert| cert.expect("a certificate")).collect();
        let key = PrivateKeyDer::from_pem_file(self.key()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("both versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("they belong together");
        Arc::new(config)
    }

    /// The first that a client says to `name`, in its record.
    pub(crate) fn hello(&self, name: &'static str) -> Vec<u8> {
        let name = ServerName::try_from(name).expect("a host name");
        let client = ClientConnection::new(self.client(ALL_VERSIONS), name);
        let mut said = Vec::new();
        client.expect("it is good").write_tls(&mut said).expect("a vector takes it");
        said
    }

    /// A plain socket behind which `server` is spoken to by TLS, as `name`.
    pub(crate) fn connect(&self, server: &TcpStream, name: &'static str) -> TcpStream {
        self.connect_by(ALL_VERSIONS, server, name)
    }

    /// The same by one of `versions`.
    pub(crate) fn connect_by(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        server: &TcpStream,
        name: &'static str,
    ) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let plain = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (inner, _) = listener.accept().expect("just connected");
        // Small, so that a test that does not read holds up the server.
        socket2::SockRef::from(&plain).set_recv_buffer_size(64 << 10).expect("TCP");
        socket2::SockRef::from(&inner).set_send_buffer_size(64 << 10).expect("TCP");
        let name = ServerName::try_from(name).expect("a host name");
        let mut tls =
            ClientConnection::new(self.client(versions), name).expect("a good configuration");
        let mut socket = server.try_clone().expect("descriptors are left");
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).expect("the handshake");
        }
        let tls = Arc::new(Mutex::new(tls));
        let (down, up) = ([server, &inner].map(clone), [server, &inner].map(clone));
        let same = Arc::clone(&tls);
        thread::spawn(move || deliver(&same, down));
        thread::spawn(move || send(&tls, up));
        plain
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn clone(socket: &TcpStream) -> TcpStream {
    socket.try_clone().expect("descriptors are left")
}

/// From the server to the test.
fn deliver(tls: &Mutex<ClientConnection>, [mut server, mut inner]: [TcpStream; 2]) {
    let (mut records, mut plain) = ([0; 16 << 10], Vec::new());
    loop {
        let count = server.read(&mut records).unwrap_or(0);
        let mut rest = &records[..count];
        let mut ended = count == 0;
        while !rest.is_empty() && !ended {
            let mut tls = tls.lock().expect("nobody panics with it");
            let taken = tls.read_tls(&mut rest);
            ended = taken.is_err() || tls.process_new_packets().is_err();
            // Err: there is no more for now.
            let _ = tls.reader().read_to_end(&mut plain);
        }
        ended |= inner.write_all(&plain).is_err();
        plain.clear();
        if ended {
            let _ = inner.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// The reverse.
fn send(tls: &Mutex<ClientConnection>, [mut server, mut inner]: [TcpStream; 2]) {
    let (mut plain, mut records) = ([0; 16 << 10], Vec::new());
    loop {
        let count = inner.read(&mut plain).unwrap_or(0);
        {
            let mut tls = tls.lock().expect("nobody panics with it");
            match count {
                0 => tls.send_close_notify(),
                count => tls.writer().write_all(&plain[..count]).expect("it is buffered"),
            }
            while tls.wants_write() {
                tls.write_tls(&mut records).expect("a vector takes it");
            }
        }
        let broken = server.write_all(&records).is_err();
        records.clear();
        if count == 0 || broken {
            let _ = server.shutdown(Shutdown::Write);
            return;
        }
    }
}
