//! Benchmarks of Corecast.
