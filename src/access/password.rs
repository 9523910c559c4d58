//! Passwords of people: hashes that are read, and the one kind that we make.
//!
//! Read are argon2 (PHC strings) and bcrypt, as `htpasswd -B` writes it. Weaker kinds (MD5, SHA-1, crypt) are refused, and
//! so are costs that would make one request a burden. Checking takes tens of milliseconds and blocks.

use std::fmt;
use std::str::FromStr as _;

use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::{Argon2, Params, PasswordHasher as _, PasswordVerifier as _};
use bcrypt::HashParts;

/// Most memory, passes and lanes of an argon2 hash: thirteen times the memory that we use ourselves.
const MAX_ARGON2: (u32, u32, u32) = (256 * 1024, 16, 16);
/// Highest cost of a bcrypt hash: some four seconds. `htpasswd` makes 5 unless told otherwise.
const MAX_BCRYPT_COST: u32 = 16;
/// Bytes of salt, as RFC 9106 section 3.1 recommends.
const SALT_BYTES: usize = 16;

/// What is kept of a password.
#[derive(Clone)]
pub struct PasswordHash {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Argon2(Box<Phc>),
    Bcrypt(String),
}

impl PasswordHash {
    /// Reads a hash.
    ///
    /// # Errors
    /// What was expected.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.starts_with("$argon2") {
            let hash = Phc::new(text).ok().filter(|hash| hash.hash.is_some());
            let hash = hash.ok_or("an argon2 hash that is complete")?;
            let params = Params::try_from(&hash).map_err(|_| "known argon2 parameters")?;
            let (memory, passes, lanes) = MAX_ARGON2;
            if params.m_cost() > memory || params.t_cost() > passes || params.p_cost() > lanes {
                return Err(format!(
                    "argon2 parameters of at most m={memory}, t={passes}, p={lanes}"
                ));
            }
            let kind = Kind::Argon2(Box::new(hash));
            return Ok(Self { kind });
        }
        if ["$2a$", "$2b$", "$2x$", "$2y$"]
            .iter()
            .any(|mark| text.starts_with(mark))
        {
            let parts = HashParts::from_str(text).map_err(|_| "a bcrypt hash that is complete")?;
            if parts.get_cost() > MAX_BCRYPT_COST {
                return Err(format!("a bcrypt cost of at most {MAX_BCRYPT_COST}"));
            }
            let kind = Kind::Bcrypt(text.to_owned());
            return Ok(Self { kind });
        }
        Err("a bcrypt hash (htpasswd -B) or an argon2 hash (sluice password)".to_owned())
    }

    /// Hashes a password with argon2id and the parameters that OWASP recommends (19 MiB, two passes); gives the text to
    /// be kept.
    ///
    /// # Errors
    /// Why it cannot be hashed.
    pub fn make(password: &str) -> Result<String, String> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
        let hash: Phc = Argon2::default()
            .hash_password_with_salt(password.as_bytes(), &salt)
            .map_err(|error| error.to_string())?;
        Ok(hash.to_string())
    }

    /// Whether this is the password.
    #[must_use]
    pub fn fits(&self, password: &str) -> bool {
        match &self.kind {
            Kind::Argon2(hash) => Argon2::default()
                .verify_password(password.as_bytes(), hash.as_ref())
                .is_ok(),
            Kind::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Argon2(_) => "Argon2(…)",
            Kind::Bcrypt(_) => "Bcrypt(…)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_argon2id_salted_and_fits() {
        let text = PasswordHash::make("s3cret").expect("a hash");
        assert!(
            text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{text}"
        );
        assert_ne!(PasswordHash::make("s3cret").expect("a hash"), text);
        let hash = PasswordHash::read(&text).expect("our own");
        assert!(hash.fits("s3cret"));
        assert!(!hash.fits("s3cre") && !hash.fits("") && !hash.fits("s3cret "));
    }

    /// Hashes of other tools: the argon2 reference implementation and PHP's and OpenBSD's bcrypt (crypt_blowfish's own
    /// test vectors).
    #[test]
    fn hashes_of_other_tools_fit() {
        for (hash, password) in [
            (
                "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
                "U*U",
            ),
            (
                "$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK",
                "U*U*",
            ),
            (
                "$2b$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a",
                "U*U*U",
            ),
            (
                "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
                "password",
            ),
        ] {
            let read = PasswordHash::read(hash).expect(hash);
            assert!(read.fits(password), "{hash}");
            assert!(!read.fits("wrong"), "{hash}");
        }
    }

    #[test]
    fn weak_kinds_and_burdens_are_refused() {
        for (hash, expected) in [
            ("$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", "htpasswd -B"),
            ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "htpasswd -B"),
            ("rqXexS6ZhobKA", "htpasswd -B"),
            ("plain", "htpasswd -B"),
            ("", "htpasswd -B"),
            ("$2y$05$short", "complete"),
            (
                "$2y$20$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
                "at most 16",
            ),
            ("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ", "complete"),
            (
                "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
                "m=262144",
            ),
        ] {
            let problem = PasswordHash::read(hash).expect_err(hash);
            assert!(problem.contains(expected), "{hash}: {problem}");
        }
    }
}
