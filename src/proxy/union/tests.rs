//! Who is asked for an id, by the rules of the members.

use super::*;
use crate::proxy::beside::Beside;
use crate::proxy::feed::AccessGeneration;
use crate::proxy::mode::ModeState;
use crate::proxy::{FeedSettings, Mode};
use crate::upstream::auth::Access;
use crate::upstream::url::Origin;

/// A union whose members have these rules, as (owns, only).
fn union(rules: &[(&[&str], &[&str])]) -> Arc<Union> {
    let patterns = |texts: &[&str]| {
        let patterns = texts.iter().map(|text| IdPattern::parse(text));
        patterns.collect::<Result<Vec<_>, _>>().expect("patterns")
    };
    let feeds: Vec<Arc<Feed>> = rules
        .iter()
        .enumerate()
        .map(|(n, (owns, only))| {
            let mut settings = FeedSettings::new(&format!("m{n}"), "https://up.test/index.json");
            settings.member.owns = patterns(owns);
            settings.member.only = patterns(only);
            let origin = Origin::of(&settings.upstream).expect("an origin");
            let access = Access::new(origin, None).expect("access");
            let mode = Arc::new(ModeState::new(Mode::Online));
            Arc::new(Feed::new(
                settings,
                access,
                Generation(1),
                AccessGeneration(1),
                Beside::default(),
                mode,
            ))
        })
        .collect();
    let names: Vec<String> = feeds.iter().map(|feed| feed.name.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mounted = mount(
        &[UnionSettings::new("all", &names)],
        &feeds,
        &[],
        Generation(1),
    )
    .expect("mounted");
    Arc::clone(&mounted[0])
}

#[track_caller]
fn check(rules: &[(&[&str], &[&str])], id: &str, expected: &[&str]) {
    let id = PackageId::parse(id).expect("an id");
    let members = union(rules).candidates(&id);
    let found: Vec<&str> = members.iter().map(|feed| &*feed.name).collect();
    assert_eq!(found, expected, "{id}");
}

#[test]
fn an_owned_id_is_looked_up_nowhere_else() {
    let rules: &[(&[&str], &[&str])] = &[(&[], &[]), (&["Contoso.*"], &[])];
    check(rules, "contoso.core", &["m1"]);
    check(rules, "other", &["m0", "m1"]);
}

#[test]
fn the_closest_pattern_owns() {
    let rules: &[(&[&str], &[&str])] = &[
        (&["Contoso.*"], &[]),
        (&["Contoso.Partner.*", "X"], &[]),
        (&["X*"], &[]),
    ];
    check(rules, "Contoso.A", &["m0"]);
    check(rules, "Contoso.Partner.A", &["m1"]);
    check(rules, "x", &["m1"]);
    check(rules, "x.y", &["m2"]);
    let shared: &[(&[&str], &[&str])] = &[(&["C.*"], &[]), (&["c.*"], &[])];
    check(shared, "C.a", &["m0", "m1"]);
}

#[test]
fn a_member_is_asked_only_for_what_it_is_named_for() {
    let rules: &[(&[&str], &[&str])] = &[(&[], &["Contoso.*", "Exact"]), (&[], &[])];
    check(rules, "Contoso.A", &["m0", "m1"]);
    check(rules, "exact", &["m0", "m1"]);
    check(rules, "exact.not", &["m1"]);
    // With both rules it is asked for what either names.
    let both: &[(&[&str], &[&str])] = &[(&["A"], &["B"]), (&[], &[])];
    check(both, "a", &["m0"]);
    check(both, "b", &["m0", "m1"]);
    check(both, "c", &["m1"]);
}
