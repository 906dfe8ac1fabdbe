//! The little of HTTP/1.x and WebSocket that live media needs, server side.
//!
//! RFC 9112 (messages), RFC 9110 (methods, status codes), RFC 6455 (WebSocket). [`Server`] turns
//! the bytes of one connection into [`Request`]s and answers into bytes: a [`Response`] with a
//! length, after which the connection may carry the next request, or the head of a stream
//! ([`Server::accept_stream`]), after which whoever owns the media writes the body and the machine
//! only watches the peer.
//!
//! What it does not do:
//! - requests with a body are refused with 400 and closed (no handler here takes one), and so are
//!   methods other than GET, HEAD and OPTIONS, with 405. OPTIONS, the CORS preflight, is answered
//!   here and never becomes an event;
//! - HTTP/2 and TLS are refused with 400 by name;
//! - of WebSocket only what a viewer needs: our messages are written by others with [`ws::header`]
//!   or [`chunk::head`], the peer's messages are checked and thrown away. No extensions.

pub mod chunk;
pub mod ws;

mod answer;
mod error;
mod forwarded;
mod head;
mod query;
mod server;

pub use answer::{Greeting, Response};
pub use error::Error;
pub use forwarded::ForwardedField;
pub use head::{Method, Request, Version};
pub use query::Query;
pub use server::{AskId, Config, End, Event, Framing, Server, Timer};
