//! Reload and drain: what signals do too.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::Admin;
use super::problem::Problem;
use crate::control::drain::{NotUndone, Progress};
use crate::control::reload::Reloaded;

/// Reads the configuration again and applies it
///
/// As SIGHUP does. A file that is wrong changes nothing.
#[utoipa::path(post, path = "/reload", tag = "node", responses(
    (status = 200, body = Reloaded),
    (status = 409, body = Problem, content_type = "application/problem+json",
        description = "nothing has changed: the file is wrong, does not come, or there is none; or too \
            many reloads wait already"),
))]
pub(super) async fn reload(State(admin): State<Arc<Admin>>) -> Result<Json<Reloaded>, Problem> {
    let reloaded = to_the_end(async move { admin.reload.reload().await }).await?;
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
/// ended, then publishers. The process stays, and so does this API: it is done when `state` is
/// `drained`. Whether the process works is asked here from then on (`/healthz`), as the ports for
/// media are closed.
#[utoipa::path(post, path = "/drain", tag = "node", responses((status = 200, body = Progress)))]
pub(super) async fn drain(State(admin): State<Arc<Admin>>) -> Json<Progress> {
    Json(admin.drain.begin().await)
}

/// Goes back into service
///
/// Listeners open again, and who is still here stays. Once the process was told to end (SIGTERM) there
/// is no way back: whoever told it waits for its end, and kills it when that takes too long. Start it
/// again instead. If it cannot listen any more, it is `halted`: it ends nobody, and is not ready.
#[utoipa::path(delete, path = "/drain", tag = "node", responses(
    (status = 200, body = Progress),
    (status = 409, body = Problem, content_type = "application/problem+json",
        description = "it cannot listen any more, or is to end, and stays out of service"),
))]
pub(super) async fn undrain(State(admin): State<Arc<Admin>>) -> Result<Json<Progress>, Problem> {
    let its = Arc::clone(&admin);
    match to_the_end(async move { its.drain.undo().await }).await? {
        Ok(()) => Ok(Json(admin.drain.progress())),
        Err(NotUndone::CannotListen(problems)) => {
            Err(Problem::new(409, "cannot listen", problems.join("\n")))
        }
        Err(NotUndone::Stops) => {
            let detail =
                "the process was told to end (SIGTERM), and goes on with that: start it again";
            Err(Problem::new(409, "is to end", detail))
        }
    }
}

/// Does `work`, also if who asked for it hangs up meanwhile: half of it must not be done.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::spawn(work).await;
    done.map_err(|error| Problem::new(500, "internal error", error.to_string()))
}
