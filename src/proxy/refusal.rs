//! Why a request is turned away: the client's side. `respond` says it.

use http::HeaderValue;

use super::outcome::Reason;
use crate::access::Denial;

/// Why a request is turned away: the client's side.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// It makes no sense: what was expected.
    BadRequest(String),
    /// It pushes what a rule of the configuration hides.
    Blocked(String),
    /// Nobody may do that, or whoever sent it is known and has not the right.
    Forbidden(String),
    /// It came round to us again.
    Loop,
    /// The resource does not know this method.
    MethodNotAllowed(&'static str),
    /// It is for another host.
    Misdirected(String),
    /// Nothing lies at its path.
    NoSuchPath(String),
    /// Its body stopped coming.
    Stalled,
    /// Too many wrong passwords came before it.
    Throttled(String),
    /// Its body is larger than allowed.
    TooLarge(String),
    /// It brought no credential, or a wrong one.
    Unauthenticated {
        /// The feed that asks for one.
        feed: String,
        /// What is said of it.
        said: String,
        /// Which of the two.
        reason: Reason,
    },
    /// It speaks the V2 protocol: what to use in its place. Never a 404, which a client takes for a package that does not
    /// exist.
    V2(String),
}

impl Refusal {
    /// The answer to somebody who is not let in.
    pub(super) fn of(denial: Denial, feed: &str) -> Self {
        match denial {
            Denial::Forbidden(said) => Self::Forbidden(said),
            Denial::Missing(said) => Self::Unauthenticated {
                feed: feed.to_owned(),
                said,
                reason: Reason::NoCredential,
            },
            Denial::Refused(said) => Self::Unauthenticated {
                feed: feed.to_owned(),
                said,
                reason: Reason::CredentialRefused,
            },
            Denial::Throttled(said) => Self::Throttled(said),
        }
    }

    /// The reason in the one vocabulary.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Loop => Reason::Loop,
            Self::BadRequest(_)
            | Self::MethodNotAllowed(_)
            | Self::Misdirected(_)
            | Self::NoSuchPath(_)
            | Self::Stalled
            | Self::TooLarge(_)
            | Self::V2(_) => Reason::BadRequest,
            Self::Blocked(_) => Reason::Blocked,
            Self::Forbidden(_) => Reason::Forbidden,
            Self::Throttled(_) => Reason::Throttled,
            Self::Unauthenticated { reason, .. } => *reason,
        }
    }
}

/// What clients answer with a user and a password (protocol fact 5.1.2). A feed's name holds nothing to be quoted.
pub(super) fn challenge(feed: &str) -> HeaderValue {
    HeaderValue::try_from(format!("Basic realm=\"Sluice feed {feed}\""))
        .unwrap_or(HeaderValue::from_static("Basic realm=\"Sluice\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_denial_are_those_of_its_answer() {
        let said = String::new;
        for denial in [
            Denial::Forbidden(said()),
            Denial::Missing(said()),
            Denial::Refused(said()),
            Denial::Throttled(said()),
        ] {
            let word = denial.word();
            assert_eq!(Refusal::of(denial, "corp").reason().word(), word);
        }
    }
}
