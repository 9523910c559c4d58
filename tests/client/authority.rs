//! A certificate authority of a test's own.

use crate::harness::Pair;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};

/// The authority.
pub(crate) struct Authority {
    /// Its certificate, for those who are to trust it.
    pub(crate) file: PathBuf,
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, whose files lie in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder can be made");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        let name = "Test Root";
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let file = folder.join("root.pem");
        std::fs::write(&file, certificate.pem()).expect("it can be written");
        Self {
            file,
            folder: folder.to_owned(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A new certificate for these addresses.
    pub(crate) fn certify(&self, addresses: &[&str]) -> Pair {
        let names: Vec<_> = addresses.iter().map(|&name| name.to_owned()).collect();
        let params = CertificateParams::new(names).expect("parameters");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let pair = Pair {
            certificate: self.folder.join("chain.pem"),
            key: self.folder.join("key.pem"),
        };
        std::fs::write(&pair.certificate, certificate.pem()).expect("it can be written");
        std::fs::write(&pair.key, key.serialize_pem()).expect("it can be written");
        pair
    }
}
