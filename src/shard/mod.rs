//! Cores: launch, mesh, directory, drain.
