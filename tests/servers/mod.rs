//! Feed servers of many makes as scripted answers, over a small set of packages that is made here.
//!
//! Each shape is built from documents of real servers (their origins are in `tests/data/samples/README.md`) and section
//! 10 of the protocol facts: its resource types, its addresses, how its registrations are laid out, what it leaves out,
//! whom it lets in. It says what is answered to a URL and knows nothing of how the question came: `tests/it` asks it
//! through pipes, `tests/client` over loopback sockets.

mod artifactory;
mod azure;
mod bagetter;
mod github;
mod gitlab;
mod nexus;
mod nuget_org;
pub(crate) mod packages;
mod proget;
mod script;
mod sleet;

#[allow(
    unused_imports,
    reason = "those who ask through pipes never name an answer"
)]
pub(crate) use self::script::Answer;
pub(crate) use self::script::{Login, Shape};

use self::script::Script;

/// The servers that restores are run through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Server {
    Artifactory,
    AzureArtifacts,
    BaGetter,
    GitHub,
    GitLab,
    Nexus,
    NugetOrg,
    ProGet,
    Sleet,
}

impl Server {
    /// Every one.
    pub(crate) const ALL: [Self; 9] = [
        Self::Artifactory,
        Self::AzureArtifacts,
        Self::BaGetter,
        Self::GitHub,
        Self::GitLab,
        Self::Nexus,
        Self::NugetOrg,
        Self::ProGet,
        Self::Sleet,
    ];

    /// The shape of it at `home`, an address without a path; what it keeps at another host lies at `far`.
    pub(crate) fn shape(self, home: &str, far: &str) -> Shape {
        let script = Script::new(home, far);
        match self {
            Self::Artifactory => artifactory::shape(script),
            Self::AzureArtifacts => azure::shape(script),
            Self::BaGetter => bagetter::shape(script),
            Self::GitHub => github::shape(script),
            Self::GitLab => gitlab::shape(script),
            Self::Nexus => nexus::shape(script),
            Self::NugetOrg => nuget_org::shape(script),
            Self::ProGet => proget::shape(script),
            Self::Sleet => sleet::shape(script),
        }
    }
}
