//! Paths, queries and headers of requests.

use std::net::SocketAddr;

use http::header::{FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::cache::key::{Key, Parts};
use crate::nuget::id::PackageId;
use crate::nuget::version::Version;
use crate::proxy::asks::canonical_query;
use crate::proxy::base::{Address, ForwardedFamily, Scheme, Settings};
use crate::proxy::route::{self, Class, Published, RegistrationPart, Resource, Route, RouteError};

/// A path and a query: the path that is written from a route leads to the same route, as it does with a final slash; no
/// part of a route holds what separates the parts of a key; and a canonical query is its own canonical form.
pub(crate) fn route(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let canonical = canonical_query(query);
    assert_eq!(canonical_query(&canonical), canonical);
    let route = match route::parse(path) {
        Ok(route) => route,
        Err(RouteError::Malformed(problem)) => {
            assert!(!problem.is_empty() && problem.len() < 16 * 1024);
            return;
        }
        Err(RouteError::Unknown) => return,
    };
    if !path.ends_with('/') && path.len() < 4096 {
        assert_eq!(route::parse(&format!("{path}/")), Ok(route.clone()));
    }
    let shown = format!("{route:?}");
    assert!(!shown.contains("\\u{1f}"), "{shown}");
    let Some(written) = write(&route) else { return };
    // What is written anew is longer where every character is escaped.
    if written.len() <= 4096 {
        assert_eq!(route::parse(&written), Ok(route.clone()), "{written}");
    }
    if let Route::Feed(feed, resource) | Route::Member { feed, resource, .. } = &route {
        let rest = match resource {
            Resource::Registration { hive, part, .. } => {
                format!("{hive}/{}", part.path().to_lowercase())
            }
            Resource::Symbols(path) => path.canonical.clone(),
            Resource::Catalog(rest) => rest.clone(),
            _ => canonical,
        };
        let key = Key::new(&Parts {
            feed: feed.as_deref().unwrap_or("nuget"),
            id: id_of(resource).map(PackageId::as_str),
            class: Class::Package.word(),
            rest: &rest,
            ..Parts::default()
        });
        assert_eq!(Key::parse(key.text()).as_ref(), Some(&key));
        assert_eq!(
            (key.id(), key.rest()),
            (id_of(resource).map(PackageId::as_str), &*rest)
        );
    }
}

fn id_of(resource: &Resource) -> Option<&PackageId> {
    match resource {
        Resource::Content { id, .. }
        | Resource::Link { id, .. }
        | Resource::Registration { id, .. }
        | Resource::VersionList(id) => Some(id),
        _ => None,
    }
}

/// The path that leads to a route, every part of it in its canonical spelling.
fn write(route: &Route) -> Option<String> {
    let escape = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    Some(match route {
        Route::Home => "/".to_owned(),
        Route::Health => "/-/healthz".to_owned(),
        Route::Tools(Resource::Tool(token)) => format!("/-/tools/{}/x", escape(token)),
        Route::Tools(_) => "/-/tools.json".to_owned(),
        Route::Feed(None, resource) => format!("/v3/{}", write_resource(resource)?),
        Route::Feed(Some(feed), resource) => {
            format!("/{}/v3/{}", escape(feed), write_resource(resource)?)
        }
        Route::Member {
            feed,
            member,
            resource,
        } => {
            let feed = feed.as_ref().map(|feed| format!("/{}", escape(feed)));
            let (feed, member) = (feed.unwrap_or_default(), escape(member));
            format!("{feed}/v3/member/{member}/{}", write_resource(resource)?)
        }
        Route::V2(_) => return None,
    })
}

fn write_resource(resource: &Resource) -> Option<String> {
    let escape = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let of_version = |id: &PackageId, version: &Version| {
        assert_eq!(PackageId::parse(id.as_str()).as_ref(), Ok(id));
        assert_eq!(Version::parse(version.as_str()).as_ref(), Ok(version));
        format!("{}/{version}", id.to_path())
    };
    let published = |name: &str, published: &Option<Published>| match published {
        Some(one) => {
            of_version(&one.id, &one.version);
            format!("{name}/{}", one.as_typed)
        }
        None => name.to_owned(),
    };
    Some(match resource {
        Resource::Autocomplete => "autocomplete".to_owned(),
        Resource::Catalog(rest) => format!("catalog/{rest}"),
        Resource::Certificate(sha256) => format!("repository-signatures/certificates/{sha256}.crt"),
        Resource::Content { id, version, file } => {
            let name = file.file_name(id, version);
            format!("flatcontainer/{}/{name}", of_version(id, version))
        }
        Resource::Link {
            hive,
            id,
            subject,
            digest,
        } => {
            format!(
                "link/{}/{}/{subject}/{}",
                escape(hive),
                id.to_path(),
                escape(digest)
            )
        }
        Resource::Publish(one) => published("package", one),
        Resource::Registration { hive, id, part } => {
            let rest = match part {
                RegistrationPart::Index => "index.json",
                RegistrationPart::Leaf(rest) | RegistrationPart::Page { rest, .. } => rest,
            };
            format!("registration/{}/{}/{rest}", escape(hive), id.to_path())
        }
        Resource::RepositorySignatures(version) => {
            format!("repository-signatures/{}/index.json", version.as_str())
        }
        Resource::Search => "search".to_owned(),
        Resource::ServiceIndex => "index.json".to_owned(),
        Resource::SymbolPublish(one) => published("symbolpackage", one),
        Resource::Symbols(path) => format!("symbols/{}", path.as_typed),
        Resource::Tool(_) | Resource::ToolsList => return None,
        Resource::VersionList(id) => format!("flatcontainer/{}/index.json", id.to_path()),
        Resource::VulnerabilityIndex => "vulnerabilities/index.json".to_owned(),
        Resource::VulnerabilityPage(token) => format!("vulnerabilities/{}", escape(token)),
    })
}

/// Some paths.
#[must_use]
pub(crate) fn paths() -> Vec<Vec<u8>> {
    [
        "/",
        "/-/healthz",
        "/-/tools.json",
        "/-/tools/0123456789abcdef/nuget.exe",
        "/v3/index.json",
        "/nuget/v3/index.json/",
        "/v3/flatcontainer/Newtonsoft.Json/index.json",
        "/v3/flatcontainer/newtonsoft.json/13.0.3/newtonsoft.json.13.0.3.nupkg",
        "/f.x/v3/flatcontainer/a%2Eb/1.0.0-RC+x/A.B.1.0-rc.nupkg",
        "/v3/flatcontainer/x/1.0/x.nuspec",
        "/v3/flatcontainer/x/1.0/icon",
        "/v3/registration/registration5-gz-semver2-cbd4be/nunit/index.json",
        "/v3/registration/h/nunit/page/1.0.0/2.0.0.json",
        "/v3/registration/h/nunit/3.13.0.json",
        "/v3/search?q=json&prerelease=true&semVerLevel=2.0.0&take=20",
        "/v3/autocomplete?ID=a+b&id=%61%20&x=%ff",
        "/all/v3/member/nuget/registration/semver2/nunit/index.json",
        "/v3/member/corp/link/h/a.b/1.0.0/0123456789abcdef",
        "/v3/package/",
        "/v3/package/Contoso.Log/1.0.0",
        "/v3/symbolpackage",
        "/v3/symbols/a.pdb/0123456789ABCDEFFFFFFFFF/a.pdb",
        "/v3/vulnerabilities/index.json",
        "/v3/vulnerabilities/base-c18d4ab64144",
        "/v3/catalog/data/2015.02.01.06.22.45/entityframework.6.1.3.json",
        "/v3/link/h/a.b/1.0.0..2.0.0/0123456789abcdef",
        "/v3/repository-signatures/5.0.0/index.json",
        "/v3/repository-signatures/certificates/\
            0e5f38f57dc1bcc806d8494f4f90fbcedd988b46760709cbeec6f4219aa6157d.crt",
        "/api/v2/FindPackagesById()?id='x'",
    ]
    .map(|path| path.as_bytes().to_vec())
    .to_vec()
}

/// The peers that a request may come from: a stranger, this machine, a proxy that is believed.
const PEERS: [([u8; 4], u16); 3] = [
    ([198, 51, 100, 7], 1),
    ([127, 0, 0, 1], 1),
    ([10, 1, 2, 3], 1),
];

/// Header lines: a base URL is one in every byte, and who is not believed changes none of it.
pub(crate) fn forwarded(data: &[u8]) {
    let headers = read_headers(data);
    let mut own = HeaderMap::new();
    headers.get_all(HOST).iter().for_each(|host| {
        own.append(HOST, host.clone());
    });
    let find = |settings: &Settings, headers: &HeaderMap, peer: usize| {
        let peer = SocketAddr::from(PEERS[peer]);
        settings
            .address(
                headers,
                &Uri::from_static("/v3/index.json"),
                peer,
                Scheme::Http,
            )
            .ok()
    };
    for family in [ForwardedFamily::Rfc7239, ForwardedFamily::XForwarded] {
        let settings = Settings {
            trusted_proxies: "10.0.0.0/8".parse().into_iter().collect(),
            forwarded: family,
            ..Settings::default()
        };
        let found = [0, 1, 2].map(|peer| find(&settings, &headers, peer));
        for address in found.iter().flatten() {
            check_base_url(&address.base_url);
        }
        let [stranger, local, _] = found;
        assert_eq!(stranger, find(&settings, &own, 0));
        // This machine is believed for the scheme alone.
        let rest = |address: &Address| {
            let rest = address
                .base_url
                .split_once("://")
                .map(|(_, rest)| rest.to_owned());
            (rest, address.client)
        };
        let alone = find(&settings, &own, 1);
        assert!(
            local.is_none() || local.as_ref().map(rest) == alone.as_ref().map(rest),
            "{local:?} {alone:?}"
        );
        let strict = Settings {
            allowed_hosts: vec!["cache.example".to_owned()],
            ..settings.clone()
        };
        if let Some(address) = find(&strict, &headers, 2) {
            let host = address
                .base_url
                .parse::<Uri>()
                .ok()
                .and_then(|uri| uri.host().map(str::to_lowercase));
            assert_eq!(host.as_deref(), Some("cache.example"));
        }
        let public = Settings {
            public_url: Some("https://public.example/x".to_owned()),
            ..settings
        };
        let found = find(&public, &headers, 2).map(|address| address.base_url);
        assert!(found.is_none_or(|url| url == "https://public.example/x"));
    }
}

/// The headers of these lines that a base URL is found by.
fn read_headers(data: &[u8]) -> HeaderMap {
    const NAMES: [&str; 6] = [
        "forwarded",
        "host",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-prefix",
        "x-forwarded-proto",
    ];
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(16) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let known = NAMES
            .into_iter()
            .find(|known| known.as_bytes().eq_ignore_ascii_case(name));
        let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default().trim_ascii());
        if let (Some(name), Ok(value)) = (known, value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    debug_assert!(headers.get_all(FORWARDED).iter().count() <= 16);
    headers
}

#[track_caller]
fn check_base_url(url: &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    assert!(matches!(scheme, "http" | "https"), "{url:?}");
    let authority = rest.split('/').next().unwrap_or_default();
    let uri = url.parse::<Uri>();
    assert!(uri.is_ok(), "{url:?}: {uri:?}");
    let Ok(uri) = uri else { return };
    assert_eq!(
        uri.authority().map(|found| found.as_str()),
        Some(authority),
        "{url:?}"
    );
    assert!(uri.host().is_some_and(|host| !host.is_empty()), "{url:?}");
    let port = authority
        .rsplit_once(':')
        .map(|(_, port)| port)
        .filter(|_| !authority.ends_with(']'));
    let is_port =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    assert!(port.is_none_or(is_port), "{url:?}");
    assert!(
        !url.ends_with('/') && uri.query().is_none() && !url.contains('#'),
        "{url:?}"
    );
    let odd =
        |c: char| c.is_control() || c.is_whitespace() || !c.is_ascii() || "\"<>\\^`{|}".contains(c);
    assert!(!url.contains(odd), "{url:?}");
}

/// Some requests' header lines.
#[must_use]
pub(crate) fn header_lines() -> Vec<Vec<u8>> {
    [
        "host: cache.example:6850",
        "host: [2001:db8::1]:6850\nx-forwarded-proto: https, http",
        "host: inner\nx-forwarded-host: cache.example\nx-forwarded-proto: https\nx-forwarded-prefix: /nuget/a%20b/\n\
            x-forwarded-for: 203.0.113.9, [2001:db8::2]:81",
        "host: inner\nforwarded: for=192.0.2.60;proto=http, for=\"[2001:db8:cafe::17]:4711\";host=\"cache.example:81\";\
            proto=HTTPS;by=203.0.113.43",
        "host: cache.example\nhost: other\nx-forwarded-host: ,\nforwarded: host",
    ]
    .map(|lines| lines.as_bytes().to_vec())
    .to_vec()
}
