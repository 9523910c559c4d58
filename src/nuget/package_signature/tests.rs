//! Real signatures of nuget.org, and what was changed in them.

use std::io::Cursor;

use ::cms::content_info::ContentInfo;
use ::cms::signed_data::SignedData;
use x509_cert::der::{Decode as _, Encode as _};

use super::*;

/// Signed by its author, countersigned by nuget.org.
const PACKAGE: &[u8] = include_bytes!("../../../tests/data/signatures/xunit.core.2.4.1.nupkg");
/// Signed by nuget.org.
const REPOSITORY: &[u8] = include_bytes!("../../../tests/data/signatures/system.buffers.4.3.0.p7s");
/// The certificate of both, by its SHA-256: nuget.org's of 2018 to 2021.
const CERTIFICATE: &str = "0e5f38f57dc1bcc806d8494f4f90fbcedd988b46760709cbeec6f4219aa6157d";

fn listed() -> BTreeSet<String> {
    [CERTIFICATE.to_owned()].into()
}

#[track_caller]
fn check_fault(package: &[u8], expected: &str) {
    let fault = check(Cursor::new(package), &listed()).expect_err("a fault");
    assert_eq!(fault.to_string(), expected);
}

/// Where a text stands last in the package.
fn find(text: &[u8]) -> usize {
    memchr::memmem::rfind(PACKAGE, text).expect("it is there")
}

fn changed(at: usize) -> Vec<u8> {
    let mut package = PACKAGE.to_vec();
    package[at] ^= 1;
    package
}

#[test]
fn a_signature_by_a_listed_certificate_over_these_bytes_is_one() {
    check(Cursor::new(PACKAGE), &listed()).expect("signed");
    let fault = check(Cursor::new(PACKAGE), &BTreeSet::new()).expect_err("a fault");
    let expected = format!("its signer is not listed: certificate {CERTIFICATE}");
    assert_eq!(fault.to_string(), expected);
}

#[test]
fn a_repository_signs_by_itself_or_after_the_author() {
    let package = signed(Cursor::new(PACKAGE)).expect("a package");
    let after_author = package.expect("signed").signature;
    for signature in [REPOSITORY, &after_author] {
        let signer = read_alone(signature).expect("a signature");
        assert_eq!(signer.as_deref(), Some(CERTIFICATE));
    }
}

#[test]
fn not_a_byte_of_the_package_may_differ() {
    let another = "its signature is of another package";
    // In a file; in the directory's record of one, its time.
    check_fault(&changed(100), another);
    check_fault(&changed(find(b"_rels/.rels") - 34), another);
    // In the end record.
    let mut longer = PACKAGE.to_vec();
    let at = longer.len() - 2;
    longer[at] = 1;
    longer.push(b'x');
    check_fault(&longer, another);
}

#[test]
fn no_byte_of_the_signature_that_counts_may_differ() {
    let find = |wanted: &[u8]| memchr::memmem::find(REPOSITORY, wanted).expect("it is there");
    let message = ContentInfo::from_der(REPOSITORY).expect("a message");
    let data: SignedData = message.content.decode_as().expect("signed data");
    let signer = data.signer_infos.0.get(0).expect("a signer");
    let attributes = signer.signed_attrs.to_der().expect("attributes");
    // What is signed; the attributes behind their own tag; the signature.
    let parts = [
        (find(b"Version:1"), 50),
        (find(&attributes[4..]), attributes.len() - 4),
        (find(signer.signature.as_bytes()), 256),
    ];
    for (start, bytes) in parts {
        for at in (start..start + bytes).step_by(5) {
            let mut signature = REPOSITORY.to_vec();
            signature[at] ^= 0x40;
            let read = read_alone(&signature);
            assert!(read.is_err(), "byte {at}: {read:?}");
        }
    }
    let mut package = PACKAGE.to_vec();
    let hash = memchr::memmem::rfind(PACKAGE, b"-Hash:").expect("it is there");
    package[hash + 8] ^= 1;
    check_fault(&package, "its signature does not fit its certificate");
}

#[test]
fn what_has_no_signature_says_so() {
    let mut package = PACKAGE.to_vec();
    package[find(b".signature.p7s")] = b'x';
    check_fault(&package, "it has no signature");
    check_fault(b"no zip", "no zip archive, or a truncated one");
}
