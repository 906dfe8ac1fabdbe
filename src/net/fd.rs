//! The one file with `unsafe`: where a number becomes a socket.
//!
//! The plane knows sockets by number, because a viewer that may move between cores cannot borrow
//! one. That is sound as long as a sink is unlinked before its socket is closed; drivers hold the
//! [`Viewer`](crate::plane::Viewer) inside the value that owns the socket, declared before it.
#![allow(unsafe_code)]

use std::io::{ErrorKind, IoSlice};
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use socket2::SockRef;

use crate::plane::Outcome;

/// Writes `slices` to the socket `fd` without waiting: one vectored, non-blocking send.
///
/// This is the write of the whole program; io_uring submission, `sendfile` and zero-copy sends
/// were measured against it and were not cheaper on loopback.
pub fn send(fd: RawFd, slices: &[IoSlice<'_>]) -> Outcome {
    // SAFETY: a sink is unlinked before its socket is closed (see the head of this file), so a
    // number that the plane hands out is open for the length of this call.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let (socket, flags) = (SockRef::from(&socket), libc_flags());
    // Most writes are one block; the kernel need not fetch a list for it.
    let sent = match slices {
        [slice] => socket.send_with_flags(slice, flags),
        slices => socket.send_vectored_with_flags(slices, flags),
    };
    match sent {
        Ok(taken) => Outcome::Wrote(taken),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Outcome::Full,
        Err(error) if error.kind() == ErrorKind::Interrupted => Outcome::Full,
        Err(error) => Outcome::Failed(error.kind()),
    }
}

#[allow(clippy::cast_possible_wrap)]
fn libc_flags() -> i32 {
    let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
    flags.bits() as i32
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
