//! The attack log.

use http::StatusCode;
use log_format::ids::LogIndex;
use log_format::time::Timestamp;
use projections::read::{AttackLog, AttackQuery, AttackRow, Found, Page, TextFilter};
use serde::Deserialize;
use warp::reply::Response;

use super::consistency::catch_up;
use super::{json, view};
use crate::app::App;
use crate::dto::attack::Attack;
use crate::dto::list::{self, List};
use crate::error::ApiError;
use crate::request::Request;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    q: Option<String>,
    #[serde(rename = "type")]
    attack: Option<String>,
    page: Option<usize>,
    per: Option<usize>,
    as_of: Option<u64>,
}

/// `GET /attacks`.
pub(super) async fn list(app: &App, request: Request) -> Result<Response, ApiError> {
    let Query { q, attack, page, per, as_of } = request.query()?;
    let page = list::page(page, per)?;
    let text = q.as_deref().and_then(TextFilter::new);
    let query = AttackQuery { text: text.as_ref(), attack: list::attack_kind(attack.as_deref())? };
    if let Some(index) = as_of.map(LogIndex::new) {
        catch_up(app, index).await?;
    }
    let (cluster, now) = (app.ports.reads.cluster(), app.ports.reads.now());
    let found = view(app, |views| {
        let as_of = as_of.map_or_else(|| views.applied(), LogIndex::new);
        let found = find_as_of(&views.attacks, query, page, (as_of, now));
        List {
            items: found.items.iter().map(|row| Attack::new(row, &cluster)).collect(),
            total: found.total,
            as_of: as_of.get(),
            now: now.to_string(),
        }
    })?;
    json(StatusCode::OK, &found)
}

/// A page of the attacks that fit and are not newer than `as_of`, so that page 7 stays page 7 while more come in. The
/// newer ones stand at the front.
fn find_as_of<'a>(
    log: &'a AttackLog,
    query: AttackQuery<'_>,
    page: Page,
    (as_of, now): (LogIndex, Timestamp),
) -> Found<&'a AttackRow> {
    let is_newer = |row: &&AttackRow| as_of < row.id.index;
    let newer = log.newest_first(now).take_while(is_newer).count();
    let front = log.find(&query, Page { skip: 0, take: newer }, now).items;
    let hidden = front.into_iter().take_while(is_newer).count();
    let Found { items, total } =
        log.find(&query, Page { skip: page.skip.saturating_add(hidden), ..page }, now);
    Found { items, total: total.saturating_sub(hidden) }
}
