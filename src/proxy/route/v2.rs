//! Paths of the V2 protocol, which clients try at every source whose address does not end in `.json` (protocol fact
//! 7.1.14). None of them is served: they are known so that the answer can say what to use instead.

/// Beginnings of the last segment of V2 requests, in lower case: functions and entities take their arguments in brackets.
const FUNCTIONS: &[&str] = &["findpackagesbyid(", "getupdates(", "packages(", "search("];

/// The same without brackets: collections and the description of the feed.
const NAMES: &[&str] = &[
    "$batch",
    "$metadata",
    "findpackagesbyid",
    "getupdates",
    "packages",
];

/// Whether these segments, decoded, are a path of V2: a `v2` among them, or a last one that is an OData request.
pub(super) fn is_v2<'a>(segments: impl Iterator<Item = &'a str>) -> bool {
    let mut last = String::new();
    for segment in segments {
        last = segment.to_ascii_lowercase();
        if last == "v2" {
            return true;
        }
    }
    let has_call = FUNCTIONS.iter().any(|name| last.starts_with(name));
    // `Search()/$count` and the like end in what belongs to the call before.
    has_call || NAMES.contains(&last.as_str()) || last == "$count"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: bool) {
        assert_eq!(is_v2(path.split('/')), expected, "{path}");
    }

    #[test]
    fn paths_that_clients_try_at_a_v2_source_are_known() {
        check("api/v2", true);
        check("api/v2/package/Serilog/3.1.1", true);
        check("nuget/FindPackagesById()", true);
        check("nuget/Packages(Id='Serilog',Version='3.1.1')", true);
        check("v3/findpackagesbyid()", true);
        check("F/feed/api/v2/Search()/$count", true);
        check("v3/Search()", true);
        check("nuget/$metadata", true);
        check("nuget/GetUpdates()", true);
    }

    #[test]
    fn other_paths_are_not_taken_for_them() {
        check("nuget", false);
        check("v3/search", false);
        check("v3/package", false);
        check("v3/flatcontainer/v2core/index.json", false);
        check("favicon.ico", false);
    }
}
