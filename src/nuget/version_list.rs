//! Version lists of the flat container: reading them, and writing them where no upstream has any.
//!
//! Lists of an upstream pass byte for byte; reading only checks them and tells what they hold. Versions are not parsed, so
//! one that is no version does no harm here.

use super::ReadError;
use super::json::{Kind, Scanner, encode_string};
use super::version::Version;

/// What a version list says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct VersionList {
    /// The versions as written, in their order.
    pub versions: Vec<String>,
}

/// Reads a version list. An empty object is an empty list, as the real client takes it (protocol fact 2.1.10). Of an object
/// that holds something else instead it would say the same, but that is an error document with a status of success:
/// to believe it would hide every version.
///
/// # Errors
/// If `text` is not JSON, no object, has other members but no `versions`, or that is anything but an array of strings.
pub fn read_version_list(text: &str) -> Result<VersionList, ReadError> {
    let mut list = VersionList::default();
    let mut scanner = Scanner::new("version list", text);
    let (mut has_versions, mut has_others) = (false, false);
    scanner.object(|scanner, name| {
        if name != "versions" {
            has_others = true;
            return Ok(());
        }
        has_versions = true;
        list.versions.clear();
        if scanner.peek()? == Kind::Null {
            return Ok(());
        }
        scanner.array(|scanner| {
            let span = scanner.string()?;
            list.versions.push(scanner.decode(&span).into_owned());
            Ok(())
        })?;
        Ok(())
    })?;
    scanner.end()?;
    if has_others && !has_versions {
        return Err(scanner.error("expected `versions`, found other members only"));
    }
    Ok(list)
}

/// The list of `versions`, ascending, each once, in their canonical spelling (protocol fact 2.1.3).
#[must_use]
pub fn render_version_list(versions: &[Version]) -> String {
    let mut versions: Vec<&Version> = versions.iter().collect();
    versions.sort();
    versions.dedup();
    let items: Vec<String> = versions
        .into_iter()
        .map(|version| encode_string(version.as_str()))
        .collect();
    format!("{{\"versions\":[{}]}}", items.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let versions = read_version_list(text).map(|list| list.versions);
        assert_eq!(
            versions,
            Ok(expected.iter().map(|&text| text.to_owned()).collect())
        );
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let error = read_version_list(text).map_err(|error| error.to_string());
        assert_eq!(error, Err(format!("version list: {expected}")));
    }

    #[test]
    fn reads_what_the_real_client_reads() {
        check(
            r#"{"versions":["1.0.0","2.0.0-RC.1","odd",]}"#,
            &["1.0.0", "2.0.0-RC.1", "odd"],
        );
        check(r#"{"extra":{"versions":["9"]},"versions":["1"]}"#, &["1"]);
        check("{}", &[]);
        check(r#"{"versions":null}"#, &[]);
        check(r#"{"versions":["1.0.0"],"versions":["2.0.0"]}"#, &["2.0.0"]);
    }

    #[test]
    fn refuses_json_of_another_kind() {
        check_refused(
            r#"{"error":"out of order"}"#,
            "at byte 24: expected `versions`, found other members only",
        );
        check_refused("[]", "at byte 0: expected an object, found '['");
        check_refused(
            r#"{"versions":{}}"#,
            "at byte 12: expected an array, found '{'",
        );
        check_refused(
            r#"{"versions":[1]}"#,
            "at byte 13: expected a string, found '1'",
        );
        check_refused(
            r#"{"versions":["1"]"#,
            "at byte 17: expected ',' or '}', found the end of the text",
        );
    }

    #[test]
    fn writes_canonical_ascending_and_once() {
        let versions = ["10.0", "2.0-RC", "2.0", "2.0.0+x", "1.0.0.1"]
            .map(|text| Version::parse(text).unwrap());
        let text = render_version_list(&versions);
        assert_eq!(
            text,
            r#"{"versions":["1.0.0.1","2.0.0-rc","2.0.0","10.0.0"]}"#
        );
        check(&text, &["1.0.0.1", "2.0.0-rc", "2.0.0", "10.0.0"]);
        assert_eq!(render_version_list(&[]), r#"{"versions":[]}"#);
    }
}
