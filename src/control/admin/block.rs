//! Addresses that may not connect for a time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::{Mutex, MutexGuard};
use utoipa::openapi::schema::{
    AnyOfBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type,
};
use utoipa::{IntoParams, ToSchema};

use super::Admin;
use super::asking::ask_all;
use super::extract::{Json, Path, Query};
use super::page::{Page, Part};
use super::problem::Problem;
use super::reason::{self, Reason};
use crate::serve::blocks::{BLOCKS_MAX, Block, Blocks};
use crate::serve::order::Order;

/// The list. Locked while the cores are told of a change, so that they hear of changes in order.
pub(crate) type List = Mutex<Blocks>;

/// The longest time: a year.
const FOR_MAX_S: f64 = 365.0 * 24.0 * 3600.0;

/// Who may not connect, for how long, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ToBlock {
    /// One IPv4 or IPv6 address.
    #[schema(schema_with = address_schema)]
    #[serde(deserialize_with = "address")]
    address: IpAddr,
    /// For so many seconds.
    #[schema(minimum = 1, maximum = 31_536_000, example = 3600)]
    for_s: f64,
    /// For the log and for hooks.
    #[serde(default)]
    #[schema(schema_with = reason::schema)]
    reason: Reason,
}

/// An address that may not connect.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Blocked {
    /// Which.
    #[schema(schema_with = address_schema)]
    address: IpAddr,
    /// For so many seconds more.
    for_s: u64,
    /// Why.
    reason: String,
}

/// An address that was blocked just now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BlockedNow {
    #[serde(flatten)]
    blocked: Blocked,
    /// Publishers and viewers from there that were ended.
    ended: usize,
}

/// Which address.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Addressed {
    /// One IPv4 or IPv6 address.
    #[param(example = "192.0.2.7")]
    address: String,
}

/// The addresses that may not connect
#[utoipa::path(get, path = "/block", tag = "block", params(Part), responses(
    (status = 200, body = Page<Blocked>)
))]
pub(super) async fn blocks(
    State(admin): State<Arc<Admin>>,
    Query(part): Query<Part>,
) -> Result<axum::Json<Page<Blocked>>, Problem> {
    let paging = part.paging()?;
    let (blocks, now) = (admin.blocks.lock().await, Instant::now());
    let mut all: Vec<_> = blocks.in_force(now).collect();
    all.sort_unstable_by_key(|block| block.address);
    Ok(axum::Json(paging.page(all).map(|block| Blocked::new(block, now))))
}

/// Blocks an address for a time
///
/// Its publishers and viewers are ended with the reason; its other connections close when they next
/// say something, and new ones at once. Of IPv6 the whole network of 64 bits is blocked that the
/// address belongs to, as its host has all of it. It hears nothing from `/healthz` and `/readyz` either,
/// but on the admin port. A block does not outlive the process. Of clients
/// behind a proxy it is their own address that counts, if the proxy is trusted to tell it.
#[utoipa::path(post, path = "/block", tag = "block", request_body = ToBlock, responses(
    (status = 200, body = BlockedNow)
))]
pub(super) async fn block(
    State(admin): State<Arc<Admin>>,
    Json(wanted): Json<ToBlock>,
) -> Result<axum::Json<BlockedNow>, Problem> {
    let ToBlock { address, for_s, reason } = wanted;
    if !(1.0..=FOR_MAX_S).contains(&for_s) {
        let detail = format!("for_s: expected 1 to {FOR_MAX_S}, found {for_s}");
        return Err(Problem::unprocessable(detail));
    }
    let reason = format!("blocked: {reason}");
    let (address, now) = (address.to_canonical(), Instant::now());
    let until = now + Duration::from_secs_f64(for_s);
    let block = Block { address, until, reason: reason.into() };
    let mut blocks = admin.blocks.lock().await;
    if !blocks.add(block.clone(), now) {
        return Err(Problem::unavailable(format!("{BLOCKS_MAX} addresses are blocked already")));
    }
    let ended = tell(&admin, &blocks, Some(address)).await?;
    tracing::info!(%address, for_s, ended, "{}", block.reason);
    Ok(axum::Json(BlockedNow { blocked: Blocked::new(&block, now), ended }))
}

/// Lets an address connect again
#[utoipa::path(delete, path = "/block/{address}", tag = "block", params(Addressed), responses(
    (status = 204)
))]
pub(super) async fn unblock(
    State(admin): State<Arc<Admin>>,
    Path(addressed): Path<Addressed>,
) -> Result<StatusCode, Problem> {
    let not_found = || Problem::not_found("this address is not blocked");
    let address: IpAddr = addressed.address.parse().map_err(|_| not_found())?;
    let mut blocks = admin.blocks.lock().await;
    if !blocks.remove(address, Instant::now()) {
        return Err(not_found());
    }
    tell(&admin, &blocks, None).await?;
    tracing::info!(%address, "not blocked any more");
    Ok(StatusCode::NO_CONTENT)
}

/// Has all cores know the list, and answers how many connections of `newly` they ended.
async fn tell(
    admin: &Admin,
    blocks: &MutexGuard<'_, Blocks>,
    newly: Option<IpAddr>,
) -> Result<usize, Problem> {
    let blocks = Arc::new(Blocks::clone(blocks));
    let order = |asker| Order::Block { blocks: Arc::clone(&blocks), newly, asker };
    Ok(ask_all(&admin.node, order).await?.into_iter().sum())
}

impl Blocked {
    fn new(block: &Block, now: Instant) -> Self {
        let for_s = block.until.saturating_duration_since(now).as_secs_f64().ceil();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Self { address: block.address, for_s: for_s as u64, reason: block.reason.to_string() }
    }
}

fn address<'de, D: Deserializer<'de>>(text: D) -> Result<IpAddr, D::Error> {
    let text = String::deserialize(text)?;
    text.parse().map_err(|_| {
        D::Error::custom(format!(
            "expected one IPv4 or IPv6 address (networks are kept out by `rules`), found {text:?}"
        ))
    })
}

fn address_schema() -> Schema {
    let of = |format| {
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.format(Some(SchemaFormat::KnownFormat(format))).build()
    };
    AnyOfBuilder::new().item(of(KnownFormat::Ipv4)).item(of(KnownFormat::Ipv6)).build().into()
}
