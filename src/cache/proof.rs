//! Proofs: that the upstream let a client's own credential in, for one id, and how long that is good for.
//!
//! A feed that passes clients' credentials on serves nothing stored without one. Only a good answer is a proof: a 404
//! says nothing, since upstreams hide with it what a credential may not see.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ring::digest;

use super::key::Audience;

/// Length of a holder's hash: as long as the part of a key that tells responses of one id apart.
const HOLDER_BYTES: usize = 16;

/// Who may hold proofs: a credential at one feed, or the lack of one, as a keyed hash. Never the credential itself.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Holder([u8; HOLDER_BYTES]);

impl Holder {
    /// The holder with the first bytes of this hash.
    #[must_use]
    pub fn of_hash(hash: &[u8; 32]) -> Self {
        let mut bytes = [0; HOLDER_BYTES];
        bytes.copy_from_slice(&hash[..HOLDER_BYTES]);
        Self(bytes)
    }

    /// The bytes that every proof of this holder begins with.
    #[must_use]
    pub fn bytes(&self) -> &[u8; HOLDER_BYTES] {
        &self.0
    }

    /// The audience that this holder alone belongs to.
    #[must_use]
    pub fn audience(&self) -> Audience {
        Audience::Credential(Arc::from(self.to_string()))
    }
}

/// The hash in hex.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The name of a proof: whose, and for what.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ProofKey([u8; 32]);

impl ProofKey {
    /// The name of the proof that `holder` may see what `scope` names. Never changed: it names stored rows.
    #[must_use]
    pub fn new(holder: &Holder, scope: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, scope.as_bytes());
        let mut bytes = [0; 32];
        bytes[..HOLDER_BYTES].copy_from_slice(&holder.0);
        bytes[HOLDER_BYTES..].copy_from_slice(&digest.as_ref()[..32 - HOLDER_BYTES]);
        Self(bytes)
    }

    /// The name with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whose proof it is.
    #[must_use]
    pub fn holder(&self) -> Holder {
        Holder::of_hash(&self.0)
    }
}

/// How long proofs of a feed are good for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProofPolicy {
    /// While the upstream answers.
    pub ttl: Duration,
    /// While it cannot be reached or answers with errors of its own.
    pub grace: Duration,
}

impl Default for ProofPolicy {
    fn default() -> Self {
        Self {
            // Longer than a restore takes, so that it asks once for each id; short enough that a withdrawn right ends
            // within a coffee break.
            ttl: Duration::from_secs(5 * 60),
            // An outage that begins in the evening is seen to in the morning.
            grace: Duration::from_secs(12 * 60 * 60),
        }
    }
}

/// How a holder stands towards what is stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It needs no proof: the feed passes no credentials on.
    Free,
    /// Its proof is good only while the upstream cannot be asked for another.
    Grace,
    /// Its proof is good.
    Live,
    /// It has no proof, or one that is too old for anything.
    Unproven,
}

impl Standing {
    /// Whether what is stored may be given whatever the upstream would say.
    #[must_use]
    pub fn is_good(self) -> bool {
        match self {
            Self::Free | Self::Live => true,
            Self::Grace | Self::Unproven => false,
        }
    }
}

impl ProofPolicy {
    /// How a holder stands whose proof is from `proven_at`. A proof from the future, which a clock that went back makes,
    /// is none.
    #[must_use]
    pub fn standing(&self, proven_at: Option<SystemTime>, now: SystemTime) -> Standing {
        let age = proven_at.and_then(|proven_at| now.duration_since(proven_at).ok());
        match age {
            Some(age) if age < self.ttl => Standing::Live,
            Some(age) if age < self.grace => Standing::Grace,
            Some(_) | None => Standing::Unproven,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(age: i64, expected: Standing) {
        let policy = ProofPolicy {
            ttl: Duration::from_secs(60),
            grace: Duration::from_secs(3600),
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let distance = Duration::from_secs(age.unsigned_abs());
        let proven_at = if age < 0 {
            now + distance
        } else {
            now - distance
        };
        assert_eq!(policy.standing(Some(proven_at), now), expected, "{age}");
    }

    #[test]
    fn a_proof_is_live_then_good_in_outages_then_nothing() {
        check(0, Standing::Live);
        check(59, Standing::Live);
        check(60, Standing::Grace);
        check(3599, Standing::Grace);
        check(3600, Standing::Unproven);
        check(-1, Standing::Unproven);
        let policy = ProofPolicy::default();
        let none = policy.standing(None, SystemTime::UNIX_EPOCH);
        assert_eq!(none, Standing::Unproven);
    }

    #[test]
    fn proofs_of_holders_and_scopes_are_told_apart() {
        let (one, other) = (Holder::of_hash(&[1; 32]), Holder::of_hash(&[2; 32]));
        let key = ProofKey::new(&one, "id/a");
        assert_eq!(key.holder(), one);
        assert!(key.bytes().starts_with(one.bytes()));
        assert_ne!(key, ProofKey::new(&one, "id/b"));
        assert_ne!(key, ProofKey::new(&other, "id/a"));
        assert_eq!(ProofKey::from_bytes(*key.bytes()), key);
    }
}
