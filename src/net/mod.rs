//! Sockets: glommio behind the thin `rt` door, listeners, the flush loop.
