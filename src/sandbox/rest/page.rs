//! Pages: GitLab's offset pages with all their headers, and keyset pages with only `Link`.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::{App, error, message};

/// A query's parameters.
pub(super) type Parameters = BTreeMap<String, String>;

/// Offset pages of projects end here (configurable in a real GitLab).
const MOST: u64 = 50_000;
/// Above so many rows GitLab does not count them.
const COUNTED: u64 = 10_000;

/// A parameter that is yes or no.
pub(super) fn flag(parameters: &Parameters, name: &str) -> Option<bool> {
    parameters.get(name).map(|v| matches!(v.as_str(), "true" | "1"))
}

/// The path as it was asked for: within the router it has lost its prefix.
pub(super) fn full(uri: &Uri) -> String {
    format!("/api/v4{}", uri.path())
}

/// Which page is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    pub(super) page: u64,
    pub(super) per_page: u64,
}

/// Reads `page` and `per_page`.
#[expect(clippy::result_large_err, reason = "the answer is the error")]
pub(super) fn page(parameters: &Parameters) -> Result<Page, Response> {
    let number = |name: &str, default: u64| match parameters.get(name).map(|v| v.parse::<u64>()) {
        None => Ok(default),
        Some(Ok(n)) if n > 0 => Ok(n),
        Some(Ok(_)) => Err(error(StatusCode::BAD_REQUEST, &format!("{name} does not have a valid value"))),
        Some(Err(_)) => Err(error(StatusCode::BAD_REQUEST, &format!("{name} is invalid"))),
    };
    Ok(Page { page: number("page", 1)?, per_page: number("per_page", 20)?.min(100) })
}

fn address(app: &App, path: &str, parameters: &Parameters) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters);
    // As configured, not as asked: clients must take the query only.
    format!("{}{path}?{}", app.post.endpoints().gitlab_url, query.finish())
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// What a page is answered that holds something broken.
pub(super) fn broken() -> Response {
    message(StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error")
}

/// Answers with one offset page of `items`, of which there are `total`; `None` for a page that cannot be shown.
pub(super) fn offset(
    app: &App,
    path: &str,
    parameters: &Parameters,
    total: u64,
    items: impl FnOnce(usize, usize) -> Option<Vec<Value>>,
) -> Response {
    let Page { page, per_page } = match page(parameters) {
        Ok(page) => page,
        Err(answer) => return answer,
    };
    if path.ends_with("/projects") && page.saturating_mul(per_page) > MOST {
        let text = format!(
            "Offset pagination has a maximum allowed offset of {MOST} for requests that return objects of type Project. \
             Remaining records can be retrieved using keyset pagination."
        );
        return error(StatusCode::METHOD_NOT_ALLOWED, &text);
    }
    let pages = total.div_ceil(per_page).max(1);
    let skip = usize::try_from((page - 1).saturating_mul(per_page)).unwrap_or(usize::MAX);
    let Some(rows) = items(skip, per_page as usize) else { return broken() };
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: String| drop(headers.insert(name, header(&value)));
    let link = |to: u64, rel: &str| {
        let mut parameters = parameters.clone();
        parameters.insert("page".to_owned(), to.to_string());
        parameters.insert("per_page".to_owned(), per_page.to_string());
        format!("<{}>; rel=\"{rel}\"", address(app, path, &parameters))
    };
    let mut links = Vec::new();
    let next = if page < pages { (page + 1).to_string() } else { String::new() };
    let previous = if page > 1 { (page - 1).to_string() } else { String::new() };
    if page > 1 {
        links.push(link(page - 1, "prev"));
    }
    if page < pages {
        links.push(link(page + 1, "next"));
    }
    links.push(link(1, "first"));
    if total <= COUNTED {
        links.push(link(pages, "last"));
        put("x-total", total.to_string());
        put("x-total-pages", pages.to_string());
    }
    put("x-page", page.to_string());
    put("x-per-page", per_page.to_string());
    put("x-next-page", next);
    put("x-prev-page", previous);
    put("link", links.join(", "));
    (headers, axum::Json(rows)).into_response()
}

/// Answers with one keyset page of projects. The end is an empty page, and only that is without `Link`.
pub(super) fn keyset(app: &App, path: &str, parameters: &Parameters, rows: Vec<Value>, last: Option<u64>) -> Response {
    let mut headers = HeaderMap::new();
    if let Some(last) = last {
        let mut next = parameters.clone();
        // Every declared parameter is echoed with its default.
        for (name, default) in [("page", "1"), ("per_page", "20"), ("sort", "desc"), ("statistics", "false")] {
            next.entry(name.to_owned()).or_insert_with(|| default.to_owned());
        }
        let ascending = next.get("sort").is_some_and(|s| s == "asc");
        next.insert(if ascending { "id_after" } else { "id_before" }.to_owned(), last.to_string());
        let link = format!("<{}>; rel=\"next\"", address(app, path, &next));
        headers.insert("link", header(&link));
    }
    (headers, axum::Json(rows)).into_response()
}
