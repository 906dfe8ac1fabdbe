//! Long lists in pages.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// How many there are in all.
    pub(super) total: usize,
    /// Those of this page.
    pub(super) items: Vec<T>,
}

/// What is asked for of a list that is told as it is.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    /// As many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// So many are left out first.
    #[param(minimum = 0, maximum = 1_000_000_000)]
    offset: Option<usize>,
}

impl Part {
    pub(super) fn paging(&self) -> Result<Paging, Problem> {
        Paging::new(self.limit, self.offset)
    }
}

/// Which part of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paging {
    pub(super) limit: usize,
    pub(super) offset: usize,
}

const LIMIT_MAX: usize = 1000;
const LIMIT: usize = 100;
const OFFSET_MAX: usize = 1_000_000_000;

impl Paging {
    /// What was asked for, or the first [`LIMIT`].
    pub(super) fn new(limit: Option<usize>, offset: Option<usize>) -> Result<Self, Problem> {
        let limit = limit.unwrap_or(LIMIT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            let detail = format!("limit: expected 1 to {LIMIT_MAX}, found {limit}");
            return Err(Problem::bad_request(detail));
        }
        let offset = offset.unwrap_or(0);
        if offset > OFFSET_MAX {
            let detail = format!("offset: expected at most {OFFSET_MAX}, found {offset}");
            return Err(Problem::bad_request(detail));
        }
        Ok(Self { limit, offset })
    }

    /// That part of `all`.
    pub(super) fn page<T>(self, all: Vec<T>) -> Page<T> {
        let total = all.len();
        Page { total, items: all.into_iter().skip(self.offset).take(self.limit).collect() }
    }
}

impl<T> Page<T> {
    /// The same of what `of` makes of its items.
    pub(super) fn map<U>(self, of: impl FnMut(T) -> U) -> Page<U> {
        Page { total: self.total, items: self.items.into_iter().map(of).collect() }
    }
}
