//! Inside a frame: headers and parameter sets of each codec, and NAL framing.
