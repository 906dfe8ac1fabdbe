use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::Admin;
use crate::control::metrics::{Figures, Form, SharedFigures};

/// GET /metrics
pub(super) async fn metrics(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let form = Form::for_client(&accepts.collect::<Vec<_>>().join(","));
    let counters = &admin.node.counters;
    let shared = SharedFigures {
        accepted_rtmp: counters.accepted_rtmp.load(Ordering::Relaxed),
        accepted_http: counters.accepted_http.load(Ordering::Relaxed),
        refusals: admin.node.refused.all(),
        recordings: admin.node.recordings.running.load(Ordering::Relaxed),
        recordings_failed: admin.node.recordings.failed.load(Ordering::Relaxed),
        recorded_bytes: admin.node.recordings.bytes.load(Ordering::Relaxed),
        events_lost: admin.node.events.lost(),
        log_lines_dropped: admin.log.dropped(),
    };
    let node = admin.view.latest().await;
    let streams_max = admin.config.borrow().admin.metrics_streams_max;
    let inputs = admin.node.inputs.all();
    let page = admin.metrics.page(Figures { node, shared, inputs, streams_max }, form);
    ([(header::CONTENT_TYPE, form.content_type())], page).into_response()
}
