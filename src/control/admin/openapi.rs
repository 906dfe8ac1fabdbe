//! The description of the API for programs: OpenAPI 3.1, made from the handlers and their types.

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{OpenApi as _, ToSchema};

use super::problem::Problem;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Corecast",
        description = "What operators see and do. Names stay in later releases; new ones are added.\n\n\
            A name of a stream is one segment of a path: slashes in it are written as `%2F`.\n\n\
            Every error has one shape, RFC 9457.\n\n\
            Beside it, and not below `/api/v1`, are `/metrics` (with the token), `/healthz` and `/readyz` \
            (without)."
    ),
    servers((url = "/api/v1")),
    components(schemas(Problem)),
)]
struct Document;

/// What there is to say beside the handlers.
pub(super) fn document() -> OpenApi {
    Document::openapi()
}

/// What all operations have in common: how they are allowed, and how they fail.
pub(super) fn complete(document: &mut OpenApi, with_token: bool) {
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            describe_problems(operation, path.contains('{'), with_token);
            describe_success(operation);
        }
    }
    if with_token {
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("token", bearer);
        let required = SecurityRequirement::new::<_, [String; 0], String>("token", []);
        document.security = Some(vec![required]);
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
}

/// OpenAPI wants a description of each response. Of one that goes well there is nothing to say that
/// the operation does not: it is what it is called, or has been done.
fn describe_success(operation: &mut Operation) {
    let summary = operation.summary.clone().unwrap_or_default();
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            response.description = match status.as_str() {
                "204" => "done".to_owned(),
                _ => summary.clone(),
            };
        }
    }
}

fn describe_problems(operation: &mut Operation, names_one: bool, with_token: bool) {
    let mut problems = vec![("503", "a core did not answer in time, or there is no room")];
    if with_token {
        problems.push(("401", "the token is missing or wrong"));
    }
    problems.push(("403", "the page that asks is of another origin, see admin.allow_origin"));
    if operation.parameters.is_some() || operation.request_body.is_some() {
        problems.push(("400", "a parameter or the body cannot be read"));
    }
    if names_one {
        problems.push(("404", "there is none"));
    }
    if operation.request_body.is_some() {
        problems.push(("413", "the body is too large"));
        problems.push(("415", "the body is not application/json"));
        problems.push(("422", "the body was read, and cannot be done"));
    }
    for (status, what) in problems {
        let known = &mut operation.responses.responses;
        known.entry(status.to_owned()).or_insert_with(|| problem(what).into());
    }
}

fn problem(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name())));
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content.build())
        .build()
}
