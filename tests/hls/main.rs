//! HLS and low-latency HLS over real sockets, judged by players in a browser, by ffmpeg and
//! GStreamer, by parsers, and by rules of our own: `make judges`.

#[path = "../support/playlist_rules.rs"]
mod playlist_rules;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/waiting.rs"]
mod waiting;

mod captions;
mod flv;
mod in_browsers;
mod order;
mod parsers;
mod publisher;
mod readers;
mod requests;
mod session;
mod viewers;
