//! Pairs from PEM and PKCS#12 files, what can be wrong with them, their chain, their end, and changed files.

pub(crate) mod made;
mod watch;

use std::collections::HashSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, LocalKeyId, PrivateKey,
    PrivateKeyChain,
};

use super::*;
use crate::clock::Clock;
use made::{Authority, Leaf, pem, write};

/// 2026-11-10T12:00:00Z.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_794_312_000)
}

#[track_caller]
fn fault(settings: &Settings) -> Fault {
    let faults = load(settings, now()).expect_err("a fault");
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.into_iter().next().unwrap()
}

#[track_caller]
fn check_fault(settings: &Settings, setting: &str, expected: &str) {
    let fault = fault(settings);
    assert_eq!(fault.setting, setting, "{fault}");
    assert!(fault.expected.starts_with(expected), "{fault}");
}

#[test]
fn a_pem_pair_is_taken_with_its_chain_name_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::root("Root");
    let middle = root.intermediate("Middle");
    let leaf = middle.leaf_until(&["*.example", "packages.example"], (2027, 1, 1));
    let pair = load(&pem(folder.path(), &leaf, &[&middle]), now()).unwrap();
    assert_eq!(pair.name(), Some("packages.example"));
    let end = UNIX_EPOCH + Duration::from_secs(1_798_761_600);
    assert_eq!(pair.expires_at(), end);
    assert_eq!(pair.certified.cert, [leaf.der.clone(), middle.der.clone()]);
    let address = load(&pem(folder.path(), &root.leaf(&["::1"]), &[]), now()).unwrap();
    assert_eq!(address.name(), Some("[::1]"));
}

#[test]
fn whatever_is_wrong_with_pem_files_is_told_by_setting_and_file() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::root("Root");
    let leaf = root.leaf(&["a.example"]);
    let good = pem(folder.path(), &leaf, &[]);
    let with = |certificate: &str, key: &str| {
        let mut settings = good.clone();
        if !certificate.is_empty() {
            settings.certificate = Some(write(folder.path(), "c.pem", certificate));
        }
        if !key.is_empty() {
            settings.key = Some(write(folder.path(), "k.pem", key));
        }
        settings
    };
    let key = leaf.key.serialize_pem();
    check_fault(
        &with("nothing", ""),
        "tls_certificate",
        "a PEM file with a certificate",
    );
    check_fault(
        &with(&key, ""),
        "tls_certificate",
        "a PEM file with a certificate",
    );
    check_fault(
        &with("", "nothing"),
        "tls_key",
        "a PEM file with a private key",
    );
    check_fault(
        &with("", &leaf.pem),
        "tls_key",
        "a PEM file with a private key",
    );
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    check_fault(
        &with("", encrypted),
        "tls_key",
        "a private key without a password",
    );
    let other = root.leaf(&["b.example"]);
    let foreign = with("", &other.key.serialize_pem());
    check_fault(
        &foreign,
        "tls_certificate",
        "a certificate that the private key belongs to",
    );
    let reversed = with(&format!("{}{}", root.pem, leaf.pem), "");
    check_fault(
        &reversed,
        "tls_certificate",
        "the certificate of the private key first (it is number 2)",
    );
    let broken = with(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "",
    );
    check_fault(
        &broken,
        "tls_certificate",
        "X.509 certificates, which number 1 is not",
    );
    let old = root.leaf_until(&["a.example"], (2026, 11, 10));
    let expired = with(&old.pem, &old.key.serialize_pem());
    check_fault(
        &expired,
        "tls_certificate",
        "a certificate that is not over (it is since Tue, 10 Nov 2026",
    );
    let both = load(&with("nothing", "nothing"), now()).expect_err("faults");
    assert_eq!(both.len(), 2, "{both:?}");

    let nowhere = Settings {
        certificate: Some("/nowhere/chain.pem".into()),
        ..good.clone()
    };
    let missing = fault(&nowhere);
    assert_eq!(missing.found.as_deref(), Some("/nowhere/chain.pem"));
    assert!(
        missing.expected.starts_with("a readable file ("),
        "{missing}"
    );
    let large = with(&"x".repeat((1 << 20) + 1), "");
    assert!(fault(&large).expected.contains("longer than 1048576 bytes"));
}

#[test]
fn a_part_of_a_pair_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let leaf = Authority::root("Root").leaf(&["a.example"]);
    let good = pem(folder.path(), &leaf, &[]);
    let keyless = Settings {
        key: None,
        ..good.clone()
    };
    check_fault(&keyless, "tls_key", "tls_certificate and tls_key, both");
    let lone = Settings {
        certificate: None,
        ..good.clone()
    };
    check_fault(
        &lone,
        "tls_certificate",
        "tls_certificate and tls_key, both",
    );
    let neither = Settings {
        certificate: None,
        key: None,
        ..good.clone()
    };
    check_fault(
        &neither,
        "tls_listen",
        "tls_certificate and tls_key, or tls_pkcs12",
    );
}

/// A PKCS#12 file of this leaf, the certificates above it in the wrong order.
fn pkcs12(
    folder: &Path,
    leaf: &Leaf,
    above: &[&Authority],
    password: &str,
    how: EncryptionAlgorithm,
) -> Settings {
    let certificate = |der: &[u8]| Certificate::from_der(der).unwrap();
    let mut chain = vec![certificate(&leaf.der)];
    chain.extend(above.iter().map(|one| certificate(&one.der)));
    let key = PrivateKey::from_der(&leaf.key.serialize_der()).unwrap();
    let chain = PrivateKeyChain::new(LocalKeyId(vec![1]), key, chain);
    let mut store = KeyStore::new();
    store.add_entry("server", KeyStoreEntry::PrivateKeyChain(chain));
    let writer = store.writer(password).encryption_algorithm(how);
    Settings {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        pkcs12: Some(write(folder, "server.pfx", writer.write().unwrap())),
        pkcs12_password: Some(Password::Value(password.to_owned())),
        ..Settings::default()
    }
}

#[test]
fn a_pkcs12_file_is_opened_by_its_password_and_its_chain_put_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::root("Root");
    let outer = root.intermediate("Outer");
    let inner = outer.intermediate("Inner");
    let leaf = inner.leaf(&["packages.example"]);
    for how in [
        EncryptionAlgorithm::PbeWithHmacSha256AndAes256,
        EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc,
    ] {
        let settings = pkcs12(
            folder.path(),
            &leaf,
            &[&root, &outer, &inner],
            "hunter2",
            how,
        );
        let pair = load(&settings, now()).unwrap();
        // The root is left out: a client has it or will not take it from us.
        let chain = [leaf.der.clone(), inner.der.clone(), outer.der.clone()];
        assert_eq!(pair.certified.cert, chain, "{how:?}");
        let file = write(folder.path(), "password", "hunter2\r\n");
        let from_file = Settings {
            pkcs12_password: Some(Password::File(file)),
            ..settings.clone()
        };
        assert!(load(&from_file, now()).is_ok());
        for wrong in [None, Some(Password::Value("hunter3".to_owned()))] {
            let settings = Settings {
                pkcs12_password: wrong,
                ..settings.clone()
            };
            check_fault(
                &settings,
                "tls_pkcs12",
                "a PKCS#12 file that tls_pkcs12_password opens",
            );
            let shown = format!("{} {settings:?}", fault(&settings));
            assert!(!shown.contains("hunter"), "{shown}");
        }
    }
}

#[test]
fn whatever_is_wrong_with_a_pkcs12_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::root("Root");
    let how = EncryptionAlgorithm::PbeWithHmacSha256AndAes256;
    let old = root.leaf_until(&["a.example"], (2026, 1, 1));
    let expired = pkcs12(folder.path(), &old, &[], "p", how);
    check_fault(&expired, "tls_pkcs12", "a certificate that is not over");
    let empty = KeyStore::new().writer("p").write().unwrap();
    let with = |file: &str, password: Password| Settings {
        pkcs12: Some(folder.path().join(file)),
        pkcs12_password: Some(password),
        ..expired.clone()
    };
    let value = Password::Value("p".to_owned());
    write(folder.path(), "empty.pfx", empty);
    check_fault(
        &with("empty.pfx", value.clone()),
        "tls_pkcs12",
        "a PKCS#12 file with a private key",
    );
    write(folder.path(), "text.pfx", "text");
    check_fault(
        &with("text.pfx", value.clone()),
        "tls_pkcs12",
        "a PKCS#12 file that",
    );
    check_fault(
        &with("none.pfx", value.clone()),
        "tls_pkcs12",
        "a readable file",
    );
    let nowhere = Password::File("/nowhere/password".into());
    check_fault(
        &with("server.pfx", nowhere),
        "tls_pkcs12_password",
        "a readable file",
    );
    let unset = Password::Environment {
        name: "PFX".to_owned(),
        value: None,
    };
    check_fault(
        &with("server.pfx", unset),
        "tls_pkcs12_password",
        "an environment variable",
    );
    let both = Settings {
        key: Some("key.pem".into()),
        ..with("server.pfx", value)
    };
    check_fault(&both, "tls_pkcs12", "only one of");
}

#[test]
fn an_issuer_that_is_neither_sent_nor_known_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let root = Authority::root("Root");
    let middle = root.intermediate("Middle");
    let leaf = middle.leaf(&["a.example"]);
    let (nothing, known) = (HashSet::new(), known_roots(std::slice::from_ref(&root.der)));
    let alone = load(&pem(folder.path(), &leaf, &[]), now()).unwrap();
    assert_eq!(alone.missing_issuer(&known).as_deref(), Some("CN=Middle"));
    let whole = load(&pem(folder.path(), &leaf, &[&middle]), now()).unwrap();
    assert_eq!(whole.missing_issuer(&known), None);
    assert_eq!(whole.missing_issuer(&nothing).as_deref(), Some("CN=Root"));
    let with_root = load(&pem(folder.path(), &leaf, &[&middle, &root]), now()).unwrap();
    assert_eq!(with_root.missing_issuer(&nothing), None);
    let itself = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let own = Settings {
        certificate: Some(write(folder.path(), "c.pem", itself.cert.pem())),
        key: Some(write(
            folder.path(),
            "k.pem",
            itself.signing_key.serialize_pem(),
        )),
        ..Settings::default()
    };
    assert_eq!(load(&own, now()).unwrap().missing_issuer(&nothing), None);
}

#[test]
fn without_addresses_nothing_is_read() {
    let settings = Settings {
        certificate: Some("/nowhere".into()),
        ..Settings::default()
    };
    let opened = Certificates::open(&settings, &Clock::system());
    assert!(matches!(opened, Ok(None)), "{opened:?}");
}
