//! Whether a package carries its repository's signature: by a certificate that the repository lists, over these very bytes
//! (NuGet, "Package Signatures Technical Details"; RFC 5652).
//!
//! A repository signs the package, or countersigns the author's signature. What is checked here is that the signature is one,
//! covers the package and was made with the key of a listed certificate. It refuses to judge certificates themselves: chains,
//! dates, revocation and time stamps are the client's business, as are authors.

mod ber;
mod cms;

use std::collections::BTreeSet;
use std::fmt;
use std::io::{Read, Seek};

use super::nupkg::{PackageFault, signed};

/// Why a package counts as not signed by its repository.
#[derive(Debug)]
pub enum SignatureFault {
    /// Signed was another package.
    Altered,
    /// The signature was not made with the key of the certificate in it.
    Forged,
    /// It has no signature.
    Missing,
    /// Its author signed it and no repository.
    NotByRepository,
    /// The archive cannot be read as one that holds a signature, or not at all.
    Package(PackageFault),
    /// The repository does not list the certificate with this SHA-256.
    Unlisted(String),
    /// The signature is none that the client would read.
    Unreadable(&'static str),
}

impl fmt::Display for SignatureFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Altered => f.write_str("its signature is of another package"),
            Self::Forged => f.write_str("its signature does not fit its certificate"),
            Self::Missing => f.write_str("it has no signature"),
            Self::NotByRepository => f.write_str("its author signed it and no repository"),
            Self::Package(fault) => fault.fmt(f),
            Self::Unlisted(sha256) => {
                write!(f, "its signer is not listed: certificate {sha256}")
            }
            Self::Unreadable(problem) => write!(f, "its signature is unreadable: {problem}"),
        }
    }
}

impl std::error::Error for SignatureFault {}

impl From<PackageFault> for SignatureFault {
    fn from(fault: PackageFault) -> Self {
        Self::Package(fault)
    }
}

/// Reads a signature by itself and gives its repository's certificate: for fuzzing.
#[cfg(any(test, fuzzing))]
pub(in crate::nuget) fn read_alone(signature: &[u8]) -> Result<Option<String>, SignatureFault> {
    let der = ber::to_der(signature);
    assert_eq!(
        der.as_deref().and_then(ber::to_der),
        der,
        "what is DER stays as it is"
    );
    cms::read(signature).map(|signature| signature.repository)
}

/// Checks that a package is signed by a repository whose certificates have these SHA-256, in lower-case hex digits. Reads it
/// whole.
///
/// # Errors
/// If it is not, or `reader` fails.
pub fn check(
    mut reader: impl Read + Seek,
    listed: &BTreeSet<String>,
) -> Result<(), SignatureFault> {
    let package = signed(&mut reader)?.ok_or(SignatureFault::Missing)?;
    let signature = cms::read(&package.signature)?;
    let found = package.hash(reader, signature.algorithm)?;
    if found.as_ref() != signature.content {
        return Err(SignatureFault::Altered);
    }
    let signer = signature
        .repository
        .ok_or(SignatureFault::NotByRepository)?;
    if listed.contains(&signer) {
        Ok(())
    } else {
        Err(SignatureFault::Unlisted(signer))
    }
}

#[cfg(test)]
mod tests;
