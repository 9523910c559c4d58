//! TLS towards clients: settings, the certificate and its key, taking them up again when their files change.
//!
//! [`load()`] reads and checks a pair; [`Certificates`] holds the one in use and watches its files. It refuses a pair that
//! no client could use, at start and later: a new one that is wrong leaves the old one in place.

mod certificates;
mod load;
mod pair;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use certificates::Certificates;
pub use load::{load, load_now};
pub use pair::{Pair, known_roots};
pub use rustls::pki_types::CertificateDer;

/// Where TLS is served and with what. Either `certificate` and `key`, or `pkcs12`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Addresses for clients that speak TLS.
    pub listen: Vec<SocketAddr>,
    /// PEM file: the certificate first, then its intermediates.
    pub certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key; may be the same file.
    pub key: Option<PathBuf>,
    /// PKCS#12 file with key and chain.
    pub pkcs12: Option<PathBuf>,
    /// What that is encrypted with; none is the empty password.
    pub pkcs12_password: Option<Password>,
    /// Longest handshake of a client.
    pub handshake_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            certificate: None,
            key: None,
            pkcs12: None,
            pkcs12_password: None,
            // Two round trips and one signature; a client far away on a bad line takes a few seconds.
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// The password of a PKCS#12 file.
#[derive(Clone, Eq, PartialEq)]
pub enum Password {
    /// In an environment variable.
    Environment {
        /// Its name.
        name: String,
        /// Its value, filled in by whoever reads the environment; `None` if it is not set.
        value: Option<String>,
    },
    /// In a file, without the line break at its end; read again together with the PKCS#12 file.
    File(PathBuf),
    /// As it was given.
    Value(String),
}

impl Password {
    /// The file that it is in, if it is in one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Environment { .. } | Self::Value(_) => None,
        }
    }
}

/// Names the place of the password and never the password.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment { name, .. } => write!(f, "Environment({name})"),
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Value(_) => f.write_str("Value(…)"),
        }
    }
}

/// What is wrong with a setting or the file that it names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// The setting.
    pub setting: &'static str,
    /// The file or variable that it names.
    pub found: Option<String>,
    /// What was expected.
    pub expected: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.setting)?;
        if let Some(found) = &self.found {
            write!(f, " is {found:?}")?;
        }
        write!(f, ": expected {}", self.expected)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
pub(crate) mod tests;
