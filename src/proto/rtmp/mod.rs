//! RTMP, server and client side.
