//! Search and autocomplete of a union: every member is asked for as many as are wanted from the first on, waits a short
//! time, and is left out with a mark if it has not answered by then.

use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::ask::of_member;
use super::member::{Coming, arrived};
use super::merged::Merge;
use super::{Union, UnionQuery};
use crate::cache::epoch::Epoch;
use crate::nuget::id::PackageId;
use crate::nuget::merge::Window;
use crate::nuget::pattern::closest;
use crate::proxy::Proxy;
use crate::proxy::failure::Failure;
use crate::proxy::feed::Feed;
use crate::proxy::outcome::Reason;
use crate::proxy::route::Resource;
use crate::proxy::view::Seen;

/// Results that a server shows if it is not told how many (protocol fact 2.3.2).
const DEFAULT_TAKE: usize = 20;
/// The most that a member is asked for: nuget.org gives no more at once (protocol fact 2.3.2). Results behind these are
/// not shown.
const MAX_ASKED: usize = 1000;

impl Proxy {
    pub(super) async fn search_of_union(
        &self,
        query: &UnionQuery<'_>,
        resource: &Resource,
    ) -> Result<Seen, Failure> {
        let wish = Wish::read(query.query);
        let members = wish.members(query.union);
        let text = wish.of_each();
        let each = UnionQuery {
            query: &text,
            ..*query
        };
        let asked: Vec<_> = members
            .iter()
            .map(|member| (member, self.begin_asking(&each, member, resource.clone())))
            .collect();
        let until = query.since + query.union.search_wait;
        let mut roll = self.roll();
        for (place, (member, coming)) in asked.into_iter().enumerate() {
            let left = until.saturating_duration_since(self.clock.instant());
            match self.in_time(member, coming, left).await {
                Err(Failure::NotOffered(what)) => {
                    roll.add(place, member, Err(Failure::NotOffered(what)))?;
                }
                Err(failure) => {
                    self.tell_left_out(query, member, failure.reason());
                    roll.leave_out(of_member(member, failure));
                }
                seen => roll.add(place, member, seen)?,
            }
        }
        let union = Arc::clone(query.union);
        let merge = match (resource, wish.id.is_some()) {
            (Resource::Search, _) => Merge::Search(union, wish.window),
            (_, true) => Merge::AutocompleteVersions(wish.window),
            (_, false) => Merge::AutocompleteIds(union, wish.window),
        };
        // Results are kept in memory as each member's alone.
        self.joined(&members, roll, merge, Epoch::default())
    }

    /// What a member says within a time; it goes on behind that, for whoever asks next.
    async fn in_time(
        &self,
        member: &Feed,
        coming: Coming,
        left: Duration,
    ) -> Result<Seen, Failure> {
        let waited = tokio::time::timeout(left, arrived(coming)).await;
        waited.unwrap_or_else(|_| {
            Err(Failure::Unreachable {
                origin: member.access.upstream().host().to_owned(),
                since: self.clock.now(),
                reason: Reason::TimedOut,
                cause: None,
                detail: "no answer within search_wait".to_owned(),
                spent_its_hold: false,
            })
        })
    }
}

/// What a query of search or autocomplete wants.
#[derive(Debug)]
struct Wish {
    /// The id whose versions are wanted.
    id: Option<String>,
    /// Words that may be ids.
    terms: Vec<PackageId>,
    /// Those that are meant as whole ids.
    exact: Vec<PackageId>,
    window: Window,
    /// Every parameter but those of the window, as written.
    others: String,
}

impl Wish {
    fn read(query: &str) -> Self {
        let mut wish = Self {
            id: None,
            terms: Vec::new(),
            exact: Vec::new(),
            window: Window {
                skip: 0,
                take: DEFAULT_TAKE,
            },
            others: String::new(),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.replace('+', " ");
            let value = percent_decode_str(&value).decode_utf8_lossy();
            match name.to_ascii_lowercase().as_str() {
                "skip" => wish.window.skip = value.parse().unwrap_or(0),
                "take" => wish.window.take = value.parse().unwrap_or(DEFAULT_TAKE),
                name => {
                    if name == "id" {
                        wish.id = Some(value.clone().into_owned());
                    }
                    if name == "q" || name == "id" {
                        value.split_whitespace().for_each(|word| wish.add(word));
                    }
                    wish.others.push_str(pair);
                    wish.others.push('&');
                }
            }
        }
        wish
    }

    /// Adds a word of a search: an id may be bare, or stand behind `packageid:`, which means it whole, or `id:` (protocol
    /// fact 2.3.6).
    fn add(&mut self, word: &str) {
        let (field, bare) = word.rsplit_once(':').unwrap_or(("", word));
        let Ok(id) = PackageId::parse(bare.trim_matches('"')) else {
            return;
        };
        if field.eq_ignore_ascii_case("packageid") {
            self.exact.push(id.clone());
        }
        self.terms.push(id);
    }

    /// The members that are asked: an id that one owns is told to no other, not even as a word of a search, and whole ids
    /// to nobody who is asked for none of them.
    fn members(&self, union: &Union) -> Vec<Arc<Feed>> {
        let is_owned = |id: &&PackageId| {
            let mut members = union.members.iter();
            members.any(|member| closest(&member.settings.member.owns, id).is_some())
        };
        let id = self.id.as_deref().and_then(|id| PackageId::parse(id).ok());
        let named: Vec<&PackageId> = self.terms.iter().filter(is_owned).chain(&id).collect();
        let members = union.members.iter();
        members
            .filter(|member| named.iter().all(|id| union.is_candidate(member, id)))
            .filter(|member| {
                let mut exact = self.exact.iter();
                self.exact.is_empty() || exact.any(|id| union.is_candidate(member, id))
            })
            .cloned()
            .collect()
    }

    /// The query of each member: everything from the first result on that the window may show.
    fn of_each(&self) -> String {
        let most = self.window.skip.saturating_add(self.window.take);
        format!("{}skip=0&take={}", self.others, most.min(MAX_ASKED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, of_each: &str, skip: usize, take: usize, terms: &[&str]) {
        let wish = Wish::read(query);
        assert_eq!(wish.of_each(), of_each, "{query}");
        assert_eq!(wish.window, Window { skip, take }, "{query}");
        let found: Vec<_> = wish.terms.iter().map(PackageId::as_str).collect();
        assert_eq!(found, terms, "{query}");
    }

    #[test]
    fn each_member_is_asked_for_all_that_the_window_may_show() {
        check("q=a", "q=a&skip=0&take=20", 0, 20, &["a"]);
        check(
            "Skip=40&q=a&TAKE=10&prerelease=true",
            "q=a&prerelease=true&skip=0&take=50",
            40,
            10,
            &["a"],
        );
        check("skip=5000&take=7", "skip=0&take=1000", 5000, 7, &[]);
        check("skip=x&take=", "skip=0&take=20", 0, 20, &[]);
        check("take=0", "skip=0&take=0", 0, 0, &[]);
    }

    #[test]
    fn words_that_may_be_ids_are_found() {
        check(
            "q=PackageId:Contoso.A+x%20%22Contoso.B%22",
            "q=PackageId:Contoso.A+x%20%22Contoso.B%22&skip=0&take=20",
            0,
            20,
            &["contoso.a", "x", "contoso.b"],
        );
        check(
            "id=Contoso.C",
            "id=Contoso.C&skip=0&take=20",
            0,
            20,
            &["contoso.c"],
        );
    }
}
