//! What a feed asks of its clients, and whose right reaches how far.
//!
//! Rights of tokens stand with the tokens, rights of users in the feed's settings. Reading, pushing and administering
//! are apart: none implies another, but whoever has a right on a feed may read its service index, since no client can
//! push without it.

use std::fmt;
use std::sync::Arc;

use super::tokens::Token;
use crate::nuget::id::PackageId;
use crate::nuget::pattern::IdPattern;

/// Who may use a feed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mode {
    /// Everybody who reaches it.
    #[default]
    Open,
    /// Users and tokens of our own.
    Own,
    /// Whom the upstream lets in: each client's own credential is passed on to it, and none of ours is asked for.
    Passthrough,
}

/// What a feed asks of its clients.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rules {
    /// Who may use it.
    pub mode: Mode,
    /// The key that we hold for clients that may push; they then need none of the upstream's.
    pub push_key: Option<PushKey>,
    /// Users who may push, delete and relist every package.
    pub pushers: Vec<String>,
    /// Users who may read; `None`: every user.
    pub readers: Option<Vec<String>>,
}

/// An API key of the upstream. Nothing prints it.
#[derive(Clone, Eq, PartialEq)]
pub struct PushKey(String);

impl PushKey {
    /// The key with this value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The key itself, for the one header that carries it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PushKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PushKey(…)")
    }
}

/// What a request wants of a feed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Right {
    /// Its service index.
    Index,
    /// To push, delete or relist.
    Push,
    /// Anything else of it.
    Read,
}

/// Somebody whose credential was right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Caller {
    /// A token.
    Token(Arc<Token>),
    /// A user.
    User(Arc<str>),
}

impl Rules {
    /// Whether this right is for users and tokens only.
    #[must_use]
    pub fn guard(&self, right: Right) -> bool {
        match (self.mode, right) {
            (Mode::Own, _) => true,
            (Mode::Open, Right::Push) => self.push_key.is_some(),
            (Mode::Open, Right::Index | Right::Read) | (Mode::Passthrough, _) => false,
        }
    }
}

impl Caller {
    /// Whether it has a right on a feed.
    ///
    /// # Errors
    /// The sentence that says why not.
    pub fn may(&self, right: Right, feed: &str, rules: &Rules) -> Result<(), String> {
        let (reads, pushes) = match self {
            Self::Token(token) if !token.is_for(feed) => {
                return Err(format!("{self} is not for feed {feed}"));
            }
            Self::Token(token) => (token.rights.read, !token.rights.push.is_empty()),
            Self::User(name) => {
                let among = |names: &[String]| names.iter().any(|listed| **listed == **name);
                let reads = rules.readers.as_deref().is_none_or(among);
                (reads, among(&rules.pushers))
            }
        };
        let (may, verb) = match right {
            Right::Index => (reads || pushes, "read"),
            Right::Push => (pushes, "push to"),
            Right::Read => (reads, "read"),
        };
        if may {
            Ok(())
        } else {
            Err(format!("{self} may not {verb} feed {feed}"))
        }
    }

    /// Whether its right to push, which it has, reaches this package; `None` where the package is not known.
    ///
    /// # Errors
    /// The sentence that says why not.
    pub fn may_push(&self, id: Option<&PackageId>) -> Result<(), String> {
        let Self::Token(token) = self else {
            return Ok(());
        };
        let patterns = &token.rights.push;
        let reaches = |pattern: &IdPattern| match id {
            Some(id) => pattern.fits(id).is_some(),
            None => pattern.is_everything(),
        };
        if patterns.iter().any(reaches) {
            return Ok(());
        }
        let what = match id {
            Some(id) => id.as_str(),
            None => "a package whose id does not stand at its beginning",
        };
        let allowed: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        Err(format!(
            "{self} may not push {what}; it may push {}",
            allowed.join(", ")
        ))
    }

    /// Whether it may use the admin listener's interface; `admins` are the users who may.
    ///
    /// # Errors
    /// The sentence that says why not.
    pub fn may_administer(&self, admins: &[String]) -> Result<(), String> {
        let may = match self {
            Self::Token(token) => token.rights.admin,
            Self::User(name) => admins.iter().any(|admin| **admin == **name),
        };
        if may {
            Ok(())
        } else {
            Err(format!("{self} may not administer"))
        }
    }
}

/// As log lines and answers name it.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(token) => write!(f, "token {}", token.name),
            Self::User(name) => write!(f, "user {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::access::secret::TokenSecret;
    use crate::access::tokens::Rights;

    fn token(feeds: &[&str], read: bool, push: &[&str]) -> Caller {
        let patterns = push
            .iter()
            .map(|text| IdPattern::parse(text).expect("a pattern"));
        Caller::Token(Arc::new(Token {
            name: "ci".into(),
            digest: TokenSecret::draw().expect("random bytes").digest(),
            created: SystemTime::UNIX_EPOCH,
            expires: None,
            feeds: feeds.iter().map(|&feed| feed.to_owned()).collect(),
            rights: Rights {
                admin: false,
                push: patterns.collect(),
                read,
            },
        }))
    }

    fn rules(mode: Mode) -> Rules {
        Rules {
            mode,
            ..Rules::default()
        }
    }

    #[test]
    fn an_open_feed_guards_pushes_only_where_it_holds_a_key() {
        let all = [Right::Index, Right::Read, Right::Push];
        assert_eq!(all.map(|right| rules(Mode::Open).guard(right)), [false; 3]);
        assert_eq!(all.map(|right| rules(Mode::Own).guard(right)), [true; 3]);
        let passing = rules(Mode::Passthrough);
        assert_eq!(all.map(|right| passing.guard(right)), [false; 3]);
        let holding = Rules {
            push_key: Some(PushKey::new("k".into())),
            ..rules(Mode::Open)
        };
        assert_eq!(all.map(|right| holding.guard(right)), [false, false, true]);
        assert!(!format!("{holding:?}").contains("\"k\""));
    }

    #[track_caller]
    fn check(caller: &Caller, rules: &Rules, expected: [bool; 3]) {
        let may = [Right::Index, Right::Read, Right::Push]
            .map(|right| caller.may(right, "corp", rules).is_ok());
        assert_eq!(may, expected, "{caller}");
    }

    #[test]
    fn no_right_implies_another_but_each_the_index() {
        let own = rules(Mode::Own);
        check(&token(&[], true, &[]), &own, [true, true, false]);
        check(&token(&[], false, &["*"]), &own, [true, false, true]);
        check(&token(&[], true, &["a"]), &own, [true, true, true]);
        check(&token(&[], false, &[]), &own, [false, false, false]);
        check(&token(&["corp"], true, &[]), &own, [true, true, false]);
        check(
            &token(&["nuget"], true, &["*"]),
            &own,
            [false, false, false],
        );
    }

    #[test]
    fn users_read_unless_readers_are_named_and_push_when_they_are() {
        let alice = Caller::User("alice".into());
        let mut rules = rules(Mode::Own);
        check(&alice, &rules, [true, true, false]);
        rules.readers = Some(vec!["bob".into()]);
        check(&alice, &rules, [false, false, false]);
        rules.pushers = vec!["alice".into()];
        check(&alice, &rules, [true, false, true]);
        assert_eq!(alice.may_push(None), Ok(()));
        assert!(alice.may_administer(&[]).is_err());
        assert!(alice.may_administer(&["alice".into()]).is_ok());
    }

    #[test]
    fn a_push_reaches_what_fits_and_nothing_unknown() {
        let id = |text: &str| PackageId::parse(text).expect("an id");
        let ci = token(&[], false, &["Contoso.*", "Log"]);
        assert_eq!(ci.may_push(Some(&id("Contoso.Log"))), Ok(()));
        assert_eq!(ci.may_push(Some(&id("log"))), Ok(()));
        let refused = ci.may_push(Some(&id("Fabrikam.Log")));
        let sentence = "token ci may not push fabrikam.log; it may push contoso.*, log";
        assert_eq!(refused, Err(sentence.to_owned()));
        assert!(ci.may_push(None).is_err());
        assert_eq!(token(&[], false, &["*"]).may_push(None), Ok(()));
    }

    #[test]
    fn refusals_are_sentences() {
        let ci = token(&["nuget"], true, &[]);
        let own = rules(Mode::Own);
        let said = |right, feed| ci.may(right, feed, &own).unwrap_err();
        assert_eq!(said(Right::Read, "corp"), "token ci is not for feed corp");
        assert_eq!(
            said(Right::Push, "nuget"),
            "token ci may not push to feed nuget"
        );
    }
}
