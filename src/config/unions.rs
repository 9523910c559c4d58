//! Unions: feeds that are made of others, and what their members say of themselves.

use std::collections::HashSet;
use std::time::Duration;

use crate::access::rules as clients;
use crate::proxy::{
    DEFAULT_SEARCH_WAIT, FeedSettings, IdPattern, Presence, Settings, UnionSettings,
};

use super::Config;
use super::feeds::Draft;
use super::problem::{Place, Problem, Problems};
use super::value::Value;

/// What makes a feed a union, while it is being read.
#[derive(Clone, Debug, Default)]
pub(super) struct UnionDraft {
    pub(super) members: Option<Vec<String>>,
    pub(super) push_to: Option<String>,
    pub(super) search_wait: Option<Duration>,
}

/// The settings that a union takes.
const OF_UNIONS: &[&str] = &["members", "push_to", "search_wait"];
/// Those of them that mean nothing without members.
const WITH_MEMBERS: &[&str] = &["push_to", "search_wait"];
/// The settings that mean nothing for a feed that no union has as a member.
const OF_MEMBERS: &[&str] = &["only", "optional", "owns"];

pub(super) fn members(value: &Value) -> Result<Vec<String>, String> {
    let expected = || "a list of feeds, at least one, each once".to_owned();
    let list = value.list().map_err(|_| expected())?;
    let members: Vec<String> = list.into_iter().map(str::to_owned).collect();
    let different: HashSet<&String> = members.iter().collect();
    if members.is_empty() || different.len() < members.len() {
        return Err(expected());
    }
    Ok(members)
}

/// Patterns of ids. An empty list is none.
pub(super) fn patterns(value: &Value) -> Result<Vec<IdPattern>, String> {
    value.list()?.into_iter().map(IdPattern::read).collect()
}

pub(super) fn presence(value: &Value) -> Result<Presence, String> {
    Ok(if value.truth()? {
        Presence::Optional
    } else {
        Presence::Required
    })
}

/// Takes the unions out of the feeds, checked against them. Names the default feed if it is a union.
pub(super) fn finish(
    drafts: Vec<Draft>,
    proxy: &mut Settings,
    problems: &mut Problems,
) -> Vec<Draft> {
    let first = drafts.first().map(|draft| draft.name.clone());
    let is_union = |draft: &Draft| draft.settings().contains("members");
    let (unions, plain): (Vec<Draft>, Vec<Draft>) = drafts.into_iter().partition(is_union);
    let mut members: HashSet<&str> = HashSet::new();
    let mut names: HashSet<&str> = plain.iter().map(|draft| draft.name.as_str()).collect();
    for draft in &unions {
        let mut check = Check {
            draft,
            problems: &mut *problems,
        };
        if !names.insert(&draft.name) {
            check.problem("name", None, "each feed's name once");
        }
        check.settings();
        check.members(&plain, &unions);
        members.extend(draft.union.members.iter().flatten().map(String::as_str));
    }
    for draft in &plain {
        let mut check = Check {
            draft,
            problems: &mut *problems,
        };
        check.without_members(members.contains(draft.name.as_str()));
    }
    proxy.default_feed = first.filter(|name| unions.iter().any(|union| union.name == *name));
    proxy.unions = unions
        .into_iter()
        .map(|draft| UnionSettings {
            name: draft.name,
            members: draft.union.members.unwrap_or_default(),
            push_to: draft.union.push_to,
            search_wait: draft.union.search_wait.unwrap_or(DEFAULT_SEARCH_WAIT),
        })
        .collect();
    plain
}

/// A feed of a configuration, with an upstream of its own or made of others.
#[derive(Debug, PartialEq)]
pub(super) enum Mount<'a> {
    Feed(&'a FeedSettings),
    Union(&'a UnionSettings),
}

impl<'a> Mount<'a> {
    /// Every feed.
    pub(super) fn all(config: &'a Config) -> Vec<Self> {
        let feeds = config.proxy.feeds.iter().map(Self::Feed);
        let unions = config.proxy.unions.iter().map(Self::Union);
        feeds.chain(unions).collect()
    }

    pub(super) fn name(&self) -> &'a str {
        match self {
            Self::Feed(feed) => &feed.name,
            Self::Union(union) => &union.name,
        }
    }
}

struct Check<'a> {
    draft: &'a Draft,
    problems: &'a mut Problems,
}

impl Check<'_> {
    fn problem(&mut self, setting: &str, found: Option<&str>, expected: &str) {
        self.problems.push(Problem {
            place: self.draft.place.clone().unwrap_or(Place::Nowhere),
            setting: format!("feed {:?}: {setting}", self.draft.name),
            found: found.map(str::to_owned),
            expected: expected.to_owned(),
        });
    }

    /// A union has no upstream, so nothing that is about one means anything.
    fn settings(&mut self) {
        for setting in self.draft.settings() {
            if !OF_UNIONS.contains(&setting) {
                self.problem(setting, None, "no such setting beside members");
            }
        }
    }

    fn members(&mut self, plain: &[Draft], unions: &[Draft]) {
        let members = self.draft.union.members.as_deref().unwrap_or_default();
        for member in members {
            let found = plain.iter().find(|draft| draft.name == *member);
            if found.is_some_and(|draft| draft.access != clients::Mode::Passthrough) {
                continue;
            }
            let expected = if found.is_some() {
                "feeds that are asked with what is configured, not with access = \"passthrough\""
            } else if *member == self.draft.name {
                "other feeds, not the feed itself"
            } else if unions.iter().any(|draft| draft.name == *member) {
                "feeds with an upstream of their own, no feed that has members itself"
            } else {
                "names of feeds that are configured"
            };
            self.problem("members", Some(member), expected);
        }
        let push_to = self.draft.union.push_to.as_ref();
        if let Some(push_to) = push_to.filter(|name| !members.contains(*name)) {
            self.problem("push_to", Some(push_to), "one of the members");
        }
    }

    /// What is said of a feed with an upstream of its own.
    fn without_members(&mut self, is_member: bool) {
        for setting in self.draft.settings() {
            if WITH_MEMBERS.contains(&setting) {
                self.problem(setting, None, "no such setting without members");
            }
            // A rule that nothing obeys would be taken for protection.
            if OF_MEMBERS.contains(&setting) && !is_member && !is_nothing(self.draft, setting) {
                let expected = "no such setting on a feed that is a member of no other";
                self.problem(setting, None, expected);
            }
        }
    }
}

/// Whether a setting was given its default.
fn is_nothing(draft: &Draft, setting: &str) -> bool {
    match setting {
        "only" => draft.member.only.is_empty(),
        "optional" => draft.member.presence == Presence::Required,
        _ => draft.member.owns.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::changes::compare;
    use super::super::{Arguments, CONFIG_TOML, Environment, load};
    use super::*;

    const FEEDS: &str = "[[feed]]\nname = \"a\"\nupstream = \"https://a/i\"\n[[feed]]\nname = \"b\"\n\
                         upstream = \"https://b/i\"\n";

    fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Config, Problems> {
        let file = [(CONFIG_TOML, text)];
        let all = file.iter().chain(variables);
        let all = all.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        load(&Arguments::default(), &Environment::new(all))
    }

    /// What is wrong with a file that has these lines after two feeds, without the place.
    #[track_caller]
    fn check(lines: &str, expected: &[&str]) {
        let problems = load_text(&format!("{FEEDS}{lines}"), &[]).expect_err("problems");
        let found: Vec<String> = problems
            .list()
            .iter()
            .map(|problem| problem.to_string())
            .map(|text| {
                text.split_once(": ")
                    .map_or(String::new(), |(_, text)| text.to_owned())
            })
            .collect();
        assert_eq!(found, expected);
    }

    fn union(lines: &str) -> String {
        format!("[[feed]]\nname = \"all\"\n{lines}")
    }

    #[test]
    fn a_union_and_the_rules_of_its_members_are_read() {
        let text = format!(
            "[[feed]]\nname = \"all\"\nmembers = [\"b\", \"a\"]\npush_to = \"a\"\nsearch_wait = \"1s\"\n{FEEDS}\
             owns = [\"Contoso.*\", \"X\"]\nonly = \"Y\"\noptional = true\n"
        );
        let config = load_text(&text, &[]).expect("a configuration");
        let expected = UnionSettings {
            push_to: Some("a".into()),
            search_wait: Duration::from_secs(1),
            ..UnionSettings::new("all", &["b", "a"])
        };
        assert_eq!(config.proxy.unions, [expected]);
        assert_eq!(config.proxy.default_feed.as_deref(), Some("all"));
        let names: Vec<&str> = config
            .proxy
            .feeds
            .iter()
            .map(|feed| feed.name.as_str())
            .collect();
        assert_eq!(names, ["a", "b"]);
        let rules = &config.proxy.feeds[1].member;
        assert_eq!((rules.owns.len(), rules.only.len()), (2, 1));
        assert_eq!(rules.presence, Presence::Optional);
        assert_eq!(
            config.proxy.sources()[0],
            ("all", "b + a".to_owned()),
            "the default feed is told first"
        );
    }

    #[test]
    fn a_union_comes_from_the_environment_too() {
        let variables = [
            ("SLUICE_FEED_ALL_MEMBERS", "a, b"),
            ("SLUICE_FEED_ALL_PUSH_TO", "b"),
            ("SLUICE_FEED_A_OWNS", "Contoso.*, Fabrikam"),
            ("SLUICE_FEED_A_OPTIONAL", "true"),
        ];
        let config = load_text(FEEDS, &variables).expect("a configuration");
        assert_eq!(config.proxy.unions[0].members, ["a", "b"]);
        assert_eq!(config.proxy.unions[0].push_to.as_deref(), Some("b"));
        assert_eq!(
            config.proxy.default_feed, None,
            "the file's feeds come first"
        );
        assert_eq!(config.proxy.feeds[0].member.owns.len(), 2);
    }

    #[test]
    fn feeds_made_of_others_are_told_like_all_others() {
        let feed =
            |name: &str| format!("[[feed]]\nname = \"{name}\"\nupstream = \"https://{name}/i\"\n");
        let union = |name: &str, members: &str| {
            format!("[[feed]]\nname = \"{name}\"\nmembers = {members:?}\n")
        };
        let told = |before: String, after: String| {
            let loaded = |text: &str| load_text(text, &[]).expect("a configuration");
            let changed = compare(&loaded(&before), loaded(&after)).changed;
            changed.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let plain = feed("a") + &feed("b");
        let both = |text: String| format!("{plain}{text}");
        assert_eq!(
            told(plain.clone(), union("all", "a") + &plain),
            ["feed \"all\": added", "first feed: \"all\", before \"a\""]
        );
        assert_eq!(
            told(both(union("all", "a, b")), both(union("all", "b, a"))),
            ["feed \"all\": members: \"b, a\", before \"a, b\""]
        );
        assert_eq!(
            told(both(union("all", "a")), both(feed("all"))),
            [
                "feed \"all\": upstream: \"https://all/i\", before \"default\"",
                "feed \"all\": members: \"default\", before \"a\"",
            ]
        );
        assert_eq!(
            told(both(union("all", "a")), plain.clone()),
            ["feed \"all\": removed"]
        );
    }

    #[test]
    fn mistakes_are_told_with_all_others() {
        check(
            &union(
                "members = [\"a\", \"nope\", \"all\", \"other\"]\npush_to = \"b\"\nupstream = \"https://c/i\"\n\
                    [[feed]]\nname = \"other\"\nmembers = [\"b\"]\nversion_list_fresh = \"1s\"\n\
                    [[feed]]\nname = \"c\"\npush_to = \"a\"\nowns = \"X\"\n",
            ),
            &[
                "feed \"all\": upstream: expected no such setting beside members",
                "feed \"all\": members is \"nope\": expected names of feeds that are configured",
                "feed \"all\": members is \"all\": expected other feeds, not the feed itself",
                "feed \"all\": members is \"other\": expected feeds with an upstream of their own, no feed that has \
                 members itself",
                "feed \"all\": push_to is \"b\": expected one of the members",
                "feed \"other\": version_list_fresh: expected no such setting beside members",
                "feed \"c\": owns: expected no such setting on a feed that is a member of no other",
                "feed \"c\": push_to: expected no such setting without members",
                "feed \"c\": upstream: expected the URL of a V3 service index",
            ],
        );
        check(
            &format!(
                "access = \"passthrough\"\n{}",
                union("members = [\"a\", \"b\"]\n")
            ),
            &[
                "feed \"all\": members is \"b\": expected feeds that are asked with what is configured, not with access = \
                 \"passthrough\"",
            ],
        );
        let list = "members is \"\": expected a list of feeds, at least one, each once";
        check(&union("members = []\n"), &[list]);
        check(
            &union("members = [\"a\", \"a\"]\n"),
            &["members is \"a, a\": expected a list of feeds, at least one, each once"],
        );
        check(
            &union("members = [\"a\"]\n[[feed]]\nname = \"a\"\nmembers = [\"b\"]\n"),
            &["feed \"a\": name: expected each feed's name once"],
        );
        check(
            "owns = \"a b\"\noptional = 1\n",
            &[
                "owns is \"a b\": expected a package id, \"Contoso.*\" or \"*\", which \"a b\" is not",
                "optional is \"1\": expected true or false",
            ],
        );
    }

    #[test]
    fn the_upstream_of_the_first_feed_is_none_of_a_union() {
        let text = format!(
            "upstream = \"https://x/i\"\n{}{FEEDS}",
            union("members = [\"a\"]\n")
        );
        let problems = load_text(&text, &[]).expect_err("a problem");
        let shown = problems.to_string();
        assert!(shown.contains("feed \"all\": upstream: expected no such setting beside members"));
    }
}
