//! The settings of unions and of their members.

use std::time::Duration;

use crate::nuget::pattern::IdPattern;

/// A feed that is made of others: it has no upstream, and keeps nothing but who delivered what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnionSettings {
    /// The first segment of its paths.
    pub name: String,
    /// The feeds that it is made of. Of a version that several have, the first is who has it.
    pub members: Vec<String>,
    /// The member that takes pushes.
    pub push_to: Option<String>,
    /// The longest that a search waits for one member; without it, the results are marked as partial.
    pub search_wait: Duration,
}

impl UnionSettings {
    /// A union without a member for pushes and with the default wait.
    #[must_use]
    pub fn new(name: &str, members: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            members: members.iter().map(|&member| member.to_owned()).collect(),
            push_to: None,
            search_wait: DEFAULT_SEARCH_WAIT,
        }
    }
}

/// A person waits for a search, and nuget.org takes up to about two seconds for a hard one.
pub const DEFAULT_SEARCH_WAIT: Duration = Duration::from_secs(3);

/// What a feed is as a member of unions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MemberSettings {
    /// Ids that no other member is asked for.
    pub owns: Vec<IdPattern>,
    /// The only ids that it is asked for; empty means every one.
    pub only: Vec<IdPattern>,
    /// What its failure means.
    pub presence: Presence,
}

/// What the failure of a member means for an answer of the union.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Presence {
    /// It is left out, and the answer says so.
    Optional,
    /// The whole answer is a failure.
    #[default]
    Required,
}
