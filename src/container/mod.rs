//! Containers: what stands around frames on a wire or in a file.

pub mod amf0;
pub mod flv;
