//! The little of HTTP/1.x and WebSocket that live media needs, server side.
//!
//! RFC 9112 (messages), RFC 9110 (methods, status codes), RFC 6455 (WebSocket). [`Server`] turns
//! the bytes of one connection into [`Request`]s and answers into bytes: a [`Response`] with a
//! length, after which the connection may carry the next request; the head of a body that comes in
//! pieces ([`Server::respond_in_pieces`]), likewise; or the head of a stream
//! ([`Server::accept_stream`]), after which whoever owns the media writes the body and the machine
//! only watches the peer. The body of a POST or PUT is a stream to publish
//! ([`Server::accept_publish`]): its tracks and frames come as events.
//!
//! What it does not do:
//! - GET, HEAD and OPTIONS with a body are refused with 400 and closed, and other methods with 405.
//!   OPTIONS, the CORS preflight, is answered here and never becomes an event;
//! - a body that nobody publishes is not read, so the connection closes behind the answer;
//! - HTTP/2 and TLS are refused with 400 by name;
//! - of WebSocket only what a viewer needs: our messages are written by others with [`ws::header`]
//!   or [`chunk::head`], the peer's messages are checked and thrown away. No extensions.

pub mod chunk;
pub mod ws;

mod answer;
mod body;
mod error;
mod forwarded;
mod head;
mod ingest;
mod publishing;
mod query;
mod range;
mod server;

pub use answer::{Framing, Greeting, Response};
pub use body::Length;
pub use error::Error;
pub use forwarded::ForwardedField;
pub use head::{AskId, Method, Request, Version};
pub use ingest::{Container, Notice};
pub use query::Query;
pub use range::Wanted;
pub use server::{Config, End, Event, Server, Timer};
