//! What lies below a feed's `v3/`. A union has the documents of each member below the member's name, so that their links
//! tell whose they are.

use super::{Route, RouteError, Segment, resource};

/// The folder of a union's members.
const MEMBER: &str = "member";

pub(super) fn of_feed(feed: Option<String>, segments: &[Segment<'_>]) -> Result<Route, RouteError> {
    match segments {
        [first, member, rest @ ..] if first.text == MEMBER && !rest.is_empty() => {
            Ok(Route::Member {
                feed,
                member: member.text.clone().into_owned(),
                resource: resource(rest)?,
            })
        }
        _ => Ok(Route::Feed(feed, resource(segments)?)),
    }
}

/// The base below which a union has the documents of a member: part of the URLs that we hand out.
#[must_use]
pub fn member_base(base: &str, member: &str) -> String {
    format!("{base}{MEMBER}/{member}/")
}
