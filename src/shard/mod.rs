//! Cores: how they are launched, how they talk, and who owns which stream.
//!
//! Cores share nothing but counters. [`Mesh`] carries values between them, each core a bounded
//! inbox; [`Directory`] is the part of the node's registry that one core keeps for the keys whose
//! home it is.

mod directory;
mod launch;
mod mesh;

pub use directory::{Directory, Place};
pub use launch::{CoreEnded, launch};
pub use mesh::{Inbox, Mesh, Post, Tell};

/// A core's number, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CoreId(pub u16);

impl CoreId {
    /// As an index into what there is one of per core.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl std::fmt::Display for CoreId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}
