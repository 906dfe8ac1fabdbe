//! The little of HTTP/1.x and WebSocket that live media needs, server side.
