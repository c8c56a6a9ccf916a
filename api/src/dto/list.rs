//! Lists: which page of what, and how it was found.

use log_format::event::AttackKind;
use projections::read::Page;
use serde::Serialize;

use crate::error::ApiError;

/// Entries of a page unless the caller says otherwise.
const USUAL_PER_PAGE: usize = 50;
/// Entries of a page at most: an answer stays below a quarter of a megabyte.
const MOST_PER_PAGE: usize = 200;

/// One page of a list.
#[derive(Debug, Serialize)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<T>,
    /// Entries on all pages.
    pub(crate) total: usize,
    /// The log index at which this is true.
    pub(crate) as_of: u64,
    /// This host's clock, for counting down.
    pub(crate) now: String,
}

/// Which entries of a list. Pages count from 1.
pub(crate) fn page(page: Option<usize>, per: Option<usize>) -> Result<Page, ApiError> {
    let (page, per) = (page.unwrap_or(1), per.unwrap_or(USUAL_PER_PAGE));
    if page == 0 {
        return Err(ApiError::invalid_parameter("page", "pages count from 1"));
    }
    if !(1..=MOST_PER_PAGE).contains(&per) {
        return Err(ApiError::invalid_parameter(
            "per",
            format!("{per} is not between 1 and {MOST_PER_PAGE}"),
        ));
    }
    Ok(Page { skip: (page - 1).saturating_mul(per), take: per })
}

/// A kind of attack by its name.
pub(crate) fn attack_kind(name: Option<&str>) -> Result<Option<AttackKind>, ApiError> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    let unknown = || {
        let names = AttackKind::ALL.map(AttackKind::name).join(", ");
        ApiError::invalid_parameter("type", format!("choose one of {names}"))
    };
    AttackKind::from_name(name).map(Some).ok_or_else(unknown)
}
