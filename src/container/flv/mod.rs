//! FLV and Enhanced RTMP message bodies, both ways.
