//! Search and autocomplete results.
//!
//! Search results carry links (protocol fact 2.3.7), autocomplete results none (2.4.2). Nothing is ranked or filtered here.

use super::ReadError;
use super::json::{Kind, Scanner};
use super::link::{Link, LinkKind, read_link, read_text};

/// What a document of search results says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Search {
    /// Every link, in the order of the text, with the id and version that its result names.
    pub links: Vec<Link>,
}

/// Reads search results.
///
/// # Errors
/// If `text` is not JSON, no object, or has neither results nor their number.
pub fn read_search(text: &str) -> Result<Search, ReadError> {
    let mut links = Vec::new();
    results("search results", text, |scanner, name| {
        match name {
            "@context" if scanner.peek()? == Kind::Object => {
                scanner.object(|scanner, name| {
                    if name == "@base" {
                        read_link(scanner, LinkKind::Base, &mut links)?;
                    }
                    Ok(())
                })?;
            }
            "data" if scanner.peek()? == Kind::Array => {
                scanner.array(|scanner| hit(scanner, &mut links))?;
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(Search { links })
}

/// Checks that `text` is a document of autocomplete results.
///
/// # Errors
/// If `text` is not JSON, no object, or has neither results nor their number.
pub fn read_autocomplete(text: &str) -> Result<(), ReadError> {
    results("autocomplete results", text, |_, _| Ok(()))
}

/// Reads the object around results, calling `member` for each of its members. The real client takes a document without
/// `data` for one without results; to tell it from an error of another form, it must then have `totalHits`.
fn results<F>(what: &'static str, text: &str, mut member: F) -> Result<(), ReadError>
where
    F: FnMut(&mut Scanner<'_>, &str) -> Result<(), ReadError>,
{
    let mut scanner = Scanner::new(what, text);
    let mut marked = false;
    scanner.object(|scanner, name| {
        marked |= match name.as_ref() {
            "data" => scanner.peek()? == Kind::Array,
            "totalHits" => true,
            _ => false,
        };
        member(scanner, &name)
    })?;
    scanner.end()?;
    if marked {
        return Ok(());
    }
    Err(ReadError {
        what,
        at: None,
        problem: "JSON of another kind: expected an object with an array named data".to_owned(),
    })
}

fn hit(scanner: &mut Scanner<'_>, links: &mut Vec<Link>) -> Result<(), ReadError> {
    if scanner.peek()? != Kind::Object {
        return Ok(());
    }
    let first = links.len();
    let (mut id, mut version) = (None, None);
    scanner.object(|scanner, name| {
        match name.as_ref() {
            "@id" => {
                read_link(scanner, LinkKind::Hit, links)?;
            }
            "registration" => {
                read_link(scanner, LinkKind::Index, links)?;
            }
            "iconUrl" => {
                read_link(scanner, LinkKind::Icon, links)?;
            }
            "id" => id = read_text(scanner)?,
            "version" => version = read_text(scanner)?,
            "versions" if scanner.peek()? == Kind::Array => {
                scanner.array(|scanner| hit_version(scanner, links))?;
            }
            _ => {}
        }
        Ok(())
    })?;
    for link in links.iter_mut().skip(first) {
        link.id.clone_from(&id);
        if link.kind != LinkKind::LeafSelf {
            link.version.clone_from(&version);
        }
    }
    Ok(())
}

fn hit_version(scanner: &mut Scanner<'_>, links: &mut Vec<Link>) -> Result<(), ReadError> {
    if scanner.peek()? != Kind::Object {
        return Ok(());
    }
    let first = links.len();
    let mut version = None;
    scanner.object(|scanner, name| {
        match name.as_ref() {
            "@id" => {
                read_link(scanner, LinkKind::LeafSelf, links)?;
            }
            "version" => version = read_text(scanner)?,
            _ => {}
        }
        Ok(())
    })?;
    for link in links.iter_mut().skip(first) {
        link.version.clone_from(&version);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(LinkKind, &str, Option<&str>, Option<&str>)]) {
        let search = read_search(text).unwrap();
        let links: Vec<_> = search
            .links
            .iter()
            .map(|link| {
                assert!(text[link.span.clone()].starts_with('"'));
                let (id, version) = (link.id.as_deref(), link.version.as_deref());
                (link.kind, link.url.as_str(), id, version)
            })
            .collect();
        assert_eq!(links, expected);
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let search = read_search(text).map_err(|error| error.to_string());
        assert_eq!(search, Err(format!("search results: {expected}")));
        let autocomplete = read_autocomplete(text).map_err(|error| error.to_string());
        assert_eq!(
            autocomplete,
            Err(format!("autocomplete results: {expected}"))
        );
    }

    #[test]
    fn links_know_id_and_version_wherever_these_stand() {
        check(
            r#"{"@context":{"@vocab":"v","@base":"b"},"data":[
                {"versions":[{"@id":"l1","version":"1.0"},{"version":"2.0+x","@id":"l2"},{"version":"3"}],
                 "@id":"h","iconUrl":"i","licenseUrl":"no","projectUrl":"no","registration":"r","id":"A","version":"2.0+x"},
                {"id":"B","iconUrl":"","@id":null,"registration":7},
                null]}"#,
            &[
                (LinkKind::Base, "b", None, None),
                (LinkKind::LeafSelf, "l1", Some("A"), Some("1.0")),
                (LinkKind::LeafSelf, "l2", Some("A"), Some("2.0+x")),
                (LinkKind::Hit, "h", Some("A"), Some("2.0+x")),
                (LinkKind::Icon, "i", Some("A"), Some("2.0+x")),
                (LinkKind::Index, "r", Some("A"), Some("2.0+x")),
            ],
        );
    }

    #[test]
    fn no_results_are_results() {
        check(r#"{"totalHits":0,"data":[]}"#, &[]);
        check(r#"{"totalHits":0}"#, &[]);
        check(r#"{"@context":"x","totalHits":0,"data":null}"#, &[]);
        assert_eq!(read_autocomplete(r#"{"data":["a","b"],}"#), Ok(()));
    }

    #[test]
    fn refuses_json_of_another_kind() {
        const OTHER: &str = "JSON of another kind: expected an object with an array named data";
        check_refused(r#"{"error":"down"}"#, OTHER);
        check_refused(r#"{"data":{}}"#, OTHER);
        check_refused("[]", "at byte 0: expected an object, found '['");
        check_refused(
            r#"{"data":[]"#,
            "at byte 10: expected ',' or '}', found the end of the text",
        );
        check_refused(
            r#"{"data":[]}{}"#,
            "at byte 11: expected the end of the text, found '{'",
        );
    }
}
