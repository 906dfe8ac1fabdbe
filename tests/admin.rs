//! The admin API over real sockets: who may use it, and what it says.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use node::Node;
use serde_json::Value;
use web::Web;

/// What a GET of `path` with these header lines is answered.
#[track_caller]
fn get(node: &Node, path: &str, headers: &str) -> (web::Answer, Value) {
    let mut web = Web::new(node.admin);
    web.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"));
    let answer = web.answer();
    let body = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
    (answer, body)
}

#[test]
fn whoever_knows_the_token_may_ask_and_nobody_else() {
    let token = "0123456789abcdef";
    let node = Node::start(&format!("cores = 1\nadmin.token = '{token}'"), None);
    let wrong = ["", "Authorization: Bearer x\r\n", "Authorization: Basic 0123456789abcdef\r\n"];
    for headers in wrong {
        let (answer, body) = get(&node, "/api/v1/info", headers);
        assert_eq!((answer.status, &body["status"]), (401, &Value::from(401)), "{headers}");
        assert_eq!(answer.field("content-type"), Some("application/problem+json"));
        assert_eq!(answer.field("www-authenticate"), Some("Bearer"));
    }
    let (answer, _) = get(&node, &format!("/api/v1/info?token={token}"), "");
    assert_eq!(answer.status, 401, "a token in a URL is none");
    for scheme in ["Bearer", "bearer"] {
        let headers = format!("Authorization: {scheme} {token}\r\n");
        let (answer, body) = get(&node, "/api/v1/info", &headers);
        assert_eq!((answer.status, body["version"].is_string()), (200, true), "{body}");
    }
}

#[test]
fn without_a_token_this_host_may_ask_and_paths_that_are_none_are_named_as_such() {
    let node = Node::start("cores = 2", None);
    let (answer, body) = get(&node, "/api/v1/cores", "");
    assert_eq!((answer.status, body.as_array().map(Vec::len)), (200, Some(2)), "{body}");
    for path in ["/api/v1/nothing", "/api/v2/info", "/"] {
        let (answer, body) = get(&node, path, "");
        assert_eq!((answer.status, &body["title"]), (404, &Value::from("not found")), "{path}");
    }
}

#[test]
fn without_a_token_no_other_site_has_a_way_in() {
    let node = Node::start("cores = 1", None);
    let ask = |headers: &str| {
        let mut web = Web::new(node.admin);
        web.send(&format!("GET /api/v1/info HTTP/1.1\r\n{headers}\r\n"));
        web.answer().status
    };
    assert_eq!(ask("Host: evil.example:8081\r\n"), 403, "a name that points here");
    assert_eq!(ask("Host: localhost\r\nOrigin: https://evil.example\r\n"), 403);
    assert_eq!(ask("Host: [::1]:8081\r\nOrigin: http://localhost:8081\r\n"), 200);
}
