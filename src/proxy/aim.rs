//! What a request's path leads to here: a resource of which feed, below which base, or an answer at once.

use http::{Method, Response};

use super::Proxy;
use super::base::Address;
use super::body::Body;
use super::refusal::Refusal;
use super::respond::{self, Facts};
use super::route::{self, Resource, Route, RouteError};
use super::union::Mount;

/// A resource that a path leads to.
#[derive(Debug)]
pub(super) struct Aim<'a> {
    pub(super) mount: Mount<'a>,
    pub(super) resource: Resource,
    /// What the URLs of its feed begin with, as the client calls us, with a final slash.
    pub(super) base: String,
}

impl Proxy {
    /// Finds what a path leads to; the error is the answer of one that leads to no resource.
    #[expect(
        clippy::result_large_err,
        reason = "it is the answer and goes straight out"
    )]
    pub(super) fn aim(
        &self,
        path: &str,
        facts: &Facts<'_>,
        address: &Address,
    ) -> Result<Aim<'_>, Response<Body>> {
        let is_read = matches!(*facts.method, Method::GET | Method::HEAD);
        let refused = |refusal| Err(respond::refusal(facts, &refusal));
        let lead = |name: Option<String>, member: Option<String>, resource| {
            let Some(mount) = self.mount(name.as_deref(), member.as_deref()) else {
                return refused(Refusal::NoSuchPath("no feed of this name".into()));
            };
            let base = match name {
                None => format!("{}/v3/", address.base_url),
                Some(name) => format!("{}/{name}/v3/", address.base_url),
            };
            let mount = match (mount, &resource) {
                (
                    Mount::Feed(feed),
                    Resource::VulnerabilityIndex | Resource::VulnerabilityPage(_),
                ) => Mount::Feed(feed.audit_source()),
                (mount, _) => mount,
            };
            Ok(Aim {
                mount,
                resource,
                base,
            })
        };
        match route::parse(path) {
            Ok(Route::Feed(name, resource)) => lead(name, None, resource),
            Ok(Route::Member {
                feed,
                member,
                resource,
            }) => lead(feed, Some(member), resource),
            Ok(Route::Home | Route::Health) if !is_read => {
                refused(Refusal::MethodNotAllowed("GET, HEAD"))
            }
            Ok(Route::Health) => Err(respond::page(
                facts,
                "text/plain; charset=utf-8",
                "ok\n".into(),
            )),
            Ok(Route::Home) => Err(self.home(facts, &address.base_url)),
            Ok(Route::Tools(resource)) => match &self.tools {
                Some(feed) => Ok(Aim {
                    mount: Mount::Feed(feed),
                    resource,
                    base: format!("{}/-/", address.base_url),
                }),
                None => refused(Refusal::NoSuchPath(
                    "no client binaries are served here: the setting is tools_upstream".into(),
                )),
            },
            Ok(Route::V2(first)) => {
                let feed = match self.mount(Some(&first), None) {
                    Some(_) => format!("/{first}"),
                    None => String::new(),
                };
                let source = format!("{}{feed}/v3/index.json", address.base_url);
                refused(Refusal::V2(format!(
                    "the V2 protocol is not served here, V3 is: use the source {source}"
                )))
            }
            Err(error @ RouteError::Malformed(_)) => {
                refused(Refusal::BadRequest(error.to_string()))
            }
            Err(error @ RouteError::Unknown) => refused(Refusal::NoSuchPath(error.to_string())),
        }
    }
}
