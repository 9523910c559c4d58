//! Certificates made for tests: an authority, intermediates and leaves, written as the files that settings name.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::CertificateDer;

use crate::server::tls::Settings;

/// Somebody who signs certificates.
pub(crate) struct Authority {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that is no authority, and its key.
pub(crate) struct Leaf {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) pem: String,
    pub(crate) key: KeyPair,
}

fn params_of_authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Authority {
    /// One that signed itself.
    pub(crate) fn root(name: &str) -> Self {
        let (params, key) = (params_of_authority(name), KeyPair::generate().unwrap());
        let made = params.self_signed(&key).unwrap();
        Self {
            der: made.der().clone(),
            pem: made.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// One that this one vouches for.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let (params, key) = (params_of_authority(name), KeyPair::generate().unwrap());
        let made = params.signed_by(&key, &self.issuer).unwrap();
        Self {
            der: made.der().clone(),
            pem: made.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for these names that is good for a long time.
    pub(crate) fn leaf(&self, names: &[&str]) -> Leaf {
        self.leaf_until(names, (2100, 1, 1))
    }

    /// A certificate for these names that ends on this day.
    pub(crate) fn leaf_until(&self, names: &[&str], (year, month, day): (i32, u8, u8)) -> Leaf {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "sluice test");
        params.not_after = date_time_ymd(year, month, day);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        Leaf {
            der: made.der().clone(),
            pem: made.pem(),
            key,
        }
    }
}

/// Writes a file and gives its path.
pub(crate) fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// Settings of a leaf and the certificates above it, written as PEM files.
pub(crate) fn pem(folder: &Path, leaf: &Leaf, above: &[&Authority]) -> Settings {
    let chain = above
        .iter()
        .fold(leaf.pem.clone(), |chain, one| chain + &one.pem);
    Settings {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        certificate: Some(write(folder, "chain.pem", chain)),
        key: Some(write(folder, "key.pem", leaf.key.serialize_pem())),
        ..Settings::default()
    }
}
