//! The start-up self-check: fetches our own index as a client would and tells what a client would stumble over.
//!
//! It asks through `public_url` where that is set, else one of our listeners, and looks for links that lead past us or
//! down to http, and for a certificate chain that lacks its intermediate. It never delays the start and never fails it:
//! what it finds stands in the log and in `/readyz`.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_native_certs::load_native_certs;
use serde_json::{Value, json};

use super::tls::{CertificateDer, Certificates, known_roots};
use crate::proxy::own_index;
use crate::tasks::Tasks;
use crate::upstream::connect::{Connect, PrivateAddresses, Protocols, Target};
use crate::upstream::url::Origin;
use crate::upstream::way::Way;

/// How often it is tried: the upstream, the name or the reverse proxy may come up after us.
const MAX_ATTEMPTS: usize = 10;
/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(60);
/// Longest attempt: an index of which nothing is stored is held for `max_hold`, 15 s by default.
const LIMIT: Duration = Duration::from_secs(30);
/// Largest index: the largest seen has 10 KB.
const MAX_INDEX_BYTES: usize = 1 << 20;

/// What is checked, and with what.
#[derive(Clone)]
pub struct Subject {
    /// Where clients find the service index that is fetched: one that needs no credential, if there is one.
    pub index_url: String,
    /// The certificate that is served, if any.
    pub certificates: Option<Certificates>,
    /// Certificate authorities that are trusted besides the system's.
    pub roots: Vec<CertificateDer<'static>>,
    /// The value of `User-Agent`.
    pub user_agent: String,
}

/// The check and what it has found. Clones share it.
#[derive(Clone)]
pub struct SelfCheck {
    subject: Arc<Subject>,
    connector: Arc<dyn Connect>,
    tasks: Tasks,
    found: Arc<Mutex<Found>>,
}

/// How far the check has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    /// Our index asks for a credential, so that its links were not seen.
    Closed,
    /// It was given up: our index could not be fetched.
    Failed,
    /// Nothing is wrong.
    Passed,
    /// It is under way.
    #[default]
    Running,
    /// Something is wrong.
    Warned,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Failed => "failed",
            Self::Passed => "passed",
            Self::Running => "running",
            Self::Warned => "warned",
        }
    }
}

#[derive(Debug, Default)]
struct Found {
    state: State,
    /// Why our index could not be fetched the last time.
    failure: Option<String>,
    warnings: Vec<String>,
}

impl fmt::Debug for SelfCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfCheck")
            .field("index_url", &self.subject.index_url)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("index_url", &self.index_url)
            .finish_non_exhaustive()
    }
}

impl SelfCheck {
    /// A check that has yet to run.
    #[must_use]
    pub fn new(subject: Subject, connector: Arc<dyn Connect>, tasks: Tasks) -> Self {
        Self {
            subject: Arc::new(subject),
            connector,
            tasks,
            found: Arc::default(),
        }
    }

    /// What it has found, for `/readyz`.
    #[must_use]
    pub fn report(&self) -> Value {
        let found = self.found();
        json!({
            "state": found.state.word(),
            "url": self.url(),
            "failure": found.failure,
            "warnings": found.warnings,
        })
    }

    /// Checks, again and again for a while as long as our index cannot be fetched.
    pub async fn run(self) {
        if let Some(warning) = self.check_chain().await {
            self.warn(warning);
        }
        for attempt in 1..=MAX_ATTEMPTS {
            let checked = match tokio::time::timeout(LIMIT, self.fetch()).await {
                Ok(Ok(None)) => {
                    self.close();
                    return;
                }
                Ok(Ok(Some(body))) => own_index::inspect(&body, self.url())
                    .map_err(|why| format!("it is no service index: {why}")),
                Ok(Err(why)) => Err(why),
                Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
            };
            match checked {
                Ok(warnings) => {
                    warnings.into_iter().for_each(|warning| self.warn(warning));
                    self.pass();
                    return;
                }
                Err(why) => self.fail(why, attempt),
            }
            if attempt < MAX_ATTEMPTS {
                tokio::time::sleep(PAUSE).await;
            }
        }
        self.found().state = State::Failed;
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn url(&self) -> &str {
        &self.subject.index_url
    }

    fn warn(&self, warning: String) {
        tracing::warn!(url = self.url(), "self-check: {warning}");
        self.found().warnings.push(warning);
    }

    fn pass(&self) {
        let mut found = self.found();
        found.failure = None;
        found.state = if found.warnings.is_empty() {
            tracing::info!(url = self.url(), "self-check: our index is as it should be");
            State::Passed
        } else {
            State::Warned
        };
    }

    fn close(&self) {
        tracing::info!(
            url = self.url(),
            "self-check: our index asks for a credential, so that its links are not checked"
        );
        let mut found = self.found();
        (found.failure, found.state) = (None, State::Closed);
    }

    /// The first failure is told; the last one stands in the report.
    fn fail(&self, why: String, attempt: usize) {
        if attempt == 1 {
            let url = self.url();
            tracing::warn!(
                url,
                "self-check: our index cannot be fetched as a client would: {why}"
            );
        }
        self.found().failure = Some(why);
    }

    /// What is missing of the chain that we send, in words.
    async fn check_chain(&self) -> Option<String> {
        let pair = self.subject.certificates.as_ref()?.pair();
        let roots = self.subject.roots.clone();
        let check = move || {
            let mut all = load_native_certs().certs;
            all.extend(roots);
            pair.missing_issuer(&known_roots(&all))
        };
        let issuer = match self.tasks.blocking("root certificates", check).await {
            Ok(missing) => missing?,
            Err(error) => {
                tracing::warn!(%error, "self-check: the certificate's chain was not checked");
                return None;
            }
        };
        Some(format!(
            "the certificate's issuer {issuer:?} is neither sent nor a root known here; clients refuse the certificate \
             unless they know it: append it to the certificate's file, or name it in ca_files if it is a root of your own"
        ))
    }

    /// The bytes of our index; `None` if it asks for a credential.
    async fn fetch(&self) -> Result<Option<Bytes>, String> {
        let url = self.url();
        let uri: Uri = url.parse().map_err(|_| format!("{url:?} is no URL"))?;
        let target = Target {
            origin: Origin::of(url).map_err(|error| error.to_string())?,
            private: PrivateAddresses::Allow,
            protocols: Protocols::Http1,
            // As somebody next to us: whatever leads to upstreams leads away from here.
            way: Way::default(),
        };
        let connection = self.connector.connect(target).await;
        let connection = connection.map_err(|error| error.to_string())?;
        let (mut sender, serving) = http1::handshake(TokioIo::new(connection.stream))
            .await
            .map_err(|error| error.to_string())?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let request = Request::get(uri.path())
            .header(HOST, authority)
            .header(USER_AGENT, &self.subject.user_agent)
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let exchange = async {
            let answer = sender.send_request(request).await;
            let (parts, body) = answer.map_err(|error| error.to_string())?.into_parts();
            match parts.status {
                StatusCode::OK => {}
                StatusCode::UNAUTHORIZED => return Ok(None),
                status => return Err(format!("the answer is {status}")),
            }
            let body = Limited::new(body, MAX_INDEX_BYTES).collect().await;
            body.map(|body| Some(body.to_bytes()))
                .map_err(|error| error.to_string())
        };
        tokio::select! {
            answer = exchange => answer,
            never = outlast(serving) => match never {},
        }
    }
}

/// Drives a connection. When it ends, the exchange on it finds out by itself, so this does not.
async fn outlast(connection: impl Future<Output = hyper::Result<()>>) -> Infallible {
    let _ = connection.await;
    std::future::pending().await
}

#[cfg(test)]
mod tests;
