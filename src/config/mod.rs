//! The configuration: a typed tree with its defaults; unknown keys are refused.
