//! TLS to upstreams: the system's roots and those of the configuration, a certificate of ours where a feed has one.
//!
//! Verification is the TLS library's own. What is added is a name: an issuer that nobody trusts is told by it, since
//! "unknown issuer" alone leaves the user to look for it. It refuses to connect.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};
use tokio_rustls::TlsConnector;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::connect::{ConnectError, Protocols};
use super::way::Identity;
use crate::tasks::Tasks;

/// Everything that TLS connections are made with.
pub(super) struct Tls {
    /// One for each certificate of ours, of which there are at most as many as feeds.
    connectors: Mutex<HashMap<Option<Identity>, Connectors>>,
    verifier: Arc<Named>,
}

#[derive(Clone)]
struct Connectors {
    any: TlsConnector,
    http1: TlsConnector,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the system's roots, off the async threads, and adds these.
    pub(super) async fn load(
        extra_roots: Vec<CertificateDer<'static>>,
        tasks: &Tasks,
    ) -> Result<Self, ConnectError> {
        let loaded = tasks
            .blocking("root certificates", rustls_native_certs::load_native_certs)
            .await
            .map_err(|error| ConnectError::Tls(error.to_string()))?;
        for error in &loaded.errors {
            tracing::warn!(%error, "a root certificate of the system was not read");
        }
        let mut roots = RootCertStore::empty();
        let all = loaded.certs.into_iter().chain(extra_roots);
        let (usable, ignored) = roots.add_parsable_certificates(all);
        tracing::debug!(usable, ignored, "root certificates read");
        if usable == 0 {
            let why = "the system has no root certificates, and ca_files names none";
            return Err(ConnectError::Tls(why.to_owned()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| ConnectError::Tls(error.to_string()))?;
        Ok(Self {
            connectors: Mutex::default(),
            verifier: Arc::new(Named { inner }),
        })
    }

    /// What makes connections that speak these protocols and show this certificate when they are asked for one.
    pub(super) fn connector(
        &self,
        identity: Option<&Identity>,
        protocols: Protocols,
    ) -> Result<TlsConnector, ConnectError> {
        let mut connectors = self
            .connectors
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let key = identity.cloned();
        let made = match connectors.get(&key) {
            Some(made) => made.clone(),
            None => {
                let made = Connectors {
                    any: self.make(identity, &[b"h2", b"http/1.1"])?,
                    http1: self.make(identity, &[b"http/1.1"])?,
                };
                connectors.insert(key, made.clone());
                made
            }
        };
        Ok(match protocols {
            Protocols::Any => made.any,
            Protocols::Http1 => made.http1,
        })
    }

    fn make(
        &self,
        identity: Option<&Identity>,
        protocols: &[&[u8]],
    ) -> Result<TlsConnector, ConnectError> {
        let wrong = |error: rustls::Error| ConnectError::Tls(error.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(wrong)?
            .dangerous()
            .with_custom_certificate_verifier(
                Arc::clone(&self.verifier) as Arc<dyn ServerCertVerifier>
            );
        let mut config = match identity {
            Some(identity) => builder
                .with_client_auth_cert(identity.chain(), identity.key())
                .map_err(wrong)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// A wrong certificate or protocol is TLS's fault and stays; anything else is the connection's and may pass.
pub(super) fn error_of(error: &io::Error) -> ConnectError {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other)))) => {
            match other.downcast_ref::<UnknownIssuer>() {
                Some(UnknownIssuer(name)) => ConnectError::UnknownIssuer(name.clone()),
                None => ConnectError::Tls(error.to_string()),
            }
        }
        Some(_) => ConnectError::Tls(error.to_string()),
        None => ConnectError::Failed(error.to_string()),
    }
}

/// Verifies as the library does, and names the issuer that is unknown.
#[derive(Debug)]
struct Named {
    inner: Arc<WebPkiServerVerifier>,
}

/// An issuer that nobody trusts, by its distinguished name.
#[derive(Debug)]
struct UnknownIssuer(String);

impl fmt::Display for UnknownIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown issuer {}", self.0)
    }
}

impl std::error::Error for UnknownIssuer {}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        verified.map_err(|error| match error {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                let name = issuer_of(intermediates.last().unwrap_or(end_entity));
                let named = OtherError(Arc::new(UnknownIssuer(name)));
                rustls::Error::InvalidCertificate(CertificateError::Other(named))
            }
            other => other,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Who signed a certificate, as RFC 4514 writes it.
fn issuer_of(certificate: &CertificateDer<'_>) -> String {
    match Certificate::from_der(certificate) {
        Ok(certificate) => certificate.tbs_certificate().issuer().to_string(),
        Err(_) => "without a readable name".to_owned(),
    }
}
