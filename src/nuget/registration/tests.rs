//! The shapes of protocol facts 2.2.2, 2.2.4 and section 10, one by one. Whole documents of real servers are read in
//! `nuget::tests`.

use super::*;

/// What a link is: kind, URL, leaf, page.
fn links(registration: &Registration) -> Vec<(LinkKind, &str, Option<usize>, Option<usize>)> {
    let links = registration.links.iter();
    links
        .map(|link| (link.kind, link.url.as_str(), link.leaf, link.page))
        .collect()
}

#[track_caller]
fn check_refused(text: &str, expected: &str) {
    let error = read(text).map_err(|error| error.to_string());
    assert_eq!(error, Err(format!("registration: {expected}")));
}

const INDEX: &str = r#"{
  "items": [
    {"items": [
        {"registration": "r", "catalogEntry": {"version": "1.0.0+x", "id": "A", "@id": "c1", "listed": false,
          "published": "1900-01-01", "packageContent": "old"}, "packageContent": "p1", "@id": "l1"},
        {"@id": "l2", "packageContent": null, "catalogEntry": {"@id": "c2", "packageContent": "p2", "version": "2.0",
          "iconUrl": "i", "licenseUrl": "no", "projectUrl": "no", "readmeUrl": "no",
          "dependencyGroups": [{"@id": "c2#g", "dependencies": [{"registration": "r/b", "@id": "c2#g/b", "id": "B"}]}]}}],
     "parent": "x", "@id": "x#page/1/2", "upper": "2.0", "lower": "1.0.0", "count": 2},
    {"@id": "x/page/3/4", "lower": "3.0.0-RC", "upper": "4", "count": "7"}
  ],
  "commitTimeStamp": "2024-01-02T03:04:05Z", "@context": {"items": {"@id": "catalog:item"}}, "@type": ["T"], "@id": "x"
}"#;

#[test]
fn index_knows_pages_leaves_and_links_in_any_order() {
    let read = read(INDEX).unwrap();
    assert_eq!(read.kind, RegistrationKind::Index);
    assert_eq!(read.commit_time.as_deref(), Some("2024-01-02T03:04:05Z"));
    assert_eq!(
        links(&read),
        [
            (LinkKind::Index, "r", Some(0), Some(0)),
            (LinkKind::CatalogEntry, "c1", Some(0), Some(0)),
            (LinkKind::PackageContent, "old", Some(0), Some(0)),
            (LinkKind::PackageContent, "p1", Some(0), Some(0)),
            (LinkKind::LeafSelf, "l1", Some(0), Some(0)),
            (LinkKind::LeafSelf, "l2", Some(1), Some(0)),
            (LinkKind::CatalogEntry, "c2", Some(1), Some(0)),
            (LinkKind::PackageContent, "p2", Some(1), Some(0)),
            (LinkKind::Icon, "i", Some(1), Some(0)),
            (LinkKind::DependencyGroup, "c2#g", Some(1), Some(0)),
            (LinkKind::DependencyRegistration, "r/b", Some(1), Some(0)),
            (LinkKind::Dependency, "c2#g/b", Some(1), Some(0)),
            (LinkKind::Index, "x", None, Some(0)),
            (LinkKind::PageSelf, "x#page/1/2", None, Some(0)),
            (LinkKind::PageSelf, "x/page/3/4", None, Some(1)),
            (LinkKind::Index, "x", None, None),
        ]
    );
    let dependency = read
        .links
        .iter()
        .find(|link| link.kind == LinkKind::DependencyRegistration);
    assert_eq!(dependency.and_then(|link| link.id.as_deref()), Some("B"));
}

#[test]
fn pages_and_leaves_keep_what_is_written() {
    let read = read(INDEX).unwrap();
    let some = |text: &str| Some(text.to_owned());
    let spans: Vec<_> = read
        .leaves
        .iter()
        .map(|leaf| INDEX[leaf.span.clone()].to_owned())
        .collect();
    assert!(spans[0].starts_with("{\"registration\"") && spans[0].ends_with("\"@id\": \"l1\"}"));
    assert!(spans[1].starts_with("{\"@id\": \"l2\"") && spans[1].ends_with("}]}]}}"));
    assert_eq!(
        read.leaves[0],
        Leaf {
            id: some("A"),
            version: some("1.0.0+x"),
            listed: Some(false),
            published: some("1900-01-01"),
            package_content: some("p1"),
            catalog_entry: some("c1"),
            sha512: None,
            page: Some(0),
            span: read.leaves[0].span.clone(),
        }
    );
    assert_eq!(read.leaves[1].package_content.as_deref(), Some("p2"));
    assert_eq!(
        (read.leaves[1].listed, read.leaves[1].id.as_deref()),
        (None, None)
    );
    let pages: Vec<_> = read
        .pages
        .iter()
        .map(|page| {
            (
                page.lower.as_deref(),
                page.upper.as_deref(),
                page.count,
                page.inlined,
            )
        })
        .collect();
    assert_eq!(
        pages,
        [
            (Some("1.0.0"), Some("2.0"), Some(2), true),
            (Some("3.0.0-RC"), Some("4"), Some(7), false),
        ]
    );
    assert!(INDEX[read.pages[1].span.clone()].starts_with("{\"@id\": \"x/page/3/4\""));
    assert_eq!(read.pages[0].url.as_deref(), Some("x#page/1/2"));
}

#[test]
fn page_is_its_own_only_page() {
    let text = r#"{"items":[{"@id":"l","catalogEntry":"c","packageContent":"p","version":"1"}],"lower":"1","@id":"me","parent":"x"}"#;
    let read = read(text).unwrap();
    assert_eq!(read.kind, RegistrationKind::Page);
    assert_eq!(
        links(&read),
        [
            (LinkKind::LeafSelf, "l", Some(0), Some(0)),
            (LinkKind::CatalogEntry, "c", Some(0), Some(0)),
            (LinkKind::PackageContent, "p", Some(0), Some(0)),
            (LinkKind::PageSelf, "me", None, Some(0)),
            (LinkKind::Index, "x", None, Some(0)),
        ]
    );
    assert_eq!(
        (read.leaves[0].page, read.leaves[0].version.as_deref()),
        (Some(0), Some("1"))
    );
    assert_eq!(
        (read.pages[0].span.clone(), read.pages[0].inlined),
        (0..text.len(), true)
    );
}

#[test]
fn leaf_takes_its_catalog_entry_as_a_string_or_an_object_or_both() {
    let text = r#"{"@id":"l","catalogEntry":"c","registration":"x","listed":true,"packageContent":"p","published":"t"}"#;
    let leaf = read(text).unwrap();
    assert_eq!(leaf.kind, RegistrationKind::Leaf);
    assert_eq!(
        links(&leaf),
        [
            (LinkKind::LeafSelf, "l", Some(0), None),
            (LinkKind::CatalogEntry, "c", Some(0), None),
            (LinkKind::Index, "x", Some(0), None),
            (LinkKind::PackageContent, "p", Some(0), None),
        ]
    );
    assert_eq!(
        (leaf.leaves[0].listed, leaf.leaves[0].version.as_deref()),
        (Some(true), None)
    );
    assert_eq!(leaf.leaves[0].catalog_entry.as_deref(), Some("c"));

    let sleet =
        read(r#"{"catalogEntry":"c","sleet:catalogEntry":{"@id":"c","version":"1.0"}}"#).unwrap();
    assert_eq!(sleet.leaves[0].version.as_deref(), Some("1.0"));
    assert_eq!(sleet.links.len(), 2);
    assert_eq!(
        read(r#"{"packageContent":"p"}"#).unwrap().kind,
        RegistrationKind::Leaf
    );
}

#[test]
fn empty_documents_are_what_their_bounds_say() {
    assert_eq!(
        read(r#"{"count":0,"items":[]}"#).unwrap().kind,
        RegistrationKind::Index
    );
    let page = read(r#"{"items":[],"lower":"1","upper":"1"}"#).unwrap();
    assert_eq!(
        (page.kind, page.pages.len(), page.leaves.len()),
        (RegistrationKind::Page, 1, 0)
    );
    // Artifactory: a page without leaves beside others (protocol section 10).
    let index =
        read(r#"{"items":[{"items":[],"lower":"1","upper":"1"},{"lower":"2","items":null}]}"#)
            .unwrap();
    assert_eq!(
        (index.kind, index.pages.len()),
        (RegistrationKind::Index, 2)
    );
    assert_eq!(
        (index.pages[0].inlined, index.pages[1].inlined),
        (true, false)
    );
}

#[test]
fn the_last_of_two_items_counts_but_every_link_is_found() {
    let read = read(
        r#"{"items":[{"lower":"1","items":[{"@id":"a","catalogEntry":{"version":"1"}}]},{"lower":"2"}],"@id":"x",
            "items":[{"lower":"3","items":[{"@id":"b","catalogEntry":{"version":"3"}}]}]}"#,
    )
    .unwrap();
    assert_eq!((read.pages.len(), read.leaves.len()), (1, 1));
    assert_eq!(read.leaves[0].version.as_deref(), Some("3"));
    assert_eq!(
        links(&read),
        [
            (LinkKind::LeafSelf, "a", None, None),
            (LinkKind::Index, "x", None, None),
            (LinkKind::LeafSelf, "b", Some(0), Some(0)),
        ]
    );
}

#[test]
fn a_hash_stands_in_the_entry_or_beside_it() {
    let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 64]);
    let of = |hash: &str| format!(r#""packageHash":"{hash}","packageHashAlgorithm":"SHA512""#);
    let leaves = format!(
        r#"{{"items":[{{"catalogEntry":{{"version":"1",{0}}}}},{{{0},"catalogEntry":"c:a.2.0.0"}},
            {{"catalogEntry":{{"version":"3",{1}}}}},{{"catalogEntry":{{"version":"4"}}}}]}}"#,
        of(&hash),
        of("AAAA"),
    );
    let hashes: Vec<_> = read(&leaves)
        .unwrap()
        .leaves
        .iter()
        .map(|leaf| leaf.sha512)
        .collect();
    assert_eq!(hashes, [Some([7; 64]), Some([7; 64]), None, None]);
}

#[test]
fn strings_that_are_no_urls_are_links_and_other_values_are_not() {
    let read = read(
        r#"{"items":[{"@id":"null","lower":"1","items":[{"@id":null,"packageContent":"","catalogEntry":7}]}]}"#,
    );
    assert_eq!(
        links(&read.unwrap()),
        [(LinkKind::PageSelf, "null", None, Some(0))]
    );
}

#[test]
fn refuses_json_of_another_kind() {
    const MARKS: &str =
        "JSON of another kind: expected an object with items, catalogEntry or packageContent";
    const ITEMS: &str =
        "JSON of another kind: expected an object with items that are pages or leaves";
    check_refused(r#"{"versions":["1.0.0"]}"#, MARKS);
    check_refused(
        r#"{"version":"3.0.0","resources":[{"@id":"x","@type":"y"}]}"#,
        MARKS,
    );
    check_refused(r#"{"totalHits":1,"data":[{"@id":"x"}]}"#, MARKS);
    check_refused(r#"{"error":{"message":"down"}}"#, MARKS);
    check_refused(r#"{"items":null}"#, MARKS);
    check_refused(
        r#"{"items":[{"@id":"x","@type":"CatalogPage","count":5}]}"#,
        ITEMS,
    );
    check_refused(r#"{"items":[1,2]}"#, ITEMS);
    check_refused("[]", "at byte 0: expected an object, found '['");
    check_refused(
        r#"{"items":[]} {}"#,
        "at byte 13: expected the end of the text, found '{'",
    );
    check_refused(
        r#"{"items":[{"lower":"1"}"#,
        "at byte 23: expected ',' or ']', found the end of the text",
    );
}

#[test]
fn tells_the_registration_of_another_package() {
    let of = |ids: &[&str]| {
        let leaf = |id: &&str| format!(r#"{{"catalogEntry":{{"id":"{id}","version":"1.0.0"}}}}"#);
        let leaves: Vec<String> = ids.iter().map(leaf).collect();
        let text = format!(
            r#"{{"items":[{{"lower":"1","items":[{}]}}]}}"#,
            leaves.join(",")
        );
        let id = PackageId::parse("Sample.One").unwrap();
        read(&text).unwrap().stranger_to(&id)
    };
    assert_eq!(of(&["Sample.Two"]).unwrap().as_str(), "sample.two");
    assert_eq!(of(&["sample.ONE"]), None);
    // One that is of both is of this one too, and one that names none, or nonsense, cannot be told.
    assert_eq!(of(&["Sample.Two", "Sample.One"]), None);
    assert_eq!(of(&[]), None);
    assert_eq!(of(&["a/b"]), None);
}
