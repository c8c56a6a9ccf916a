//! Blocked addresses: the list, a block by hand, an unblock.

use std::net::IpAddr;

use http::StatusCode;
use log_format::ids::LogIndex;
use projections::decide::{BlockItem, CommandBody, block_id};
use projections::read::{DenylistQuery, DenylistSort, Page, SortOrder, TextFilter};
use serde::Deserialize;
use warp::reply::Response;

use super::consistency::catch_up;
use super::{json, view};
use crate::app::App;
use crate::auth::Principal;
use crate::dto::Written;
use crate::dto::block::{BatchBlocked, Block, Blocked, Facts, PostBatch, PostBlock, Surroundings};
use crate::dto::list::{self, List};
use crate::dto::settings::text;
use crate::error::{ApiError, Code};
use crate::request::Request;
use crate::write::{Asked, Wish, actor};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    q: Option<String>,
    #[serde(rename = "type")]
    attack: Option<String>,
    sort: Option<String>,
    page: Option<usize>,
    per: Option<usize>,
    as_of: Option<u64>,
}

/// `GET /blocks`.
pub(super) async fn list(app: &App, request: Request) -> Result<Response, ApiError> {
    let Query { q, attack, sort, page, per, as_of } = request.query()?;
    let page = list::page(page, per)?;
    let text = q.as_deref().and_then(TextFilter::new);
    let (sort, order) = parse_sort(sort.as_deref())?;
    let attack = list::attack_kind(attack.as_deref())?;
    let query = DenylistQuery { text: text.as_ref(), attack, sort, order, page: Page::ALL };
    if let Some(index) = as_of.map(LogIndex::new) {
        catch_up(app, index).await?;
    }
    let (cluster, now) = (app.ports.reads.cluster(), app.ports.reads.now());
    let found = view(app, |views| {
        let as_of = as_of.map_or_else(|| views.applied(), LogIndex::new);
        let around = Surroundings { threshold: views.settings.current().block_threshold, view: &cluster };
        let mut rows = views.denylist.find(&query, now).items;
        // What came later is left out, so that rows keep their places while the reader turns pages.
        rows.retain(|row| row.log_index <= as_of);
        let shown = rows.iter().skip(page.skip).take(page.take);
        List {
            items: shown.map(|row| Block::new(Facts::of_row(row), around)).collect(),
            total: rows.len(),
            as_of: as_of.get(),
            now: now.to_string(),
        }
    })?;
    json(StatusCode::OK, &found)
}

/// `POST /blocks`.
pub(super) async fn block(app: &App, caller: &Principal, request: Request) -> Result<Response, ApiError> {
    let remote = request.address();
    let Request { method, path, query, headers, body, .. } = request;
    let (bytes, posted) = Request::json(&headers, body).await?;
    let BlockItem { source, seconds, note } = block_item("", posted, remote)?;
    let asked = Asked { method: &method, path: &path, query: &query, body: &bytes };
    let wish = Wish::new(app, caller, &headers, asked)?;
    let wanted = CommandBody::BlockAddress { source, seconds, note, by: actor(caller) };
    let accepted = wish.submit(app, wanted).await?;
    let block_id = block_id(wish.id, 0).to_string();
    json(StatusCode::CREATED, &Blocked { block_id, log_index: accepted.index.get() })
}

/// `POST /blocks/batch`.
pub(super) async fn block_all(app: &App, caller: &Principal, request: Request) -> Result<Response, ApiError> {
    let remote = request.address();
    let Request { method, path, query, headers, body, .. } = request;
    let (bytes, PostBatch { items }) = Request::json(&headers, body).await?;
    let places = 0..u16::try_from(items.len()).unwrap_or(u16::MAX);
    let posted = places.clone().zip(items);
    let items = posted.map(|(place, posted)| block_item(&format!("items[{place}]."), posted, remote));
    let items = items.collect::<Result<Vec<BlockItem>, ApiError>>()?;
    let asked = Asked { method: &method, path: &path, query: &query, body: &bytes };
    let wish = Wish::new(app, caller, &headers, asked)?;
    let wanted = CommandBody::BlockAddresses { items, by: actor(caller) };
    let accepted = wish.submit(app, wanted).await?;
    let block_ids = places.map(|place| block_id(wish.id, place).to_string()).collect();
    json(StatusCode::CREATED, &BatchBlocked { block_ids, log_index: accepted.index.get() })
}

/// Reads one block; `place` stands before the names of its fields.
fn block_item(place: &str, posted: PostBlock, remote: IpAddr) -> Result<BlockItem, ApiError> {
    let PostBlock { address, seconds, note, confirm } = posted;
    let source = parse_address(&format!("{place}address"), &address)?;
    let note = text(&format!("{place}note"), &note)?;
    if source == remote && !confirm {
        let advice =
            format!("{source} is the address from which you are connected; repeat with confirm to block it");
        return Err(ApiError::new(Code::WouldLockOut, advice).with("address", source.to_string()));
    }
    Ok(BlockItem { source, seconds, note })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnblockQuery {
    allow_seconds: Option<u64>,
}

/// `DELETE /blocks/{address}`.
pub(super) async fn unblock(
    app: &App,
    caller: &Principal,
    address: &str,
    request: Request,
) -> Result<Response, ApiError> {
    let UnblockQuery { allow_seconds } = request.query()?;
    let source = parse_address("address", address)?;
    let Request { method, path, query, headers, .. } = request;
    let asked = Asked { method: &method, path: &path, query: &query, body: &[] };
    let wish = Wish::new(app, caller, &headers, asked)?;
    let wanted = CommandBody::UnblockAddress { source, allow_seconds, by: actor(caller) };
    let accepted = wish.submit(app, wanted).await?;
    json(StatusCode::OK, &Written { log_index: accepted.index.get() })
}

pub(super) fn parse_address(field: &str, text: &str) -> Result<IpAddr, ApiError> {
    let parsed = text.trim().parse::<IpAddr>();
    let advice = "it is no IPv4 or IPv6 address; write it like 192.0.2.1 or 2001:db8::1";
    parsed.map(|address| address.to_canonical()).map_err(|_| ApiError::invalid_field(field, advice))
}

fn parse_sort(text: Option<&str>) -> Result<(DenylistSort, SortOrder), ApiError> {
    let text = text.unwrap_or("-since");
    let (name, order) = match text.strip_prefix('-') {
        Some(name) => (name, SortOrder::Descending),
        None => (text, SortOrder::Ascending),
    };
    let sort = match name {
        "since" => DenylistSort::Since,
        "until" => DenylistSort::Until,
        "address" => DenylistSort::Address,
        "strikes" => DenylistSort::Strikes,
        _ => {
            let advice = "choose since, until, address or strikes, with - in front for the largest first";
            return Err(ApiError::invalid_parameter("sort", advice));
        }
    };
    Ok((sort, order))
}
