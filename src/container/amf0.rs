//! AMF0, the value format of RTMP commands and FLV script data.
