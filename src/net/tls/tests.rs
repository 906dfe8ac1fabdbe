//! What a visit of the flush sends, with a client of rustls at the other end of a real socket.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, SupportedProtocolVersion};
use socket2::SockRef;

use super::*;
use crate::net::{Listener, bind, rt};

/// 64 KiB, by the letter.
const BATCH: usize = 65_536;

/// A session that is listed on this core, and its client, who reads when asked.
struct Pair {
    socket: TcpStream,
    link: Link,
    client: ClientConnection,
    peer: TcpStream,
    heard: Vec<u8>,
}

impl Pair {
    fn new(certificate: &secure::Certificate, version: &'static SupportedProtocolVersion) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let peer = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (socket, _) = listener.accept().expect("just connected");
        // So that a batch fits once or twice.
        SockRef::from(&socket).set_send_buffer_size(100_000).expect("TCP");
        SockRef::from(&peer).set_recv_buffer_size(50_000).expect("TCP");
        for socket in [&socket, &peer] {
            socket.set_nonblocking(true).expect("TCP");
        }
        let name = ServerName::try_from("media.test").expect("a name");
        let client = ClientConnection::new(certificate.client(&[version]), name);
        let mut client = client.expect("a good configuration");
        let mut session = Session::new(certificate.server()).expect("a good configuration");
        while client.is_handshaking() || session.is_handshaking() || !session.unsent().is_empty() {
            let mut records = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut records).expect("a vector takes it");
            }
            session.receive(&records).expect("the handshake");
            let mut unsent = session.unsent();
            let count = client.read_tls(&mut unsent).expect("a slice gives it");
            session.sent(count);
            client.process_new_packets().expect("the handshake");
        }
        let link = enter(socket.as_raw_fd(), session);
        Self { socket, link, client, peer, heard: Vec::new() }
    }

    fn send(&self, plain: &[u8]) -> Outcome {
        let slices: Vec<_> = plain.chunks(10_000).map(IoSlice::new).collect();
        send(self.socket.as_raw_fd(), &slices)
    }

    fn unsent(&self) -> usize {
        self.link.borrow().unsent().len()
    }

    /// The client takes `count` bytes of records, or what there is.
    fn hear(&mut self, count: usize) {
        let mut records = vec![0; count];
        let Ok(count) = self.peer.read(&mut records) else { return };
        let mut records = &records[..count];
        while !records.is_empty() {
            self.client.read_tls(&mut records).expect("a slice gives it");
            self.client.process_new_packets().expect("good records");
            // Err: there is no more for now.
            let _ = self.client.reader().read_to_end(&mut self.heard);
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        leave(self.socket.as_raw_fd());
    }
}

#[test]
fn a_visit_encrypts_a_batch_and_only_what_the_socket_did_not_take_is_kept() {
    let certificate = secure::Certificate::new(1, &["media.test"]);
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::new(&certificate, version);
        let plain: Vec<u8> =
            (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (mut at, mut full, mut held, mut batches) = (0, 0, 0, 0);
        while at < plain.len() {
            let before = pair.unsent();
            let offered = &plain[at..plain.len().min(at + (256 << 10))];
            let taken = match pair.send(offered) {
                Outcome::Batch(taken) => {
                    batches += 1;
                    assert!(pair.unsent() == 0 && taken == BATCH, "{taken}");
                    taken
                }
                Outcome::Wrote(taken) => {
                    assert!(pair.unsent() == 0 && taken == offered.len(), "{taken}");
                    taken
                }
                Outcome::Held(taken) => {
                    held += 1;
                    assert!(pair.unsent() > 0);
                    taken
                }
                Outcome::Full => {
                    full += 1;
                    assert_eq!(pair.unsent(), before);
                    pair.hear(20_000 + at % 10_000);
                    0
                }
                Outcome::Failed(kind) => panic!("{kind}"),
            };
            assert!(taken <= BATCH && pair.unsent() <= ROOM, "{taken}, {}", pair.unsent());
            at += taken;
        }
        assert!(full > 0 && held > 0 && batches > 0, "{full}, {held}, {batches}");
        // Nothing comes behind it, and it goes out all the same.
        while pair.heard.len() < plain.len() {
            let outcome = pair.send(&[]);
            assert!(outcome != Outcome::Wrote(0) || pair.unsent() == 0, "{outcome:?}");
            pair.hear(64 << 10);
        }
        assert!(pair.heard == plain);
        let spare = OF_THIS_CORE.with_borrow(|core| core.scratch.len());
        assert_eq!(spare, ROOM, "one for the core");
    }
}

#[test]
fn sockets_with_and_without_tls_do_not_get_mixed_up() {
    let certificate = secure::Certificate::new(2, &["media.test"]);
    let mut pair = Pair::new(&certificate, &TLS13);
    let (mut open, other) = std::os::unix::net::UnixStream::pair().expect("descriptors are left");
    for number in [other.as_raw_fd(), pair.socket.as_raw_fd()] {
        assert_eq!(send(number, &[IoSlice::new(b"words")]), Outcome::Wrote(5));
    }
    let mut words = [0; 5];
    open.read_exact(&mut words).expect("they were sent");
    assert_eq!(&words, b"words");
    while pair.heard.is_empty() {
        pair.hear(1000);
    }
    assert_eq!(pair.heard, b"words");
    // Once it has left the list nothing is encrypted any more.
    leave(pair.socket.as_raw_fd());
    assert_eq!(pair.send(b"plain"), Outcome::Wrote(5));
    let mut socket = &pair.peer;
    socket.set_nonblocking(false).expect("TCP");
    socket.read_exact(&mut words).expect("they were sent");
    assert_eq!(&words, b"plain");
}

#[test]
fn a_turn_takes_so_many_records_however_many_have_come() {
    const RECORDS: usize = 2000;
    let certificate = secure::Certificate::new(5, &["media.test"]);
    let (server, client) = (certificate.server(), certificate.client(&[&TLS13]));
    let socket = bind("127.0.0.1:0".parse().expect("an address"), false, 16).expect("a port");
    // Newcomers inherit it: all records are to lie there at once.
    SockRef::from(&socket).set_recv_buffer_size(200 << 10).expect("TCP");
    let address = SockRef::from(&socket).local_addr().expect("bound");
    let address = address.as_socket().expect("of IPv4");
    let (more, wanted) = mpsc::channel();
    let sender = std::thread::spawn(move || {
        let mut peer = TcpStream::connect(address).expect("it listens");
        let name = ServerName::try_from("media.test").expect("a name");
        let mut client = ClientConnection::new(client, name).expect("a good configuration");
        client.complete_io(&mut peer).expect("the handshake");
        for count in wanted {
            let mut records = Vec::new();
            for _ in 0..count {
                client.writer().write_all(b"x").expect("it is buffered");
                while client.wants_write() {
                    client.write_tls(&mut records).expect("a vector takes it");
                }
            }
            peer.write_all(&records).expect("the server reads");
        }
    });
    let main = move || async move {
        let listener = Listener::new(socket, Duration::ZERO, Duration::ZERO);
        let (mut stream, _) = listener.accept().await.expect("it comes");
        stream.secure(server, &[]).expect("a good configuration");
        let mut room = vec![0; 64 << 10];
        more.send(1).expect("it waits");
        let read = poll_fn(|cx| stream.poll_read(cx, &mut room)).await.expect("it speaks TLS");
        assert_eq!(read, 1, "the handshake is done");
        more.send(RECORDS).expect("it waits");
        let gave_up = Instant::now() + Duration::from_secs(20);
        let come = || {
            let count =
                fd::with_socket(stream.fd(), |socket| Ok(rustix::io::ioctl_fionread(&*socket)?));
            count.expect("a socket")
        };
        while come() < (RECORDS * 23) as u64 {
            assert!(Instant::now() < gave_up, "{} bytes have come", come());
            rt::sleep(Duration::from_millis(1)).await;
        }
        let mut turns = Vec::new();
        while turns.iter().sum::<usize>() < RECORDS {
            let turn = poll_fn(|cx| stream.poll_read(cx, &mut room)).await;
            turns.push(turn.expect("good records"));
        }
        assert!(turns.iter().all(|turn| (1..1000).contains(turn)), "{turns:?}");
    };
    rt::on_a_core(main);
    sender.join().expect("it has sent them");
}

#[test]
fn a_crowd_waits_for_its_handshakes_and_is_served() {
    const CROWD: usize = 30;
    const OWED: Duration = Duration::from_millis(300);
    let certificate = secure::Certificate::new(6, &["media.test"]);
    let (server, client) = (certificate.server(), certificate.client(&[&TLS12, &TLS13]));
    let socket = bind("127.0.0.1:0".parse().expect("an address"), false, 64).expect("a port");
    let address = SockRef::from(&socket).local_addr().expect("bound");
    let address = address.as_socket().expect("of IPv4");
    let comer = move || -> std::io::Result<()> {
        let mut peer = TcpStream::connect(address)?;
        peer.set_read_timeout(Some(Duration::from_secs(20)))?;
        let name = ServerName::try_from("media.test").expect("a name");
        let mut client = ClientConnection::new(Arc::clone(&client), name).expect("it is good");
        while client.is_handshaking() {
            client.complete_io(&mut peer)?;
        }
        client.writer().write_all(b"x")?;
        client.complete_io(&mut peer).map(|_| ())
    };
    let main = move || async move {
        let listener = Listener::new(socket, Duration::ZERO, Duration::ZERO);
        let began = Instant::now();
        // As if one had taken so long.
        took(OWED);
        let comers: Vec<_> = (0..CROWD).map(|_| std::thread::spawn(comer.clone())).collect();
        let served = Rc::new(std::cell::Cell::new(0));
        for number in 0..CROWD {
            let (mut stream, _) = listener.accept().await.expect("it comes");
            stream.secure(Arc::clone(&server), &[]).expect("a good configuration");
            let served = Rc::clone(&served);
            rt::spawn(async move {
                // Some give up while they wait.
                let until = (number % 3 == 0).then(|| began + OWED / 4);
                let (mut deadline, mut room) = (rt::Deadline::default(), [0; 100]);
                let read = poll_fn(|cx| match deadline.poll(cx, until).is_ready() {
                    true => std::task::Poll::Ready(None),
                    false => stream.poll_read(cx, &mut room).map(Some),
                });
                if let Some(read) = read.await {
                    assert_eq!(read.expect("it speaks TLS"), 1);
                    assert!(began.elapsed() >= OWED - Duration::from_millis(2), "it was to wait");
                    served.set(served.get() + 1);
                }
            });
        }
        let gave_up = began + Duration::from_secs(20);
        while served.get() < CROWD - CROWD.div_ceil(3) && Instant::now() < gave_up {
            rt::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(served.get(), CROWD - CROWD.div_ceil(3));
        let said = comers.into_iter().map(|comer| comer.join().expect("it has not panicked"));
        let left_alone = said.filter(Result::is_err).count();
        assert_eq!(left_alone, CROWD.div_ceil(3));
    };
    rt::on_a_core(main);
}
