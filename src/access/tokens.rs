//! Tokens: what each may do, and the file they are kept in.
//!
//! The file is JSON, written by `sluice token` and read again by a running process when it changes. It holds no token,
//! only what is kept of one. A member that this release does not know could be a restriction, so it is refused and not
//! skipped; so is a later format.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::moment;
use super::secret::TokenDigest;
use crate::nuget::pattern::IdPattern;

/// The format that this release writes.
const FORMAT: u64 = 1;
/// Longest name, in characters: it stands in log lines.
const MAX_NAME: usize = 64;
/// Tokens of a file: each request looks one up by its hash, so this only bounds the file.
const MAX_TOKENS: usize = 100_000;

/// A token: its name, what is kept of it and what it may do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    /// Its name, which is no secret.
    pub name: Arc<str>,
    /// What is kept of it.
    pub digest: TokenDigest,
    /// When it was made.
    pub created: SystemTime,
    /// When it ends, if it does.
    pub expires: Option<SystemTime>,
    /// The feeds that it is for; none means every feed.
    pub feeds: Vec<String>,
    /// What it may do there.
    pub rights: Rights,
}

/// What a token may do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rights {
    /// Use the admin listener's interface.
    pub admin: bool,
    /// Push, delete and relist the packages that fit one of these.
    pub push: Vec<IdPattern>,
    /// Read.
    pub read: bool,
}

/// The tokens of a file, in its order.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    list: Vec<Arc<Token>>,
    by_digest: HashMap<TokenDigest, Arc<Token>>,
}

impl Tokens {
    /// Reads a file's text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        let file: Value =
            serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
        match file["format"].as_u64() {
            Some(FORMAT) => {}
            Some(format) => {
                return Err(format!(
                    "format {format}, which a later release wrote; this one knows {FORMAT}"
                ));
            }
            None => return Err(format!("\"format\" is missing; expected {FORMAT}")),
        }
        let list = file["tokens"].as_array().ok_or("\"tokens\" is no list")?;
        let mut tokens = Self::default();
        for (index, value) in list.iter().enumerate() {
            let token = read_token(value).map_err(|why| format!("token {}: {why}", index + 1))?;
            tokens.add(token)?;
        }
        Ok(tokens)
    }

    /// The file's text.
    #[must_use]
    pub fn write(&self) -> String {
        let tokens: Vec<Value> = self.list.iter().map(|token| write_token(token)).collect();
        let file = json!({ "format": FORMAT, "tokens": tokens });
        format!("{file:#}\n")
    }

    /// Adds one.
    ///
    /// # Errors
    /// Its name is taken or no name, or there are too many.
    pub fn add(&mut self, token: Token) -> Result<(), String> {
        check_name(&token.name)?;
        if self.named(&token.name).is_some() {
            return Err(format!("there is a token {:?} already", &*token.name));
        }
        if self.list.len() >= MAX_TOKENS {
            return Err(format!("there are {MAX_TOKENS} tokens already"));
        }
        let token = Arc::new(token);
        self.by_digest.insert(token.digest, Arc::clone(&token));
        self.list.push(token);
        Ok(())
    }

    /// Removes the one of this name; says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.list.len();
        self.list.retain(|token| *token.name != *name);
        self.by_digest.retain(|_, token| *token.name != *name);
        self.list.len() < before
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Arc<Token>] {
        &self.list
    }

    /// The one of which this is kept.
    #[must_use]
    pub fn of(&self, digest: &TokenDigest) -> Option<&Arc<Token>> {
        self.by_digest.get(digest)
    }

    /// The one of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Token>> {
        self.list.iter().find(|token| *token.name == *name)
    }
}

impl Token {
    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|end| now >= end)
    }

    /// Whether it is for this feed.
    #[must_use]
    pub fn is_for(&self, feed: &str) -> bool {
        self.feeds.is_empty() || self.feeds.iter().any(|name| name == feed)
    }
}

/// Whether a text can be a token's name.
///
/// # Errors
/// What was expected.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && name.len() <= MAX_NAME && name.chars().all(fits) {
        Ok(())
    } else {
        Err(format!(
            "expected a name of at most {MAX_NAME} letters, digits, \".\", \"_\", \"-\" and \"@\" that begins with a \
             letter or digit, which {name:?} is not"
        ))
    }
}

fn read_token(value: &Value) -> Result<Token, String> {
    const KNOWN: [&str; 8] = [
        "admin", "created", "expires", "feeds", "name", "push", "read", "sha256",
    ];
    let members = value.as_object().ok_or("no object")?;
    if let Some(name) = members.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(format!(
            "a member {name:?}, which this release does not know"
        ));
    }
    let text = |name: &str| {
        let text = members.get(name).and_then(Value::as_str);
        text.ok_or_else(|| format!("{name:?} is no text"))
    };
    let flag = |name: &str| match members.get(name) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(format!("{name:?} is neither true nor false")),
    };
    let time = |name: &str| {
        let time = text(name).ok().and_then(moment::read);
        time.ok_or_else(|| format!("{name:?} is no time"))
    };
    let mut push = Vec::new();
    for pattern in texts(members, "push")? {
        push.push(
            IdPattern::read(pattern)
                .map_err(|expected| format!("\"push\": expected {expected}"))?,
        );
    }
    let feeds = texts(members, "feeds")?;
    let digest = text("sha256").ok().and_then(TokenDigest::read);
    Ok(Token {
        name: text("name")?.into(),
        digest: digest.ok_or("\"sha256\" is not 64 hex digits")?,
        created: time("created")?,
        expires: match members.get("expires") {
            None => None,
            Some(_) => Some(time("expires")?),
        },
        feeds: feeds.into_iter().map(str::to_owned).collect(),
        rights: Rights {
            admin: flag("admin")?,
            push,
            read: flag("read")?,
        },
    })
}

/// The list of texts of this name; a missing one is empty.
fn texts<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Vec<&'a str>, String> {
    let Some(value) = members.get(name) else {
        return Ok(Vec::new());
    };
    let texts = value
        .as_array()
        .and_then(|items| items.iter().map(Value::as_str).collect());
    texts.ok_or_else(|| format!("{name:?} is no list of texts"))
}

fn write_token(token: &Token) -> Value {
    let push: Vec<String> = token.rights.push.iter().map(ToString::to_string).collect();
    let mut value = json!({
        "name": &*token.name,
        "sha256": token.digest.to_string(),
        "created": moment::show(token.created),
        "read": token.rights.read,
        "push": push,
        "admin": token.rights.admin,
        "feeds": token.feeds,
    });
    if let Some(end) = token.expires {
        value["expires"] = moment::show(end).into();
    }
    value
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::access::secret::TokenSecret;

    fn token(name: &str) -> (TokenSecret, Token) {
        let secret = TokenSecret::draw().expect("random bytes");
        let created = SystemTime::UNIX_EPOCH + Duration::from_secs(1_794_312_000);
        let token = Token {
            name: name.into(),
            digest: secret.digest(),
            created,
            expires: Some(created + Duration::from_secs(60)),
            feeds: vec!["corp".into()],
            rights: Rights {
                admin: false,
                push: vec![IdPattern::parse("Contoso.*").expect("a pattern")],
                read: true,
            },
        };
        (secret, token)
    }

    #[test]
    fn what_is_written_is_read_again_and_holds_no_token() {
        let mut tokens = Tokens::default();
        let (secret, ci) = token("ci");
        tokens.add(ci.clone()).expect("a free name");
        let forever = Token {
            expires: None,
            ..token("forever").1
        };
        tokens.add(forever).expect("a free name");
        let text = tokens.write();
        assert!(!text.contains(secret.reveal()), "{text}");
        let read = Tokens::read(&text).expect("our own");
        assert_eq!(read.all(), tokens.all());
        assert_eq!(read.of(&secret.digest()).map(|token| &**token), Some(&ci));
    }

    #[test]
    fn a_name_is_there_once_and_gone_when_removed() {
        let mut tokens = Tokens::default();
        let (secret, ci) = token("ci");
        tokens.add(ci.clone()).expect("a free name");
        assert!(tokens.add(ci).is_err());
        assert!(tokens.remove("ci") && !tokens.remove("ci"));
        assert!(tokens.of(&secret.digest()).is_none() && tokens.all().is_empty());
        for name in ["", "-ci", "a b", "a:b", &"x".repeat(65)] {
            assert!(tokens.add(token(name).1).is_err(), "{name}");
        }
    }

    #[test]
    fn a_token_ends_and_is_for_its_feeds() {
        let (_, ci) = token("ci");
        assert!(!ci.is_over(ci.created + Duration::from_secs(59)));
        assert!(ci.is_over(ci.created + Duration::from_secs(60)));
        assert!(ci.is_for("corp") && !ci.is_for("nuget"));
    }

    #[track_caller]
    fn check_bad(text: &str, expected: &str) {
        let problem = Tokens::read(text).expect_err(text);
        assert!(problem.contains(expected), "{problem}");
    }

    #[test]
    fn a_file_that_is_not_understood_is_refused() {
        let of = |members: &str| {
            let hash = "0".repeat(64);
            format!(
                r#"{{"format":1,"tokens":[{{"name":"a","sha256":"{hash}","created":"2026-01-01T00:00:00Z"{members}}}]}}"#
            )
        };
        assert!(Tokens::read(&of("")).is_ok());
        check_bad("", "no JSON");
        check_bad(r#"{"tokens":[]}"#, "\"format\" is missing");
        check_bad(r#"{"format":2,"tokens":[]}"#, "a later release");
        check_bad(r#"{"format":1}"#, "no list");
        check_bad(&of(r#","networks":["10.0.0.0/8"]"#), "\"networks\"");
        check_bad(&of(r#","push":["a b"]"#), "token 1: \"push\"");
        check_bad(&of(r#","push":"*""#), "\"push\" is no list");
        check_bad(&of(r#","read":"yes""#), "\"read\"");
        check_bad(&of(r#","expires":"soon""#), "\"expires\"");
        check_bad(&of(r#","expires":null"#), "\"expires\"");
        check_bad(r#"{"format":1,"tokens":[{"name":"a"}]}"#, "\"sha256\"");
    }
}
