//! A certificate, its chain and its key, checked against each other.
//!
//! It refuses a key of another certificate and a certificate that is over; whether clients trust the issuer it cannot
//! know.

use std::collections::HashSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

/// A pair that can be served.
#[derive(Clone, Debug)]
pub struct Pair {
    pub(super) certified: Arc<CertifiedKey>,
    /// When clients begin to refuse it.
    pub(super) expires_at: SystemTime,
    /// A host name or address that it is for.
    name: Option<String>,
}

/// Why a chain and a key are no pair, as what was expected instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum PairError {
    /// The certificate is over since then.
    Expired(SystemTime),
    /// The key cannot be used.
    Key(String),
    /// The key belongs to none of the certificates.
    Mismatch,
    /// It belongs to one behind the first, counted from 1.
    Order(usize),
    /// A certificate cannot be read.
    Unreadable(usize),
}

impl fmt::Display for PairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(since) => write!(
                f,
                "a certificate that is not over (it is since {})",
                httpdate::fmt_http_date(*since)
            ),
            Self::Key(why) => write!(f, "a private key that can be used ({why})"),
            Self::Mismatch => f.write_str("a certificate that the private key belongs to"),
            Self::Order(at) => write!(
                f,
                "the certificate of the private key first (it is number {at}), then its intermediates"
            ),
            Self::Unreadable(at) => write!(f, "X.509 certificates, which number {at} is not"),
        }
    }
}

impl Pair {
    /// Checks the parts of a pair. `certificates` are a chain, its leaf first.
    pub(super) fn new(
        certificates: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        now: SystemTime,
    ) -> Result<Self, PairError> {
        let key = ring::sign::any_supported_type(&key)
            .map_err(|error| PairError::Key(error.to_string()))?;
        for (index, certificate) in certificates.iter().enumerate() {
            parse(certificate).ok_or(PairError::Unreadable(index + 1))?;
        }
        match certificates.iter().position(|one| belongs(one, &key)) {
            Some(0) => {}
            Some(at) => return Err(PairError::Order(at + 1)),
            None => return Err(PairError::Mismatch),
        }
        let leaf = certificates.first().and_then(parse);
        let leaf = leaf.ok_or(PairError::Unreadable(1))?;
        let end = leaf.tbs_certificate().validity().not_after;
        let expires_at = UNIX_EPOCH + end.to_unix_duration();
        if expires_at <= now {
            return Err(PairError::Expired(expires_at));
        }
        let name = name_of(&leaf);
        Ok(Self {
            certified: Arc::new(CertifiedKey::new(certificates, key)),
            expires_at,
            name,
        })
    }

    /// When clients begin to refuse it.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.expires_at
    }

    /// The first host name or address that it is for; no wildcard.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The issuer, in words, that a client must know by itself to trust the chain we send, if `roots` do not hold it.
    #[must_use]
    pub fn missing_issuer(&self, roots: &HashSet<Vec<u8>>) -> Option<String> {
        let chain: Vec<Certificate> = self.certified.cert.iter().filter_map(parse).collect();
        let mut at = chain.first()?;
        // Each step goes to another certificate of the chain, so a loop ends with its length.
        for _ in 0..chain.len() {
            let issuer = issuer(at);
            if issuer == subject(at) || raw(issuer).is_some_and(|raw| roots.contains(&raw)) {
                return None;
            }
            match chain.iter().find(|next| subject(next) == issuer) {
                Some(next) => at = next,
                None => return Some(issuer.to_string()),
            }
        }
        None
    }
}

fn issuer(certificate: &Certificate) -> &Name {
    certificate.tbs_certificate().issuer()
}

fn subject(certificate: &Certificate) -> &Name {
    certificate.tbs_certificate().subject()
}

/// A name as a certificate holds it.
fn raw(name: &Name) -> Option<Vec<u8>> {
    name.to_der().ok()
}

fn belongs(certificate: &CertificateDer<'static>, key: &Arc<dyn SigningKey>) -> bool {
    let alone = CertifiedKey::new(vec![certificate.clone()], Arc::clone(key));
    alone.keys_match().is_ok()
}

/// The chain that the certificates of a PKCS#12 file make, which come in any order: the key's own first, then each one's
/// issuer, without the root. Left as they are if none is the key's.
pub(super) fn ordered(
    certificates: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
) -> Vec<CertificateDer<'static>> {
    let Ok(key) = ring::sign::any_supported_type(key) else {
        return certificates;
    };
    let Some(leaf) = certificates.iter().find(|one| belongs(one, &key)) else {
        return certificates;
    };
    let mut chain = vec![leaf.clone()];
    while let Some(last) = chain.last().and_then(parse) {
        let next = certificates.iter().find(|der| {
            parse(der).is_some_and(|next| {
                subject(&next) == issuer(&last) && subject(&next) != issuer(&next)
            })
        });
        match next {
            Some(next) if !chain.contains(next) => chain.push(next.clone()),
            Some(_) | None => break,
        }
    }
    chain
}

/// The subjects of these certificates, for [`Pair::missing_issuer`]; what cannot be read is left out.
#[must_use]
pub fn known_roots(certificates: &[CertificateDer<'_>]) -> HashSet<Vec<u8>> {
    let parsed = certificates.iter().filter_map(parse);
    parsed.filter_map(|root| raw(subject(&root))).collect()
}

fn parse(certificate: &CertificateDer<'_>) -> Option<Certificate> {
    Certificate::from_der(certificate).ok()
}

fn name_of(leaf: &Certificate) -> Option<String> {
    let names = leaf.tbs_certificate().get_extension::<SubjectAltName>();
    let (_, names) = names.ok()??;
    names.0.iter().find_map(|name| match name {
        GeneralName::DnsName(name) if !name.as_str().contains('*') => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => match <[u8; 4]>::try_from(bytes.as_bytes()) {
            Ok(v4) => Some(Ipv4Addr::from(v4).to_string()),
            Err(_) => {
                let v6 = <[u8; 16]>::try_from(bytes.as_bytes()).ok()?;
                Some(format!("[{}]", Ipv6Addr::from(v6)))
            }
        },
        _ => None,
    })
}
