//! The signature itself: CMS `SignedData` over a text that names the package's hash.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerIdentifier, SignerInfo};
use ring::digest::{self, Algorithm};
use ring::signature::{self, RsaParameters, UnparsedPublicKey};
use x509_cert::Certificate;
use x509_cert::der::asn1::{Any, ObjectIdentifier, OctetString};
use x509_cert::der::{Decode as _, Encode as _, SliceReader};
use x509_cert::ext::pkix::SubjectKeyIdentifier;

use super::{SignatureFault, ber};
use crate::nuget::digest::sha256_hex;

/// `id-signedData` (RFC 5652 section 5.1).
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
/// `id-messageDigest` (section 11.2).
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
/// `id-countersignature` (section 11.4).
const COUNTERSIGNATURE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.6");
/// `id-aa-ets-commitmentType` (RFC 5126 section 5.11.1), by which NuGet tells who signed.
const COMMITMENT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.16");
/// Proof of origin: an author's.
const BY_AUTHOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.6.1");
/// Proof of receipt: a repository's.
const BY_REPOSITORY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.6.2");

/// The hashes that NuGet signs with, and what goes with each.
const HASHES: [Hash; 3] = [
    Hash {
        oid: ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1"),
        digest: &digest::SHA256,
        rsa: &signature::RSA_PKCS1_2048_8192_SHA256,
    },
    Hash {
        oid: ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2"),
        digest: &digest::SHA384,
        rsa: &signature::RSA_PKCS1_2048_8192_SHA384,
    },
    Hash {
        oid: ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3"),
        digest: &digest::SHA512,
        rsa: &signature::RSA_PKCS1_2048_8192_SHA512,
    },
];

struct Hash {
    oid: ObjectIdentifier,
    digest: &'static Algorithm,
    rsa: &'static RsaParameters,
}

impl Hash {
    fn of(oid: &ObjectIdentifier) -> Result<&'static Self, SignatureFault> {
        let mut known = HASHES.iter();
        let found = known.find(|hash| hash.oid == *oid);
        found.ok_or_else(|| unreadable("its hash is none of SHA-256, SHA-384 and SHA-512"))
    }
}

/// The fault of a signature in another form than the client's.
fn unreadable(problem: &'static str) -> SignatureFault {
    SignatureFault::Unreadable(problem)
}

/// What a signature says, with every key's work in it checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Signature {
    /// By which the package is hashed.
    pub(super) algorithm: &'static Algorithm,
    /// The hash of the package.
    pub(super) content: Vec<u8>,
    /// SHA-256 of the repository's certificate, if a repository signed.
    pub(super) repository: Option<String>,
}

/// Who signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    Author,
    Repository,
}

/// Reads a signature.
pub(super) fn read(bytes: &[u8]) -> Result<Signature, SignatureFault> {
    let bytes = ber::to_der(bytes).ok_or_else(|| unreadable("no ASN.1"))?;
    let outer = ContentInfo::from_der(&bytes).map_err(|_| unreadable("no CMS message"))?;
    if outer.content_type != SIGNED_DATA {
        return Err(unreadable("a CMS message of another kind"));
    }
    let data: SignedData = outer
        .content
        .decode_as()
        .map_err(|_| unreadable("no CMS signed data"))?;
    let content = data.encap_content_info.econtent.as_ref();
    let text: OctetString = content
        .and_then(|content| content.decode_as().ok())
        .ok_or_else(|| unreadable("nothing is signed"))?;
    let [primary] = data.signer_infos.0.as_slice() else {
        return Err(unreadable("not one signer"));
    };
    let certificates: Vec<&Certificate> = data
        .certificates
        .iter()
        .flat_map(|certificates| certificates.0.iter())
        .filter_map(|choice| match choice {
            CertificateChoices::Certificate(certificate) => Some(certificate),
            CertificateChoices::Other(_) => None,
        })
        .collect();
    let (role, signer) = verify(primary, text.as_bytes(), &certificates)?;
    let repository = match role {
        Role::Author => countersigner(primary, &certificates)?,
        Role::Repository => Some(signer),
    };
    let (algorithm, content) = properties(text.as_bytes())?;
    Ok(Signature {
        algorithm,
        content,
        repository,
    })
}

/// Checks what one signer signed; says who it is, and the SHA-256 of its certificate.
fn verify(
    signer: &SignerInfo,
    message: &[u8],
    certificates: &[&Certificate],
) -> Result<(Role, String), SignatureFault> {
    let hash = Hash::of(&signer.digest_alg.oid)?;
    let attributes = signer
        .signed_attrs
        .as_ref()
        .ok_or_else(|| unreadable("a signer without attributes"))?;
    let attribute = |wanted: ObjectIdentifier| {
        let mut found = attributes
            .iter()
            .filter(|attribute| attribute.oid == wanted);
        let (first, none) = (found.next(), found.next().is_none());
        let [value] = first.filter(|_| none)?.values.as_slice() else {
            return None;
        };
        Some(value)
    };
    let digest = attribute(MESSAGE_DIGEST).and_then(|value| value.decode_as::<OctetString>().ok());
    let digest = digest.ok_or_else(|| unreadable("a signer without one message digest"))?;
    if digest.as_bytes() != digest::digest(hash.digest, message).as_ref() {
        return Err(SignatureFault::Forged);
    }
    let role = attribute(COMMITMENT).and_then(role_in);
    let role = role.ok_or_else(|| unreadable("neither an author's nor a repository's"))?;
    let certificate = certificates
        .iter()
        .find(|certificate| is_named(certificate, &signer.sid))
        .ok_or_else(|| unreadable("without its signer's certificate"))?;
    let signed = attributes
        .to_der()
        .map_err(|_| unreadable("its attributes"))?;
    let key = certificate
        .tbs_certificate()
        .subject_public_key_info()
        .subject_public_key
        .raw_bytes();
    UnparsedPublicKey::new(hash.rsa, key)
        .verify(&signed, signer.signature.as_bytes())
        .map_err(|_| SignatureFault::Forged)?;
    let certificate = certificate
        .to_der()
        .map_err(|_| unreadable("its signer's certificate"))?;
    Ok((role, sha256_hex(certificate)))
}

/// The SHA-256 of the certificate with which a repository signed an author's signature, if one did.
fn countersigner(
    primary: &SignerInfo,
    certificates: &[&Certificate],
) -> Result<Option<String>, SignatureFault> {
    let attributes = primary.unsigned_attrs.iter().flat_map(|all| all.iter());
    let countersignatures = attributes
        .filter(|attribute| attribute.oid == COUNTERSIGNATURE)
        .flat_map(|attribute| attribute.values.iter());
    for value in countersignatures {
        let signer: SignerInfo = value
            .decode_as()
            .map_err(|_| unreadable("a countersignature"))?;
        let (role, certificate) = verify(&signer, primary.signature.as_bytes(), certificates)?;
        if role == Role::Repository {
            return Ok(Some(certificate));
        }
    }
    Ok(None)
}

/// Who signs, by the type of commitment.
fn role_in(value: &Any) -> Option<Role> {
    let mut reader = SliceReader::new(value.value()).ok()?;
    match ObjectIdentifier::decode(&mut reader).ok()? {
        BY_AUTHOR => Some(Role::Author),
        BY_REPOSITORY => Some(Role::Repository),
        _ => None,
    }
}

/// Whether a certificate is the one that a signer names.
fn is_named(certificate: &Certificate, name: &SignerIdentifier) -> bool {
    let tbs = certificate.tbs_certificate();
    match name {
        SignerIdentifier::IssuerAndSerialNumber(name) => {
            name.issuer == *tbs.issuer() && name.serial_number == *tbs.serial_number()
        }
        SignerIdentifier::SubjectKeyIdentifier(name) => {
            let own = tbs.get_extension::<SubjectKeyIdentifier>();
            own.is_ok_and(|own| own.is_some_and(|(_, own)| own == *name))
        }
    }
}

/// The hash that the signed text names: `Version:1`, an empty line, `{oid}-Hash:{base64}`.
fn properties(text: &[u8]) -> Result<(&'static Algorithm, Vec<u8>), SignatureFault> {
    let text = std::str::from_utf8(text).map_err(|_| unreadable("what is signed is no text"))?;
    let mut lines = text.lines();
    if lines.next() != Some("Version:1") {
        return Err(unreadable("another version than 1"));
    }
    for line in lines {
        let Some((oid, hash)) = line.split_once("-Hash:") else {
            continue;
        };
        let oid = ObjectIdentifier::new(oid).map_err(|_| unreadable("an unknown hash"))?;
        let content = STANDARD
            .decode(hash.trim())
            .map_err(|_| unreadable("its hash is no base64"))?;
        return Ok((Hash::of(&oid)?.digest, content));
    }
    Err(unreadable("it names no hash"))
}
