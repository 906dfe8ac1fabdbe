//! Builds the program from a configuration and waits for its end.
