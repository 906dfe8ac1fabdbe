//! One core's streams.
