//! Is this node well, and does it want more viewers?

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Admin;
use crate::serve::health::Unfit;

/// GET /healthz
pub(super) async fn healthz(State(admin): State<Arc<Admin>>) -> Response {
    answer(admin.node.healthy())
}

/// GET /readyz
pub(super) async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    answer(admin.node.ready())
}

fn answer(state: Result<(), Unfit>) -> Response {
    match state {
        Ok(()) => "ok\n".into_response(),
        Err(unfit) => (StatusCode::SERVICE_UNAVAILABLE, format!("{unfit}\n")).into_response(),
    }
}
