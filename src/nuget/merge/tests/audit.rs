//! Audit data of several feeds: names, the limit of pages, pages that became one.

use crate::nuget::merge::{Audit, audit_overflow, merge_audit_indexes, merge_audit_pages};
use crate::nuget::vulnerabilities::{MAX_NAME_CHARS, MAX_PAGES, read_index, read_page};

fn audit(feed: usize, pages: usize) -> String {
    let entries: Vec<String> = (0..pages)
        .map(|n| {
            format!(r#"{{"comment":"c","@name":"p{n}","@id":"http://us/{feed}/p{n}-0","odd":1,"@updated":"2026-01-{:02}T00:00:00Z"}}"#, n + 1)
        })
        .collect();
    format!("[{}]", entries.join(","))
}

fn audits<'a>(names: &[&'a str], texts: &'a [String]) -> Vec<Audit<'a>> {
    let pairs = names.iter().zip(texts);
    pairs.map(|(feed, text)| Audit { feed, text }).collect()
}

#[test]
fn audit_pages_are_named_by_their_feeds() {
    let texts = [audit(0, 2), audit(1, 1)];
    let all = audits(&["corp.x", "nuget"], &texts);
    let merged = merge_audit_indexes(&all, |_| String::new()).expect("an index");
    let pages = read_index(&merged).expect("an index");
    let names: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
    assert_eq!(names, ["corp_x-p0", "corp_x-p1", "nuget-p0"]);
    assert!(merged.contains(r#""odd":1,"@updated":"2026-01-02T00:00:00Z""#));
    assert_eq!(audit_overflow(&all), Ok(None));
    // Names stay different and within the limit, whatever the feeds are called.
    let long = "a".repeat(60);
    let (one, other) = (format!("{long}.b"), format!("{long}-b"));
    let all = audits(&[&one, &other], &texts);
    let merged = merge_audit_indexes(&all, |_| String::new()).expect("an index");
    let pages = read_index(&merged).expect("different names");
    assert!(pages.iter().all(|page| page.name.len() <= MAX_NAME_CHARS));
}

#[test]
fn of_more_pages_than_a_client_reads_the_last_become_one() {
    let texts = [audit(0, 10), audit(1, 8)];
    let all = audits(&["a", "b"], &texts);
    let rest = audit_overflow(&all).expect("read").expect("too many");
    assert_eq!(rest.pages.len(), 3);
    assert_eq!(rest.pages[0], (1, "http://us/1/p5-0".to_owned()));
    let merged = merge_audit_indexes(&all, |token| format!("http://us/{token}")).expect("an index");
    let pages = read_index(&merged).expect("an index");
    assert_eq!(pages.len(), MAX_PAGES);
    let last = pages.last().expect("a page");
    assert_eq!(last.url, format!("http://us/{}", rest.token));
    assert_eq!(last.updated, "2026-01-08T00:00:00Z");
    let changed = [texts[0].clone(), texts[1].replace("p7-0", "p7-1")];
    let other = audit_overflow(&audits(&["a", "b"], &changed)).expect("read");
    assert_ne!(other.expect("too many").token, rest.token);
}

#[test]
fn pages_become_one_with_the_items_of_all() {
    let merged = merge_audit_pages(&[
        r#"{"a":[{"url":"1"}],"b":[]}"#,
        "[]",
        r#"{"c":[{"url":"3" }],"a":[{"url":"2"}]}"#,
    ])
    .expect("a page");
    assert_eq!(read_page(&merged), Ok(()));
    assert_eq!(
        merged,
        r#"{"a":[{"url":"1"},{"url":"2"}],"b":[],"c":[{"url":"3" }]}"#
    );
}
