//! Corecast, the binary.
fn main() {}
