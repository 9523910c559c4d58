//! The list of client binaries that nuget.org publishes, `tools.json` (protocol fact 2.9.5).
//!
//! An object of tools, each an array of releases with a `url`. Only those are ours to change; versions and stages are left
//! to whoever downloads.

use std::ops::Range;

use super::ReadError;
use super::digest::sha256_hex;
use super::json::{Kind, Scanner, encode_string};
use super::service_index::is_url;
use super::splice::splice;

const WHAT: &str = "tools list";

/// Hex digits of the hash in a release's token, as for the other links of ours.
const TOKEN_DIGITS: usize = 16;

/// A release of a tool.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Release {
    /// Where its binary is.
    pub url: String,
    /// Where the `url` stands in the text, quotes included.
    url_span: Range<usize>,
}

impl Release {
    /// Its name in our URLs, made of its own URL alone: every instance gives it the same.
    #[must_use]
    pub fn token(&self) -> String {
        let hash = sha256_hex(&self.url);
        hash.get(..TOKEN_DIGITS).unwrap_or(&hash).to_owned()
    }

    /// The last segment of its URL, for people and for whoever names the download after it: characters that need no
    /// escape in a URL.
    #[must_use]
    pub fn file_name(&self) -> String {
        let path = self.url.split(['?', '#']).next().unwrap_or_default();
        let last = path
            .rsplit('/')
            .find(|segment| !segment.is_empty())
            .unwrap_or_default();
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let name: String = last.chars().filter(is_plain).collect();
        if name.trim_matches('.').is_empty() {
            "tool".to_owned()
        } else {
            name
        }
    }
}

/// Reads a list: its releases in order.
///
/// # Errors
/// If `text` is no object whose values are arrays of objects, or a release has no http or https `url`.
pub fn read(text: &str) -> Result<Vec<Release>, ReadError> {
    let mut scanner = Scanner::new(WHAT, text);
    let mut releases = Vec::new();
    scanner.object(|scanner, tool| {
        if scanner.peek()? != Kind::Array {
            return Err(scanner.error(format!("expected an array for {tool:?}")));
        }
        scanner.array(|scanner| {
            let mut url = None;
            let span = scanner.object(|scanner, name| {
                if name == "url" {
                    url = scanner.text()?;
                }
                Ok(())
            })?;
            let url = url.filter(|url| is_url(&url.content)).ok_or(ReadError {
                what: WHAT,
                at: Some(span.start),
                problem: "expected a \"url\" that is an http or https URL".to_owned(),
            })?;
            releases.push(Release {
                url: url.content.into_owned(),
                url_span: url.span,
            });
            Ok(())
        })?;
        Ok(())
    })?;
    scanner.end()?;
    Ok(releases)
}

/// The list with another `url` for each release, as `url_of` gives it; every other byte as it was.
///
/// # Errors
/// As [`read`].
pub fn render(text: &str, url_of: impl Fn(&Release) -> String) -> Result<String, ReadError> {
    let releases = read(text)?;
    let edits = releases
        .iter()
        .map(|release| (release.url_span.clone(), encode_string(&url_of(release))));
    Ok(splice(text, edits))
}

#[cfg(test)]
mod tests {
    //! Protocol fact 2.9.5. The shape is that of nuget.org's documentation.

    use super::*;

    const LIST: &str = r#"{"nuget.exe": [
        {"version": "4.8.0-preview3", "url": "https://dist.test/v4.8.0-preview3/nuget.exe", "stage": "EarlyAccessPreview", "uploaded": "2018-07-06T23:00:00.0000000Z"},
        {"version": "4.7.1", "url": "https://dist.test/v4.7.1/nuget.exe", "stage": "ReleasedAndBlessed"}], "other": []}"#;

    #[test]
    fn changes_only_the_addresses() {
        let releases = read(LIST).expect("a list");
        assert_eq!(releases.len(), 2);
        assert_ne!(releases[0].token(), releases[1].token());
        let ours = render(LIST, |release| {
            format!("http://us/{}/{}", release.token(), release.file_name())
        });
        let mut expected = LIST.to_owned();
        for release in &releases {
            let url = format!("http://us/{}/nuget.exe", release.token());
            expected = expected.replace(&release.url, &url);
        }
        assert_eq!(ours.as_deref(), Ok(&*expected));
    }

    #[test]
    fn a_token_never_changes() {
        let release = read(r#"{"a":[{"url":"https://h/nuget.exe"}]}"#).expect("a list");
        assert_eq!(release[0].token(), "d75fe724f28b1eff");
    }

    #[track_caller]
    fn check_name(url: &str, expected: &str) {
        let text = format!(r#"{{"a":[{{"url":"{url}"}}]}}"#);
        assert_eq!(read(&text).expect("a list")[0].file_name(), expected);
    }

    #[test]
    fn a_file_name_is_one_plain_path_segment() {
        check_name("https://h/v1/nuget.exe?sv=1#x", "nuget.exe");
        check_name("https://h/v1/a%20b c", "a20bc");
        check_name("https://h/v1/", "v1");
        check_name("https://h/..", "tool");
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let error = read(text).map_err(|error| error.to_string());
        assert_eq!(error, Err(format!("tools list: {expected}")), "{text}");
    }

    #[test]
    fn refuses_what_is_no_list() {
        check_refused("[]", "at byte 0: expected an object, found '['");
        check_refused(
            r#"{"nuget.exe":{}}"#,
            "at byte 13: expected an array for \"nuget.exe\"",
        );
        check_refused(
            r#"{"nuget.exe":[{"version":"1"}]}"#,
            "at byte 14: expected a \"url\" that is an http or https URL",
        );
        check_refused(
            r#"{"a":["#,
            "at byte 6: expected an object, found the end of the text",
        );
    }
}
