//! Drivers: they move bytes between sockets, machines and the plane.

pub mod page;
