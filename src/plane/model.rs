//! Random schedules against a simple model.
