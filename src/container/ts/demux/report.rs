//! What a demultiplexer tells beside its items.

use super::{Counts, Limits, Notice};
use crate::container::Item;

/// Notices and counts.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Each notice so far; those from `told` on have not been polled.
    notices: Vec<Notice>,
    told: usize,
    pub(super) counts: Counts,
}

impl Report {
    pub(super) fn note(&mut self, notice: Notice, limits: &Limits) {
        if self.notices.len() < limits.notices && !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }

    pub(super) fn poll(&mut self) -> Option<Notice> {
        let notice = *self.notices.get(self.told)?;
        self.told += 1;
        Some(notice)
    }
}

/// Where the content of one PID goes.
pub(super) struct Out<'a> {
    pub(super) pid: u16,
    pub(super) limits: &'a Limits,
    pub(super) items: &'a mut Vec<Item>,
    pub(super) report: &'a mut Report,
}

impl Out<'_> {
    pub(super) fn note(&mut self, notice: Notice) {
        self.report.note(notice, self.limits);
    }

    /// A unit was dropped, for it cannot be read.
    pub(super) fn damaged(&mut self) {
        self.report.counts.damaged_units += 1;
        self.note(Notice::Damaged { pid: self.pid });
    }

    /// A unit was dropped, for packets of it are missing; that they are has been told.
    pub(super) fn incomplete(&mut self) {
        self.report.counts.damaged_units += 1;
    }

    /// A unit was dropped, for it is over its limit.
    pub(super) fn too_long(&mut self) {
        self.report.counts.damaged_units += 1;
        self.note(Notice::TooLong { pid: self.pid });
    }
}
