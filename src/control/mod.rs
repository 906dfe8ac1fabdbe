//! The control thread: everything that is not media.
