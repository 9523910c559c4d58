//! Path → [`Route`]: which feed, which resource, which package, and under which cache class it is kept.
//!
//! Every spelling of an id or version reaches one route (protocol facts 2.0.1, 2.0.6); every resource is accepted with
//! and without a final slash (protocol facts 1.2.4, 4.1.1). It refuses to look at anything but method-free text.

mod class;
mod member;
mod v2;

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::nuget::id::PackageId;
use crate::nuget::service_index::SignaturesVersion;
use crate::nuget::signatures;
use crate::nuget::version::Version;

pub use self::class::Class;
pub use self::member::member_base;

/// What lies in the flat container beside a package's version list.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Content {
    /// `icon` (protocol fact 2.1.7).
    Icon,
    /// `license` (protocol fact 2.1.7).
    License,
    /// `{id}.nuspec` (protocol fact 2.1.6).
    Manifest,
    /// `{id}.{version}.nupkg` (protocol fact 2.1.5).
    Package,
    /// `readme` (protocol fact 2.1.7).
    Readme,
}

impl Content {
    /// Its cache class.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::Icon => Class::Icon,
            Self::License => Class::License,
            Self::Manifest => Class::Manifest,
            Self::Package => Class::Package,
            Self::Readme => Class::Readme,
        }
    }

    /// Its file name, percent-encoded.
    #[must_use]
    pub fn file_name(self, id: &PackageId, version: &Version) -> String {
        match self {
            Self::Icon => "icon".into(),
            Self::License => "license".into(),
            Self::Manifest => format!("{}.nuspec", id.to_path()),
            Self::Package => format!("{}.{}.nupkg", id.to_path(), version.as_str()),
            Self::Readme => "readme".into(),
        }
    }
}

/// Which of an id's registration documents.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum RegistrationPart {
    /// `index.json`.
    Index,
    /// A leaf: the rest of the path as written.
    Leaf(String),
    /// A page: the rest of the path as written, and its bounds where the path names them.
    Page {
        /// The rest of the path as written.
        rest: String,
        /// Lowest and highest version.
        bounds: Option<(Version, Version)>,
    },
}

/// What a link outside every known base speaks of.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum LinkSubject {
    /// The page with these bounds.
    Page(Version, Version),
    /// The leaf of this version.
    Version(Version),
}

impl fmt::Display for LinkSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page(lower, upper) => write!(f, "{}..{}", lower.as_str(), upper.as_str()),
            Self::Version(version) => f.write_str(version.as_str()),
        }
    }
}

/// The package that a publish request names in its path.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Published {
    /// The id, canonical.
    pub id: PackageId,
    /// The version, canonical.
    pub version: Version,
    /// Both as typed: the upstream gets them unchanged (protocol fact 4.3.1).
    pub as_typed: String,
}

/// Where a symbol server has a file: `{file}/{key}/{file}` (Simple Symbol Query Protocol).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct SymbolPath {
    /// As typed: servers fold case, but it is theirs to do.
    pub as_typed: String,
    /// In lower case and without escapes: the same for every spelling.
    pub canonical: String,
}

/// A resource of a feed, or of what is served beside the feeds.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Resource {
    /// Autocomplete.
    Autocomplete,
    /// A document below the catalog's base: the rest of the path as written.
    Catalog(String),
    /// A certificate of the repository signatures, by its SHA-256 in lower-case hex digits.
    Certificate(String),
    /// A file of the flat container.
    Content {
        /// The id.
        id: PackageId,
        /// The version.
        version: Version,
        /// Which file.
        file: Content,
    },
    /// A link outside every known base, to be found again in its id's documents.
    Link {
        /// Token of the hive.
        hive: String,
        /// The id.
        id: PackageId,
        /// What it speaks of.
        subject: LinkSubject,
        /// The first 16 hex digits of a SHA-256 over kind, subject and upstream URL.
        digest: String,
    },
    /// Push (no package named), delete and relist.
    Publish(Option<Published>),
    /// A registration document.
    Registration {
        /// Token of the hive.
        hive: String,
        /// The id.
        id: PackageId,
        /// Which document.
        part: RegistrationPart,
    },
    /// One version of the repository signatures.
    RepositorySignatures(SignaturesVersion),
    /// Search.
    Search,
    /// The service index.
    ServiceIndex,
    /// Symbol push.
    SymbolPublish(Option<Published>),
    /// A file of the symbol server.
    Symbols(SymbolPath),
    /// A client binary, by the token of its release.
    Tool(String),
    /// The list of client binaries.
    ToolsList,
    /// A version list.
    VersionList(PackageId),
    /// The vulnerability index.
    VulnerabilityIndex,
    /// A vulnerability page, by its token.
    VulnerabilityPage(String),
}

/// Where a path leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Route {
    /// A resource of the feed with this name; `None` is the first feed under its short path.
    Feed(Option<String>, Resource),
    /// `/-/healthz`, for load balancers.
    Health,
    /// `/`, for people.
    Home,
    /// A resource that a union of feeds has of one member.
    Member {
        /// The union; `None` is the default feed under its short path.
        feed: Option<String>,
        /// Name of the member.
        member: String,
        /// The resource.
        resource: Resource,
    },
    /// A resource of the tools upstream, below `/-/`.
    Tools(Resource),
    /// A path of the V2 protocol, and its first segment: the name of a feed, perhaps.
    V2(String),
}

/// Why a path leads nowhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RouteError {
    /// A part of it makes no sense: what is wrong.
    Malformed(String),
    /// Nothing lies there.
    Unknown,
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(problem) => f.write_str(problem),
            Self::Unknown => f.write_str("no such path: a feed's index is at /v3/index.json"),
        }
    }
}

/// Longest path that is read: an id of 128 characters, percent-encoded twice over, still fits.
const MAX_PATH_BYTES: usize = 4096;

/// Reads a request's path.
///
/// # Errors
/// [`RouteError`] if it makes no sense or leads nowhere.
pub fn parse(path: &str) -> Result<Route, RouteError> {
    if path.len() > MAX_PATH_BYTES {
        return Err(malformed(format!(
            "path: {} bytes, expected at most {MAX_PATH_BYTES}",
            path.len()
        )));
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Err(malformed("path: does not begin with a slash".into()));
    };
    let raw = rest.strip_suffix('/').unwrap_or(rest);
    if raw.is_empty() {
        return Ok(Route::Home);
    }
    let mut segments = Vec::with_capacity(8);
    for segment in raw.split('/') {
        segments.push(decode(segment)?);
    }
    match lead(&segments) {
        Err(RouteError::Unknown) if v2::is_v2(segments.iter().map(|segment| &*segment.text)) => {
            let first = segments.first().map(|segment| segment.text.to_string());
            Ok(Route::V2(first.unwrap_or_default()))
        }
        route => route,
    }
}

/// Where decoded segments lead.
fn lead(segments: &[Segment<'_>]) -> Result<Route, RouteError> {
    match segments.first().map(|segment| &*segment.text) {
        Some("-") => match segments {
            [_, healthz] if healthz.text == "healthz" => Ok(Route::Health),
            [_, list] if list.text == "tools.json" => Ok(Route::Tools(Resource::ToolsList)),
            // The name is for whoever saves the file.
            [_, tools, token, _] if tools.text == "tools" => Ok(Route::Tools(Resource::Tool(
                token.text.clone().into_owned(),
            ))),
            _ => Err(RouteError::Unknown),
        },
        Some("v3") => member::of_feed(None, &segments[1..]),
        Some(feed) if segments.get(1).is_some_and(|segment| segment.text == "v3") => {
            member::of_feed(Some(feed.to_owned()), &segments[2..])
        }
        _ => Err(RouteError::Unknown),
    }
}

/// A segment of a path, as written and decoded.
#[derive(Debug)]
struct Segment<'a> {
    raw: &'a str,
    text: std::borrow::Cow<'a, str>,
}

fn decode(raw: &str) -> Result<Segment<'_>, RouteError> {
    let problem = |what: &str| malformed(format!("path segment {raw:?}: {what}"));
    let text = percent_decode_str(raw)
        .decode_utf8()
        .map_err(|_| problem("not UTF-8 when percent-decoded"))?;
    if text.is_empty() || text == "." || text == ".." {
        return Err(problem("empty or made of dots"));
    }
    if text.contains(|c: char| c == '/' || c == '\\' || c.is_control()) {
        return Err(problem("holds a slash, backslash or control character"));
    }
    Ok(Segment { raw, text })
}

fn resource(segments: &[Segment<'_>]) -> Result<Resource, RouteError> {
    let (first, rest) = segments.split_first().ok_or(RouteError::Unknown)?;
    match (&*first.text, rest) {
        ("index.json", []) => Ok(Resource::ServiceIndex),
        ("flatcontainer", rest) => flat_container(rest),
        ("registration", [hive, id, rest @ ..]) if !rest.is_empty() => Ok(Resource::Registration {
            hive: hive.text.clone().into_owned(),
            id: package_id(id)?,
            part: registration_part(rest),
        }),
        ("repository-signatures", rest) => repository_signatures(rest),
        ("search", []) => Ok(Resource::Search),
        ("autocomplete", []) => Ok(Resource::Autocomplete),
        ("package", rest) => Ok(Resource::Publish(published(rest)?)),
        ("symbols", rest @ [_, _, _]) => Ok(Resource::Symbols(symbol_path(rest))),
        ("symbolpackage", rest) => Ok(Resource::SymbolPublish(published(rest)?)),
        ("vulnerabilities", [page]) if page.text == "index.json" => {
            Ok(Resource::VulnerabilityIndex)
        }
        ("vulnerabilities", [page]) => {
            Ok(Resource::VulnerabilityPage(page.text.clone().into_owned()))
        }
        ("catalog", rest) if !rest.is_empty() => Ok(Resource::Catalog(join(rest))),
        ("link", [hive, id, subject, digest]) => Ok(Resource::Link {
            hive: hive.text.clone().into_owned(),
            id: package_id(id)?,
            subject: link_subject(subject)?,
            digest: digest.text.clone().into_owned(),
        }),
        _ => Err(RouteError::Unknown),
    }
}

/// A version's document, or a certificate that one of them names.
fn repository_signatures(segments: &[Segment<'_>]) -> Result<Resource, RouteError> {
    match segments {
        [folder, file] if folder.text == "certificates" => {
            let sha256 = strip_suffix(&file.text, ".crt").map(str::to_lowercase);
            let sha256 = sha256.filter(|text| signatures::is_sha256(text));
            sha256.map(Resource::Certificate).ok_or(RouteError::Unknown)
        }
        [version, index] if index.text.eq_ignore_ascii_case("index.json") => SignaturesVersion::ALL
            .into_iter()
            .find(|known| known.as_str() == version.text)
            .map(Resource::RepositorySignatures)
            .ok_or(RouteError::Unknown),
        _ => Err(RouteError::Unknown),
    }
}

fn symbol_path(segments: &[Segment<'_>]) -> SymbolPath {
    let canonical: Vec<_> = segments
        .iter()
        .map(|segment| segment.text.to_lowercase())
        .collect();
    SymbolPath {
        as_typed: join(segments),
        canonical: canonical.join("/"),
    }
}

fn flat_container(segments: &[Segment<'_>]) -> Result<Resource, RouteError> {
    match segments {
        [id, index] if index.text.eq_ignore_ascii_case("index.json") => {
            Ok(Resource::VersionList(package_id(id)?))
        }
        [id, version, file] => {
            let (id, version) = (package_id(id)?, package_version(version)?);
            let file = content(file, &id, &version)?;
            Ok(Resource::Content { id, version, file })
        }
        _ => Err(RouteError::Unknown),
    }
}

/// Which file a name in a package's folder is. The id and version in the name may be spelled otherwise than in the
/// folder, but must be the same.
fn content(file: &Segment<'_>, id: &PackageId, version: &Version) -> Result<Content, RouteError> {
    let name = &*file.text;
    for (plain, content) in [
        ("icon", Content::Icon),
        ("license", Content::License),
        ("readme", Content::Readme),
    ] {
        if name.eq_ignore_ascii_case(plain) {
            return Ok(content);
        }
    }
    let same_id = |text: &str| PackageId::parse(text).is_ok_and(|other| other == *id);
    if let Some(stem) = strip_suffix(name, ".nuspec") {
        return if same_id(stem) {
            Ok(Content::Manifest)
        } else {
            Err(mismatch(name, id, version))
        };
    }
    let Some(stem) = strip_suffix(name, ".nupkg") else {
        return Err(RouteError::Unknown);
    };
    // The id may hold dots, so every dot is tried as the border.
    let matches = stem.match_indices('.').any(|(at, _)| {
        same_id(&stem[..at]) && Version::parse(&stem[at + 1..]).is_ok_and(|other| other == *version)
    });
    if matches {
        Ok(Content::Package)
    } else {
        Err(mismatch(name, id, version))
    }
}

fn mismatch(name: &str, id: &PackageId, version: &Version) -> RouteError {
    malformed(format!(
        "file name {name:?}: expected that of {} {}",
        id.as_str(),
        version.as_str()
    ))
}

fn strip_suffix<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let at = name.len().checked_sub(suffix.len())?;
    (name.is_char_boundary(at) && name[at..].eq_ignore_ascii_case(suffix)).then(|| &name[..at])
}

fn registration_part(segments: &[Segment<'_>]) -> RegistrationPart {
    match segments {
        [index] if index.text.eq_ignore_ascii_case("index.json") => RegistrationPart::Index,
        [page, lower, upper] if page.text.eq_ignore_ascii_case("page") => {
            let upper_text = strip_suffix(&upper.text, ".json").unwrap_or(&upper.text);
            let bounds = Version::parse(&lower.text)
                .ok()
                .zip(Version::parse(upper_text).ok());
            RegistrationPart::Page {
                rest: join(segments),
                bounds,
            }
        }
        [page, ..] if page.text.eq_ignore_ascii_case("page") => RegistrationPart::Page {
            rest: join(segments),
            bounds: None,
        },
        _ => RegistrationPart::Leaf(join(segments)),
    }
}

fn published(segments: &[Segment<'_>]) -> Result<Option<Published>, RouteError> {
    match segments {
        [] => Ok(None),
        [id, version] => Ok(Some(Published {
            id: package_id(id)?,
            version: package_version(version)?,
            as_typed: join(segments),
        })),
        _ => Err(RouteError::Unknown),
    }
}

fn link_subject(segment: &Segment<'_>) -> Result<LinkSubject, RouteError> {
    match segment.text.split_once("..") {
        Some((lower, upper)) => Ok(LinkSubject::Page(version(lower)?, version(upper)?)),
        None => Ok(LinkSubject::Version(version(&segment.text)?)),
    }
}

fn join(segments: &[Segment<'_>]) -> String {
    segments
        .iter()
        .map(|segment| segment.raw)
        .collect::<Vec<_>>()
        .join("/")
}

fn package_id(segment: &Segment<'_>) -> Result<PackageId, RouteError> {
    PackageId::parse(&segment.text).map_err(|error| malformed(error.to_string()))
}

fn package_version(segment: &Segment<'_>) -> Result<Version, RouteError> {
    version(&segment.text)
}

fn version(text: &str) -> Result<Version, RouteError> {
    Version::parse(text).map_err(|error| malformed(error.to_string()))
}

fn malformed(problem: String) -> RouteError {
    RouteError::Malformed(problem)
}

#[cfg(test)]
mod tests;
