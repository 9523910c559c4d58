//! Repository signatures: which certificates a repository signs its packages with (protocol facts 2.6).
//!
//! Of the document only the certificates' `contentUrl` is ours to change, and, where packages of several upstreams are
//! offered as one feed, `allRepositorySigned`. Subjects, issuers and dates are not read: clients compare fingerprints.

use std::ops::Range;

use super::ReadError;
use super::digest::sha256_hex;
use super::json::{Kind, Scanner, encode_string};
use super::splice::splice;

const WHAT: &str = "repository signatures";

/// The object identifier of SHA-256, by which a certificate's fingerprint is named (protocol fact 2.6.1).
const SHA256_OID: &str = "2.16.840.1.101.3.4.2.1";

/// Most certificates of a document: nuget.org has had three in seven years (protocol fact 2.6.12).
pub const MAX_CERTIFICATES: usize = 256;

/// What becomes of the claim that every package of a repository is signed by it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Claim {
    /// As the upstream makes it: the feed is purely that upstream.
    AsUpstream,
    /// Never made: packages of others are among the feed's, and clients would refuse them (protocol fact 2.6.9).
    Never,
}

/// A repository's signatures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signatures {
    /// The certificates, in order.
    pub certificates: Vec<Certificate>,
    /// `allRepositorySigned`, and where it stands.
    all_signed: Option<(bool, Range<usize>)>,
}

impl Signatures {
    /// Whether the repository says that it signs every package.
    #[must_use]
    pub fn claims_all(&self) -> bool {
        self.all_signed.as_ref().is_some_and(|(claim, _)| *claim)
    }
}

/// A certificate that the document names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// Its SHA-256 in lower-case hex digits, by which it is told apart and checked.
    pub sha256: String,
    /// `contentUrl`: where it is, DER-encoded.
    pub url: String,
    /// Where the `contentUrl` stands in the text, quotes included.
    url_span: Range<usize>,
}

/// Reads a document.
///
/// # Errors
/// If `text` is no object with a boolean `allRepositorySigned` and an array `signingCertificates` of at most
/// [`MAX_CERTIFICATES`] objects, or one of them has no `contentUrl` or no SHA-256 fingerprint. The error counts
/// certificates from 1.
pub fn read(text: &str) -> Result<Signatures, ReadError> {
    let mut scanner = Scanner::new(WHAT, text);
    let (mut all_signed, mut certificates) = (None, None);
    scanner.object(|scanner, name| {
        match &*name {
            "allRepositorySigned" if scanner.peek()? == Kind::Bool => {
                let value = text_of_bool(scanner)?;
                all_signed = Some(value);
            }
            "signingCertificates" if scanner.peek()? == Kind::Array => {
                certificates = Some(read_certificates(scanner)?);
            }
            _ => {}
        }
        Ok(())
    })?;
    scanner.end()?;
    let missing = |problem: &str| ReadError {
        what: WHAT,
        at: None,
        problem: problem.to_owned(),
    };
    if all_signed.is_none() {
        return Err(missing(
            "expected a property \"allRepositorySigned\" that is true or false",
        ));
    }
    Ok(Signatures {
        certificates: certificates.ok_or_else(|| {
            missing("expected a property \"signingCertificates\" that is an array")
        })?,
        all_signed,
    })
}

/// A boolean and where it stands.
fn text_of_bool(scanner: &mut Scanner<'_>) -> Result<(bool, Range<usize>), ReadError> {
    let span = scanner.skip()?;
    // `true` is the shorter of the two.
    Ok((span.len() == "true".len(), span))
}

fn read_certificates(scanner: &mut Scanner<'_>) -> Result<Vec<Certificate>, ReadError> {
    let mut certificates = Vec::new();
    scanner.array(|scanner| {
        if certificates.len() == MAX_CERTIFICATES {
            let problem = format!("expected at most {MAX_CERTIFICATES} certificates, found more");
            return Err(scanner.error(problem));
        }
        let certificate = read_certificate(scanner, certificates.len() + 1)?;
        certificates.push(certificate);
        Ok(())
    })?;
    Ok(certificates)
}

fn read_certificate(scanner: &mut Scanner<'_>, number: usize) -> Result<Certificate, ReadError> {
    let (mut url, mut sha256) = (None, None);
    let span = scanner.object(|scanner, name| {
        match &*name {
            "contentUrl" => url = scanner.text()?,
            "fingerprints" if scanner.peek()? == Kind::Object => {
                scanner.object(|scanner, oid| {
                    if oid == SHA256_OID {
                        sha256 = scanner.text()?.map(|text| text.content.to_lowercase());
                    }
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    })?;
    let fault = |problem: &str| ReadError {
        what: WHAT,
        at: Some(span.start),
        problem: format!("certificate {number}: expected {problem}"),
    };
    let sha256 = sha256
        .filter(|hex| is_sha256(hex))
        .ok_or_else(|| fault("a SHA-256 fingerprint of 64 hex digits"))?;
    let url = url
        .filter(|url| super::service_index::is_url(&url.content))
        .ok_or_else(|| fault("a \"contentUrl\" that is an http or https URL"))?;
    Ok(Certificate {
        sha256,
        url: url.content.into_owned(),
        url_span: url.span,
    })
}

/// Whether `text` is a SHA-256 in lower-case hex digits.
#[must_use]
pub fn is_sha256(text: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    text.len() == 64 && text.bytes().all(is_hex)
}

/// Checks a certificate's bytes against its fingerprint, which is what makes it that certificate.
///
/// # Errors
/// What is wrong, in words.
pub fn check_certificate(bytes: &[u8], sha256: &str) -> Result<(), String> {
    let found = sha256_hex(bytes);
    if found == sha256 {
        Ok(())
    } else {
        Err(format!(
            "the certificate's SHA-256 is {found}, expected {sha256}"
        ))
    }
}

/// The document with another `contentUrl` for each certificate, as `url_of` gives it, and its claim treated so; every
/// other byte as it was.
///
/// # Errors
/// As [`read`].
pub fn render(
    text: &str,
    claim: Claim,
    url_of: impl Fn(&Certificate) -> String,
) -> Result<String, ReadError> {
    let signatures = read(text)?;
    let of_claim = match (claim, signatures.all_signed) {
        (Claim::Never, Some((true, span))) => Some((span, "false".to_owned())),
        _ => None,
    };
    let of_certificates = signatures.certificates.iter().map(|certificate| {
        let url = encode_string(&url_of(certificate));
        (certificate.url_span.clone(), url)
    });
    let mut edits: Vec<_> = of_certificates.chain(of_claim).collect();
    edits.sort_by_key(|(span, _)| span.start);
    Ok(splice(text, edits))
}

#[cfg(test)]
mod tests {
    //! Protocol facts 2.6.1, 2.6.9, and documents of `tests/data`.

    use super::*;

    const REAL: &str =
        include_str!("../../tests/data/samples/nuget.org/repository-signatures-client-suite.json");
    const HEX: &str = "3f9001ea83c560d712c24cf213c3d312cb3bff51ee89435d3430bd06b5d0eece";

    fn ours(certificate: &Certificate) -> String {
        format!("https://us/{}", certificate.sha256)
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let error = read(text).map_err(|error| error.to_string());
        assert_eq!(
            error,
            Err(format!("repository signatures: {expected}")),
            "{text}"
        );
    }

    #[test]
    fn only_the_addresses_of_certificates_change() {
        let url = "https://api.nuget.org/v3-index/repository-signatures/certificates/";
        let expected = REAL.replace(&format!("{url}{HEX}.crt"), &format!("https://us/{HEX}"));
        assert_ne!(expected, REAL);
        assert_eq!(
            render(REAL, Claim::AsUpstream, ours).as_deref(),
            Ok(&*expected)
        );
        // It makes no claim, so there is none to take back.
        assert_eq!(render(REAL, Claim::Never, ours).as_deref(), Ok(&*expected));
    }

    #[test]
    fn the_claim_is_taken_back_where_packages_of_others_are_offered() {
        for text in [
            r#"{"allRepositorySigned" : true, "signingCertificates":[],"x":true}"#,
            r#"{"x":true,"signingCertificates":[],"allRepositorySigned" : true}"#,
        ] {
            let expected = text.replace(" : true", " : false");
            assert_eq!(render(text, Claim::AsUpstream, ours).as_deref(), Ok(text));
            assert_eq!(render(text, Claim::Never, ours).as_deref(), Ok(&*expected));
        }
    }

    #[test]
    fn fingerprints_are_compared_in_lower_case() {
        let text = REAL.replace(HEX, &HEX.to_uppercase());
        let signatures = read(&text).expect("a document");
        assert_eq!(signatures.certificates[0].sha256, HEX);
    }

    #[test]
    fn a_certificate_is_the_one_that_its_fingerprint_names() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(check_certificate(b"", empty), Ok(()));
        let error = check_certificate(b"x", empty).expect_err("another");
        assert!(error.ends_with(&format!("expected {empty}")), "{error}");
    }

    #[test]
    fn refuses_what_is_no_such_document() {
        let flag = "expected a property \"allRepositorySigned\" that is true or false";
        check_refused(r#"{"signingCertificates":[]}"#, flag);
        check_refused(
            r#"{"allRepositorySigned":"true","signingCertificates":[]}"#,
            flag,
        );
        check_refused(
            r#"{"allRepositorySigned":true}"#,
            "expected a property \"signingCertificates\" that is an array",
        );
        check_refused("[]", "at byte 0: expected an object, found '['");
        let certificate = |text: &str| {
            format!(r#"{{"allRepositorySigned":true,"signingCertificates":[{text}]}}"#)
        };
        let fingerprint = format!(r#""fingerprints":{{"{SHA256_OID}":"{HEX}"}}"#);
        check_refused(
            &certificate(r#"{"contentUrl":"https://h/","fingerprints":{"1.2":"ab"}}"#),
            "at byte 51: certificate 1: expected a SHA-256 fingerprint of 64 hex digits",
        );
        for url in ["", r#","contentUrl":"/relative""#] {
            check_refused(
                &certificate(&format!("{{{fingerprint}{url}}}")),
                "at byte 51: certificate 1: expected a \"contentUrl\" that is an http or https URL",
            );
        }
        let one = format!(r#"{{{fingerprint},"contentUrl":"https://h/"}}"#);
        let many = certificate(&vec![one; MAX_CERTIFICATES + 1].join(","));
        let error = read(&many).expect_err("too many");
        assert_eq!(
            error.problem,
            "expected at most 256 certificates, found more"
        );
    }
}
