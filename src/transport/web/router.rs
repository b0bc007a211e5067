//! The table of routes.

use std::sync::Arc;

use axum::handler::Handler;
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use axum::{Router, middleware};

use super::WebState;
use super::error::ErrorCode;
use super::headers::guard;
use super::{
    account, admin, assets, conversations, events, files, groups, hook, inbox, invites, push, sessions, setup, tokens,
};

/// Routes as they are added, and their list.
struct RouteTable {
    router: Router<Arc<WebState>>,
    listed: Vec<(Method, &'static str)>,
}

impl RouteTable {
    fn get<T: 'static>(self, path: &'static str, answer: impl Handler<T, Arc<WebState>>) -> RouteTable {
        self.add(Method::GET, MethodFilter::GET, path, answer)
    }

    fn post<T: 'static>(self, path: &'static str, answer: impl Handler<T, Arc<WebState>>) -> RouteTable {
        self.add(Method::POST, MethodFilter::POST, path, answer)
    }

    fn delete<T: 'static>(self, path: &'static str, answer: impl Handler<T, Arc<WebState>>) -> RouteTable {
        self.add(Method::DELETE, MethodFilter::DELETE, path, answer)
    }

    fn add<T: 'static>(
        mut self,
        method: Method,
        filter: MethodFilter,
        path: &'static str,
        answer: impl Handler<T, Arc<WebState>>,
    ) -> RouteTable {
        self.listed.push((method, path));
        RouteTable { router: self.router.route(path, on(filter, answer)), ..self }
    }
}

fn table() -> RouteTable {
    RouteTable { router: Router::new(), listed: Vec::new() }
        .get("/", assets::index)
        .get("/sw.js", assets::service_worker)
        .get("/manifest.webmanifest", assets::manifest)
        .get("/a/{hash}/{*name}", assets::file)
        .get("/health", account::health)
        .post("/api/v1/setup", setup::setup)
        .post("/api/v1/register", invites::register)
        .post("/api/v1/login", account::login)
        .post("/api/v1/logout", account::logout)
        .get("/api/v1/me", account::me)
        .post("/api/v1/me", account::rename)
        .post("/api/v1/me/password", account::change_password)
        .get("/api/v1/sessions", sessions::list)
        .delete("/api/v1/sessions", sessions::end_others)
        .delete("/api/v1/sessions/{id}", sessions::end)
        .get("/api/v1/tokens", tokens::list)
        .post("/api/v1/tokens", tokens::add)
        .delete("/api/v1/tokens/{id}", tokens::end)
        .get("/api/v1/hooks", tokens::list_hooks)
        .post("/api/v1/hooks", tokens::add_hook)
        .delete("/api/v1/hooks/{id}", tokens::end_hook)
        .get("/api/v1/people", conversations::people)
        .get("/api/v1/conversations", conversations::list)
        .get("/api/v1/conversations/{name}/messages", conversations::messages)
        .post("/api/v1/conversations/{name}/messages", conversations::send)
        .post("/api/v1/conversations/{name}/files", files::send)
        .post("/api/v1/conversations/{name}/read", conversations::read)
        .get("/api/v1/files/{id}", files::get)
        .get("/api/v1/groups", groups::list)
        .post("/api/v1/groups", groups::create)
        .delete("/api/v1/groups/{name}", groups::delete)
        .post("/api/v1/groups/{name}/name", groups::rename)
        .post("/api/v1/groups/{name}/join", groups::join)
        .post("/api/v1/groups/{name}/leave", groups::leave)
        .get("/api/v1/groups/{name}/members", groups::members)
        .post("/api/v1/groups/{name}/members", groups::invite)
        .delete("/api/v1/groups/{name}/members/{user}", groups::remove)
        .get("/api/v1/events", events::events)
        .get("/api/v1/push", push::key)
        .post("/api/v1/push", push::subscribe)
        .delete("/api/v1/push", push::unsubscribe)
        .get("/api/v1/admin/health", admin::health)
        .get("/api/v1/admin/users", admin::users)
        .post("/api/v1/admin/users", admin::add_user)
        .post("/api/v1/admin/users/{name}", admin::set_user)
        .delete("/api/v1/admin/users/{name}", admin::remove_user)
        .post("/api/v1/admin/users/{name}/password", admin::set_password)
        .get("/api/v1/admin/sessions", admin::sessions)
        .delete("/api/v1/admin/sessions/{id}", admin::end_session)
        .get("/api/v1/admin/invites", invites::list)
        .post("/api/v1/admin/invites", invites::add)
        .delete("/api/v1/admin/invites/{id}", invites::remove)
        .get("/api/v1/admin/groups", admin::groups)
        .get("/api/v1/admin/groups/{name}/members", admin::members)
        .delete("/api/v1/admin/groups/{name}", admin::remove_group)
        .delete("/api/v1/admin/groups/{name}/members/{user}", admin::remove_member)
        .get("/api/v1/inbox", inbox::inbox)
        .post("/api/v1/inbox/ack", inbox::ack)
        .get("/api/v1/openapi.json", openapi)
        .post("/to/{name}", conversations::send_to)
        .post("/hook/{secret}", hook::hook)
}

/// The routes for programs that make clients of them; kept by hand, and compared with the table by a test.
const OPENAPI: &str = include_str!("openapi.json");

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// All routes, behind the checks that each request has to pass.
pub(super) fn router(state: Arc<WebState>) -> Router {
    table()
        .router
        .fallback(async || ErrorCode::NotFound)
        .method_not_allowed_fallback(async || ErrorCode::WrongMethod)
        .layer(middleware::from_fn_with_state(state.clone(), guard))
        .with_state(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openapi_has_every_route_and_every_error_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).expect("it is JSON");
        let paths = document["paths"].as_object().expect("it has paths");
        let mut described: Vec<String> = Vec::new();
        for (path, methods) in paths {
            for (method, operation) in methods.as_object().expect("a path has methods") {
                described.push(format!("{} {path}", method.to_uppercase()));
                let named = operation["parameters"].as_array().into_iter().flatten();
                let named = named.filter(|parameter| parameter["in"] == "path").count();
                assert_eq!(named, path.matches('{').count(), "{method} {path} names the parts of its path");
                assert!(operation["summary"].is_string(), "{method} {path} says what it does");
            }
        }
        let mut routes: Vec<String> =
            table().listed.iter().map(|(method, path)| format!("{method} {}", path.replace("{*", "{"))).collect();
        described.sort();
        routes.sort();
        assert_eq!(described, routes);
        let mut errors: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.parts().1).collect();
        let listed = document["components"]["schemas"]["Error"]["properties"]["error"]["enum"].as_array();
        let mut listed: Vec<&str> = listed.expect("a list").iter().filter_map(|code| code.as_str()).collect();
        errors.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, errors);
    }

    #[test]
    fn the_document_has_every_route_and_no_other() {
        let document = include_str!("../../../docs/HTTP.md");
        let in_document: Vec<String> = document
            .lines()
            .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`').map(str::to_owned))
            .collect();
        let routes: Vec<String> = table().listed.iter().map(|(method, path)| format!("{method} {path}")).collect();
        assert_eq!(in_document, routes);
    }
}
