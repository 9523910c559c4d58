//! What is wrong with our own service index as a client gets it.
//!
//! A link that is http in an https index fails newer clients (protocol fact 3.9.4); one that names another host leads
//! past us (protocol fact 7.1.9). It refuses to fetch anything: the bytes are handed in.

use http::Uri;
use serde_json::Value;

use crate::nuget::service_index::{Treatment, treatment};

/// The most links that are named.
const MAX_NAMED: usize = 8;

/// What is wrong with the links of the index `body` that was fetched from `url`, in words; nothing if all is well.
///
/// # Errors
/// Why `body` is no service index.
pub fn inspect(body: &[u8], url: &str) -> Result<Vec<String>, String> {
    let index: Value =
        serde_json::from_slice(body).map_err(|error| format!("no JSON ({error})"))?;
    let resources = index["resources"]
        .as_array()
        .ok_or("JSON without a list of resources")?;
    let own: Uri = url.parse().map_err(|_| "it has no address".to_owned())?;
    let (mut insecure, mut foreign) = (Vec::new(), Vec::new());
    for resource in resources {
        let (Some(link), Some(kind)) = (resource["@id"].as_str(), resource["@type"].as_str())
        else {
            continue;
        };
        let scheme = link.split_once("://").map_or("", |(scheme, _)| scheme);
        if own.scheme_str() == Some("https") && scheme.eq_ignore_ascii_case("http") {
            insecure.push(format!("{kind} is {link}"));
        }
        // Pages for browsers lie where the upstream has them.
        let is_ours = !matches!(treatment(kind), Treatment::Keep(_));
        let authority = |uri: &Uri| uri.authority().map(|all| all.as_str().to_ascii_lowercase());
        if is_ours && authority_in(link) != authority(&own) {
            foreign.push(format!("{kind} is {link}"));
        }
    }
    let mut complaints = Vec::new();
    let mut complain = |links: Vec<String>, what: &str| {
        if !links.is_empty() {
            let named = links.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>();
            complaints.push(format!("{} {what}: {}", links.len(), named.join(", ")));
        }
    };
    complain(
        insecure,
        "links of our index are http although it was fetched over https",
    );
    complain(
        foreign,
        "links of our index name another host than it was fetched from",
    );
    Ok(complaints)
}

/// Host and port of a link, which may be a template with braces and so no `Uri`.
fn authority_in(link: &str) -> Option<String> {
    let (_, rest) = link.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some(rest[..end].to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(links: &[(&str, &str)]) -> Vec<u8> {
        let resources: Vec<Value> = links
            .iter()
            .map(|(kind, link)| serde_json::json!({"@id": link, "@type": kind}))
            .collect();
        serde_json::json!({"version": "3.0.0", "resources": resources})
            .to_string()
            .into_bytes()
    }

    #[track_caller]
    fn check(url: &str, link: (&str, &str), expected: &[&str]) {
        let found = inspect(&index(&[link]), url).unwrap();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}");
            assert!(found.contains(link.1), "{found}");
        }
    }

    const FLAT: &str = "PackageBaseAddress/3.0.0";
    const README: &str = "ReadmeUriTemplate/6.13.0";
    const PAGE: &str = "ReportAbuseUriTemplate/3.0.0";

    #[test]
    fn http_links_in_an_https_index_and_links_to_other_hosts_are_told() {
        let own = "https://packages.example/nuget/v3/index.json";
        check(
            own,
            (FLAT, "https://Packages.example/nuget/v3/flatcontainer/"),
            &[],
        );
        check(
            own,
            (README, "https://packages.example/nuget/v3/{lower_id}"),
            &[],
        );
        check(
            own,
            (FLAT, "http://packages.example/v3/flatcontainer/"),
            &["are http"],
        );
        check(
            own,
            (FLAT, "https://inner:6850/v3/flatcontainer/"),
            &["another host"],
        );
        check(
            own,
            (README, "http://inner/{lower_id}"),
            &["are http", "another host"],
        );
        check(
            "http://a:1/v3/index.json",
            (FLAT, "http://a:1/v3/flatcontainer/"),
            &[],
        );
        check(
            "http://a:1/v3/index.json",
            (FLAT, "http://a:2/v3/"),
            &["another host"],
        );
    }

    #[test]
    fn pages_for_browsers_may_lie_elsewhere_but_not_be_http() {
        let own = "https://packages.example/v3/index.json";
        check(own, (PAGE, "https://www.nuget.org/packages/{id}"), &[]);
        check(
            own,
            (PAGE, "http://www.nuget.org/packages/{id}"),
            &["are http"],
        );
    }

    #[test]
    fn what_is_no_index_is_told_as_such() {
        let own = "https://packages.example/v3/index.json";
        assert!(inspect(b"<html>", own).unwrap_err().starts_with("no JSON"));
        assert!(inspect(b"{}", own).unwrap_err().contains("without a list"));
        assert_eq!(inspect(b"{\"resources\":[{}]}", own), Ok(Vec::new()));
    }
}
