//! The parts of a request: as axum reads them, but what cannot be read is a [`Problem`].

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The parameters of the path, decoded.
pub(super) struct Path<T>(pub(super) T);

/// The parameters of the query.
pub(super) struct Query<T>(pub(super) T);

/// The body.
pub(super) struct Json<T>(pub(super) T);

/// The body, if there is one.
pub(super) struct Perhaps<T>(pub(super) Option<T>);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Path::from_request_parts(parts, state).await;
        let axum::extract::Path(value) = read
            .map_err(|error: PathRejection| Problem::unread(error.status(), error.body_text()))?;
        Ok(Self(value))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Query::from_request_parts(parts, state).await;
        let axum::extract::Query(value) = read
            .map_err(|error: QueryRejection| Problem::unread(error.status(), detail_of(&error)))?;
        Ok(Self(value))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = axum::Json::from_request(request, state).await;
        let axum::Json(value) = read
            .map_err(|error: JsonRejection| Problem::unread(error.status(), error.body_text()))?;
        Ok(Self(value))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Perhaps<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let read = Bytes::from_request(Request::from_parts(parts.clone(), body), state).await;
        let bytes = read
            .map_err(|error: BytesRejection| Problem::unread(error.status(), error.body_text()))?;
        // It may also come in no chunk at all.
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        let request = Request::from_parts(parts, bytes.into());
        let Json(value) = Json::<Option<T>>::from_request(request, state).await?;
        Ok(Self(value))
    }
}

/// What is wrong with a query: what is expected, then what was found.
fn detail_of(error: &QueryRejection) -> String {
    let text = error.body_text();
    let said = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
    match said.strip_prefix("missing field ") {
        Some(name) => format!("query: expected {name}, found none"),
        None => format!("query: {said}"),
    }
}
