//! Files → a checked [`Pair`], every fault at once.
//!
//! Reading and checking are apart, so that files that have not changed are not checked again. It refuses to repeat what
//! the files hold.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::SystemTime;

use p12_keystore::Pkcs12Archive;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::pair::{Pair, PairError, ordered};
use super::{Fault, Password, Settings};
use crate::clock::Clock;

/// Longest file: a chain or a store takes some kilobytes, and a wrong path must not be read whole.
const MAX_FILE_BYTES: u64 = 1 << 20;

const CERTIFICATE: &str = "tls_certificate";
const KEY: &str = "tls_key";
const PKCS12: &str = "tls_pkcs12";
const PASSWORD: &str = "tls_pkcs12_password";

/// Reads and checks the pair that the settings name. It blocks.
///
/// # Errors
/// Every fault of settings and files.
pub fn load(settings: &Settings, now: SystemTime) -> Result<Pair, Vec<Fault>> {
    check(settings, &Contents::read(settings), now)
}

/// [`load`] as of now.
///
/// # Errors
/// Every fault of settings and files.
pub fn load_now(settings: &Settings) -> Result<Pair, Vec<Fault>> {
    load(settings, Clock::system().now())
}

/// What the files of a pair hold, or why one cannot be read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Contents {
    certificate: Option<Result<Vec<u8>, String>>,
    key: Option<Result<Vec<u8>, String>>,
    pkcs12: Option<Result<Vec<u8>, String>>,
    password: Option<Result<Vec<u8>, String>>,
}

impl Contents {
    /// Reads them. It blocks.
    pub(super) fn read(settings: &Settings) -> Self {
        let password = settings.pkcs12_password.as_ref();
        Self {
            certificate: settings.certificate.as_deref().map(read),
            key: settings.key.as_deref().map(read),
            pkcs12: settings.pkcs12.as_deref().map(read),
            password: password.and_then(Password::file).map(read),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .and_then(|_| match u64::try_from(bytes.len()) {
            Ok(length) if length <= MAX_FILE_BYTES => Ok(bytes),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("longer than {MAX_FILE_BYTES} bytes"),
            )),
        })
        .map_err(|error| error.to_string())
}

/// Checks what was read.
pub(super) fn check(
    settings: &Settings,
    contents: &Contents,
    now: SystemTime,
) -> Result<Pair, Vec<Fault>> {
    let shape = |setting, expected: &str| {
        Err(vec![Fault {
            setting,
            found: None,
            expected: expected.to_owned(),
        }])
    };
    if settings.pkcs12.is_some() && (settings.certificate.is_some() || settings.key.is_some()) {
        return shape(
            PKCS12,
            "only one of tls_certificate with tls_key, and tls_pkcs12",
        );
    }
    let (chain, key, setting) = match (&contents.certificate, &contents.key, &contents.pkcs12) {
        (Some(certificate), Some(key), _) => {
            let (chain, key) = pem_pair(settings, certificate, key)?;
            (chain, key, CERTIFICATE)
        }
        (Some(_), None, _) => return shape(KEY, "tls_certificate and tls_key, both"),
        (None, Some(_), _) => return shape(CERTIFICATE, "tls_certificate and tls_key, both"),
        (None, None, Some(pkcs12)) => {
            let password = password(settings, contents).map_err(|fault| vec![fault])?;
            let (chain, key) =
                pkcs12_pair(settings, pkcs12, &password).map_err(|fault| vec![fault])?;
            (chain, key, PKCS12)
        }
        (None, None, None) => {
            return shape("tls_listen", "tls_certificate and tls_key, or tls_pkcs12");
        }
    };
    Pair::new(chain, key, now).map_err(|error| {
        let setting = match error {
            PairError::Key(_) if setting == CERTIFICATE => KEY,
            _ => setting,
        };
        vec![fault(settings, setting, error.to_string())]
    })
}

/// A fault of the file that a setting names.
fn fault(settings: &Settings, setting: &'static str, expected: String) -> Fault {
    let password = settings.pkcs12_password.as_ref();
    let path = match setting {
        CERTIFICATE => settings.certificate.as_deref(),
        KEY => settings.key.as_deref(),
        PASSWORD => password.and_then(Password::file),
        _ => settings.pkcs12.as_deref(),
    };
    Fault {
        setting,
        found: path.map(|path| path.display().to_string()),
        expected,
    }
}

fn pem_pair(
    settings: &Settings,
    certificate: &Result<Vec<u8>, String>,
    key: &Result<Vec<u8>, String>,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Vec<Fault>> {
    let readable = |error: &String| format!("a readable file ({error})");
    let chain = certificate.as_ref().map_err(readable).and_then(|bytes| {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
        match found {
            Ok(chain) if chain.is_empty() => Err("a PEM file with a certificate".to_owned()),
            Ok(chain) => Ok(chain),
            Err(error) => Err(format!("a PEM file ({error})")),
        }
    });
    let key = key.as_ref().map_err(readable).and_then(|bytes| {
        PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
            _ if memchr::memmem::find(bytes, b"ENCRYPTED PRIVATE KEY").is_some() => {
                "a private key without a password; a PKCS#12 file may have one".to_owned()
            }
            pem::Error::NoItemsFound => "a PEM file with a private key".to_owned(),
            error => format!("a PEM file with a private key ({error})"),
        })
    });
    match (chain, key) {
        (Ok(chain), Ok(key)) => Ok((chain, key)),
        (chain, key) => {
            let chain = chain.err().map(|error| fault(settings, CERTIFICATE, error));
            let key = key.err().map(|error| fault(settings, KEY, error));
            Err(chain.into_iter().chain(key).collect())
        }
    }
}

fn password(settings: &Settings, contents: &Contents) -> Result<String, Fault> {
    match (&settings.pkcs12_password, &contents.password) {
        (
            Some(
                Password::Value(value)
                | Password::Environment {
                    value: Some(value), ..
                },
            ),
            _,
        ) => Ok(value.clone()),
        (Some(Password::File(_)), Some(read)) => {
            let text = read
                .as_ref()
                .map_err(|error| format!("a readable file ({error})"))
                .and_then(|bytes| {
                    String::from_utf8(bytes.clone()).map_err(|_| "text in UTF-8".to_owned())
                });
            match text {
                Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(expected) => Err(fault(settings, PASSWORD, expected)),
            }
        }
        (Some(Password::Environment { name, value: None }), _) => Err(Fault {
            setting: PASSWORD,
            found: Some(name.clone()),
            expected: "an environment variable that is set".to_owned(),
        }),
        (Some(Password::File(_)) | None, _) => Ok(String::new()),
    }
}

fn pkcs12_pair(
    settings: &Settings,
    bytes: &Result<Vec<u8>, String>,
    password: &str,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Fault> {
    let wrong = |expected: String| fault(settings, PKCS12, expected);
    let bytes = bytes
        .as_ref()
        .map_err(|error| wrong(format!("a readable file ({error})")))?;
    let archive = Pkcs12Archive::from_pkcs12(bytes, password).map_err(|error| match error {
        p12_keystore::error::Error::MacError(_) => {
            wrong("a PKCS#12 file that tls_pkcs12_password opens".to_owned())
        }
        error => wrong(format!(
            "a PKCS#12 file that tls_pkcs12_password opens ({error})"
        )),
    })?;
    let Some(key) = archive.keys.first() else {
        return Err(wrong("a PKCS#12 file with a private key".to_owned()));
    };
    if archive.certs.is_empty() {
        return Err(wrong("a PKCS#12 file with a certificate".to_owned()));
    }
    let certificates = archive.certs.iter();
    let certificates = certificates.map(|bag| bag.cert.as_der().to_vec().into());
    let key = PrivatePkcs8KeyDer::from(key.key.as_der().to_vec()).into();
    Ok((ordered(certificates.collect(), &key), key))
}
