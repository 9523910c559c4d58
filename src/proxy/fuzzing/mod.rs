//! Entry points for fuzzing of what clients send, and of documents that are rendered with links of ours.

mod challenges;
mod documents;
mod indexes;
mod requests;

pub(crate) use challenges::{challenge, challenge_lines};
pub(crate) use documents::{catalog, odd_leaves, odd_registrations, registration, search};
pub(crate) use indexes::{service_index, signatures, tools_lists, vulnerability};
pub(crate) use requests::{forwarded, header_lines, paths, route};

use super::route::{self as routes, Resource, Route};

/// Where clients find the feed.
const BASE: &str = "https://us.example/f/v3/";

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// The path of a URL of ours: queries mean nothing in our routes.
#[track_caller]
fn path_of(url: &str) -> String {
    let rest = url.strip_prefix(BASE);
    assert!(rest.is_some(), "not ours: {url:?}");
    let path = rest.unwrap_or_default().split(['?', '#']).next();
    format!("/f/v3/{}", path.unwrap_or_default())
}

/// The resource of our feed that a URL of ours leads to; `None` for the base of a hive, which leads nowhere by itself.
#[track_caller]
fn resource_of(url: &str) -> Option<Resource> {
    let path = path_of(url);
    match routes::parse(&path) {
        Ok(Route::Feed(Some(feed), resource)) if feed == "f" => Some(resource),
        other => {
            let parts: Vec<&str> = path.split('/').collect();
            assert!(
                matches!(*parts, [.., "registration", _, ""]),
                "{url:?} leads to {other:?}"
            );
            None
        }
    }
}
