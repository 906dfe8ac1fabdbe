//! Sockets: glommio behind the thin [`rt`] door, listeners, and the flush loop that writes to
//! every viewer.
//!
//! Nothing above this room names glommio. The choice of system call for a viewer's write is one
//! function, [`fd::send`]; segments in memory that is a file ([`Pages`]) go without being copied.

mod alarm;
pub mod fd;
mod file;
pub mod flush;
mod listener;
mod pages;
pub mod rt;
mod stream;
mod timers;
mod tls;
pub mod udp;

pub use alarm::Alarm;
pub use file::{File, ReadFile};
pub use listener::{AcceptError, Listener, bind};
pub use pages::Pages;
pub use stream::{Moved, TcpStream};
#[cfg(test)]
pub(crate) use tls::secure;
pub use tls::{Plaintext, ROOM, Session, TlsConfigs};
