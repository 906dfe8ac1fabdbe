//! The one file with `unsafe`: where a number becomes a socket or a file, and a file becomes memory.
//!
//! The plane knows sockets by number, because a viewer that may move between cores cannot borrow
//! one. That is sound as long as a sink is unlinked before its socket is closed; drivers hold the
//! [`Viewer`](crate::plane::Viewer) inside the value that owns the socket, declared before it.
#![allow(unsafe_code)]

use std::io::{ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::SendFlags;
use socket2::{SockAddr, SockRef};

use crate::bytes::Place;
use crate::plane::{Delivery, Outcome};

/// Writes `slices` to the socket `fd` without waiting: one vectored, non-blocking send.
///
/// This is the write of nearly all of the program; io_uring submission and zero-copy sends were measured
/// against it and were not cheaper on loopback, and `sendfile` only for much at once ([`send_file`]).
pub fn send(fd: RawFd, slices: &[IoSlice<'_>]) -> Outcome {
    send_flagged(fd, slices, SendFlags::empty())
}

/// The same, when more follows at once: the kernel need not send a packet for it yet.
pub(super) fn send_more(fd: RawFd, slices: &[IoSlice<'_>]) -> Outcome {
    send_flagged(fd, slices, SendFlags::MORE)
}

fn send_flagged(fd: RawFd, slices: &[IoSlice<'_>], flags: SendFlags) -> Outcome {
    // SAFETY: a sink is unlinked before its socket is closed (see the head of this file), so a
    // number that the plane hands out is open for the length of this call.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let (socket, flags) = (SockRef::from(&socket), libc_flags(flags));
    // Most writes are one block; the kernel need not fetch a list for it.
    let sent = match slices {
        [slice] => socket.send_with_flags(slice, flags),
        slices => socket.send_vectored_with_flags(slices, flags),
    };
    outcome(sent)
}

fn outcome(sent: std::io::Result<usize>) -> Outcome {
    match sent {
        Ok(taken) => Outcome::Wrote(taken),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Outcome::Full,
        Err(error) if error.kind() == ErrorKind::Interrupted => Outcome::Full,
        Err(error) => Outcome::Failed(error.kind()),
    }
}

#[allow(clippy::cast_possible_wrap)]
fn libc_flags(more: SendFlags) -> i32 {
    (SendFlags::DONTWAIT | SendFlags::NOSIGNAL | more).bits() as i32
}

/// Sends at most `len` bytes that lie at `place` to the socket `fd` without copying them. There is no flag
/// for one call that is not to wait, so the socket never waits from then on (O_NONBLOCK), and none against
/// SIGPIPE, which the standard library has the program ignore.
pub(super) fn send_file(fd: RawFd, place: &Place, len: usize) -> Outcome {
    // SAFETY: the caller's stream owns the number and lives until after this call.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    // To remember that it was said would cost every connection more than to say it again.
    outcome(SockRef::from(&socket).set_nonblocking(true).and_then(|()| {
        let mut offset = place.offset;
        Ok(rustix::fs::sendfile(socket, &place.file, Some(&mut offset), len)?)
    }))
}

/// Bytes of a file that are read like any others.
#[derive(Debug)]
pub(super) struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: it is memory that is only read, and belongs to no thread.
unsafe impl Send for Mapping {}
// SAFETY: the same.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Of `len` bytes of `file` from `offset` on, which is where a page begins.
    pub(super) fn new(file: BorrowedFd<'_>, offset: u64, len: usize) -> std::io::Result<Self> {
        let (hint, flags) = (std::ptr::null_mut(), MapFlags::SHARED);
        // SAFETY: the kernel chooses a place where nothing is.
        let at = unsafe { rustix::mm::mmap(hint, len, ProtFlags::READ, flags, file, offset)? };
        let at = NonNull::new(at.cast()).ok_or(ErrorKind::OutOfMemory)?;
        Ok(Self { at, len })
    }

    /// Those of `range`, which must lie inside, have been written to the file and are never written
    /// again.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: they are mapped for as long as this lives. Whoever maps a piece of a file writes each
        // byte of it once, before anyone is told of it, and makes no file shorter than what is mapped (pages.rs).
        unsafe { std::slice::from_raw_parts(self.at.as_ptr().add(range.start), range.len()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped so, and whoever had its bytes had this.
        let unmapped = unsafe { rustix::mm::munmap(self.at.as_ptr().cast(), self.len) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

/// What the peer of the TCP socket `fd` has acknowledged (TCP_INFO, tcp(7)). `None`: the kernel does
/// not tell.
pub(super) fn delivery(fd: RawFd) -> Option<Delivery> {
    // SAFETY: numbers alone, for which zero is one as any.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = std::mem::size_of_val(&info) as libc::socklen_t;
    let into = std::ptr::from_mut(&mut info).cast();
    // SAFETY: the kernel writes at most `len` bytes of `info`; a sink is unlinked before its socket is
    // closed (see the head of this file).
    let answer = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, into, &mut len) };
    // An old kernel writes less.
    let told = std::mem::offset_of!(libc::tcp_info, tcpi_min_rtt);
    (answer == 0 && len as usize >= told).then(|| Delivery {
        acknowledged: info.tcpi_bytes_acked,
        waits: info.tcpi_unacked > 0 || info.tcpi_notsent_bytes > 0,
        silent: Duration::from_millis(info.tcpi_last_ack_recv.into()),
    })
}

/// A glommio stream of a connected socket.
pub(super) fn stream(fd: OwnedFd) -> glommio::net::TcpStream {
    // SAFETY: the number comes from an OwnedFd that gives it up here.
    unsafe { glommio::net::TcpStream::from_raw_fd(fd.into_raw_fd()) }
}

/// A glommio listener of a listening socket.
pub(super) fn listener(fd: OwnedFd) -> glommio::net::TcpListener {
    // SAFETY: the number comes from an OwnedFd that gives it up here.
    unsafe { glommio::net::TcpListener::from_raw_fd(fd.into_raw_fd()) }
}

/// A glommio file of one that is open.
pub(super) fn file(fd: OwnedFd) -> glommio::io::BufferedFile {
    // SAFETY: the number comes from an OwnedFd that gives it up here.
    unsafe { glommio::io::BufferedFile::from_raw_fd(fd.into_raw_fd()) }
}

/// Another number for the socket `fd`, closed on exec.
pub(super) fn duplicate(fd: RawFd) -> std::io::Result<OwnedFd> {
    // SAFETY: the caller's stream owns the number and lives until after this call.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
}

/// Lets `work` set options of the socket `fd`.
pub(super) fn with_socket<T>(
    fd: RawFd,
    work: impl FnOnce(SockRef<'_>) -> std::io::Result<T>,
) -> std::io::Result<T> {
    // SAFETY: the caller's stream or listener owns the number and lives until after this call.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    work(SockRef::from(&socket))
}

/// Has the kernel call the socket `fd` readable from `bytes` on, or when nothing more will come.
/// No crate in use here has this option (`SO_RCVLOWAT`, socket(7)).
pub(super) fn set_readable_from(fd: RawFd, bytes: i32) -> std::io::Result<()> {
    let value = std::ptr::from_ref(&bytes).cast();
    let len = std::mem::size_of::<i32>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of `bytes`, and the caller's stream owns the number.
    let answer = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, value, len) };
    if answer == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// A glommio socket of a UDP socket.
pub(super) fn datagrams(fd: OwnedFd) -> glommio::net::UdpSocket {
    // SAFETY: the number comes from an OwnedFd that gives it up here.
    unsafe { glommio::net::UdpSocket::from_raw_fd(fd.into_raw_fd()) }
}

/// Datagrams that the kernel has dropped at the socket `fd` since it was made (`SO_MEMINFO`), for
/// there was no room. `None`: the kernel does not tell.
pub(super) fn dropped(fd: RawFd) -> Option<u32> {
    let mut info = [0_u32; libc::SK_MEMINFO_DROPS as usize + 1];
    let mut len = std::mem::size_of_val(&info) as libc::socklen_t;
    let into = info.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `len` bytes of `info`, and the caller's socket owns the number.
    let answer =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, into, &mut len) };
    let is_told = answer == 0 && len as usize >= std::mem::size_of_val(&info);
    info.last().copied().filter(|_| is_told)
}

/// Joins what `source` sends to `group` on the interface with this index, or on the one that routes
/// lead to (0): `MCAST_JOIN_SOURCE_GROUP` (RFC 3678 5.1), which no crate in use here has.
pub(super) fn join_source(
    fd: BorrowedFd<'_>,
    group: SocketAddr,
    source: IpAddr,
    interface: u32,
) -> std::io::Result<()> {
    let stored = |address: SocketAddr| -> libc::sockaddr_storage {
        let address = SockAddr::from(address);
        // SAFETY: a storage is one in both, and all of it is initialised.
        unsafe { address.as_ptr().cast::<libc::sockaddr_storage>().read() }
    };
    let request = libc::group_source_req {
        gsr_interface: interface,
        gsr_group: stored(group),
        gsr_source: stored(SocketAddr::new(source, 0)),
    };
    let level = if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
    let (value, len) = (std::ptr::from_ref(&request).cast(), size_of_val(&request));
    let len = len as libc::socklen_t;
    let name = libc::MCAST_JOIN_SOURCE_GROUP;
    // SAFETY: the kernel reads `len` bytes of `request`.
    let answer = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value, len) };
    if answer == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
