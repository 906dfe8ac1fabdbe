//! Reload and drain: what signals do too.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::Admin;
use super::problem::Problem;
use crate::control::drain::Progress;
use crate::control::reload::Reloaded;

/// Reads the configuration again and applies it
///
/// As SIGHUP does. A file that is wrong changes nothing.
#[utoipa::path(post, path = "/reload", tag = "node", responses(
    (status = 200, body = Reloaded),
    (status = 409, body = Problem, content_type = "application/problem+json",
        description = "nothing has changed: the file is wrong, or there is none"),
))]
pub(super) async fn reload(State(admin): State<Arc<Admin>>) -> Result<Json<Reloaded>, Problem> {
    let reloaded = admin.reload.reload().await;
    match reloaded.is_refused() {
        true => Err(Problem::new(409, "not reloaded", reloaded.problems.join("\n"))),
        false => Ok(Json(reloaded)),
    }
}

/// How far out of service it is
#[utoipa::path(get, path = "/drain", tag = "node", responses((status = 200, body = Progress)))]
pub(super) async fn drained(State(admin): State<Arc<Admin>>) -> Json<Progress> {
    Json(admin.drain.progress())
}

/// Goes out of service
///
/// `/readyz` says 503 at once; after `drain.delay` the listeners for media close, then viewers are
/// ended, then publishers. The process stays, and so does this API.
#[utoipa::path(post, path = "/drain", tag = "node", responses((status = 200, body = Progress)))]
pub(super) async fn drain(State(admin): State<Arc<Admin>>) -> Json<Progress> {
    admin.drain.start(false);
    Json(admin.drain.progress())
}

/// Goes back into service
///
/// Listeners open again, and who is still here stays.
#[utoipa::path(delete, path = "/drain", tag = "node", responses(
    (status = 200, body = Progress),
    (status = 409, body = Problem, content_type = "application/problem+json",
        description = "it cannot listen any more, and stays out of service"),
))]
pub(super) async fn undrain(State(admin): State<Arc<Admin>>) -> Result<Json<Progress>, Problem> {
    match admin.drain.undo().await {
        Ok(()) => Ok(Json(admin.drain.progress())),
        Err(problems) => Err(Problem::new(409, "cannot listen", problems.join("\n"))),
    }
}
