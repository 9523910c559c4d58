//! The pair in use: handed to every new connection, taken up anew when its files change, watched for its end.
//!
//! Files are looked at by their content, every few seconds: what replaces them (a rename, a copy, a symbolic link that is
//! turned) looks the same. Connections that are open go on with what they began with. It refuses to give up a pair that
//! works for one that does not.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::Mutex;
use tokio_rustls::TlsAcceptor;

use super::load::{Contents, check};
use super::{Fault, Pair, Settings};
use crate::clock::Clock;
use crate::tasks::Tasks;
use crate::telemetry::{Family, Kind, Telemetry};

/// Between two looks at the files: their owner waits no longer for a renewal, and four small reads cost nothing.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// How long before its end a certificate is warned of: what renews certificates by itself does so at that time at the
/// latest (ACME clients: a third of 90 days).
const WARNED_BEFORE: Duration = Duration::from_secs(30 * 86_400);

const DAY: Duration = Duration::from_secs(86_400);

const EXPIRY: Family = Family {
    name: "sluice_tls_certificate_expiry_seconds",
    help: "When the certificate in use expires, in seconds since 1970.",
    kind: Kind::Gauge,
};
const RELOADS: Family = Family {
    name: "sluice_tls_certificate_reloads_total",
    help: "Changed certificate files, taken up or found wrong.",
    kind: Kind::Counter,
};

/// The pair in use and how to get the next. Clones share it.
#[derive(Clone)]
pub struct Certificates {
    shared: Arc<Shared>,
}

struct Shared {
    current: Arc<Current>,
    acceptor: TlsAcceptor,
    /// One look at the files at a time.
    files: Mutex<Files>,
    clock: Clock,
    /// Changed files that were taken up.
    taken: AtomicU64,
    /// Changed files that were found wrong.
    failed: AtomicU64,
}

/// What rustls asks for each handshake.
#[derive(Debug)]
struct Current {
    pair: ArcSwap<Pair>,
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.pair.load().certified))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("expires_at", &self.pair().expires_at)
            .finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads the pair that the settings name; `None` if they serve TLS nowhere. It blocks.
    ///
    /// # Errors
    /// What is wrong with settings or files, or with TLS itself, in words.
    pub fn open(settings: &Settings, clock: &Clock) -> Result<Option<Self>, String> {
        if settings.listen.is_empty() {
            return Ok(None);
        }
        let taken = Contents::read(settings);
        let pair = check(settings, &taken, clock.now()).map_err(|faults| words(&faults))?;
        let current = Arc::new(Current {
            pair: ArcSwap::from_pointee(pair),
        });
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("cannot serve TLS: {error}"))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Current>::clone(&current));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Some(Self {
            shared: Arc::new(Shared {
                current,
                acceptor: TlsAcceptor::from(Arc::new(config)),
                files: Mutex::new(Files {
                    settings: settings.clone(),
                    taken,
                    wrong: None,
                }),
                clock: clock.clone(),
                taken: AtomicU64::new(0),
                failed: AtomicU64::new(0),
            }),
        }))
    }

    /// The pair in use.
    #[must_use]
    pub fn pair(&self) -> Arc<Pair> {
        self.shared.current.pair.load_full()
    }

    /// What accepts a handshake with the pair in use.
    pub(in crate::server) fn acceptor(&self) -> &TlsAcceptor {
        &self.shared.acceptor
    }

    /// Obeys other settings of the pair, and looks at the files that they name at once.
    pub async fn reload(&self, settings: &Settings, tasks: &Tasks) {
        let mut files = self.shared.files.lock().await;
        files.settings = settings.clone();
        self.look(&mut files, tasks).await;
    }

    /// Watches files and end of the pair, until draining begins.
    pub(in crate::server) fn watch(&self, telemetry: &Telemetry, tasks: &Tasks) {
        let shared = Arc::clone(&self.shared);
        telemetry.collect(move |samples| {
            let expiry = shared.current.pair.load().expires_at;
            let expiry = expiry.duration_since(UNIX_EPOCH).unwrap_or_default();
            samples.add(&EXPIRY, &[], expiry.as_secs());
            samples.add(
                &RELOADS,
                &[("result", "failed")],
                shared.failed.load(Relaxed),
            );
            samples.add(&RELOADS, &[("result", "taken")], shared.taken.load(Relaxed));
        });
        let (certificates, watching) = (self.clone(), tasks.clone());
        tasks.spawn("certificates", async move {
            let mut warned = None;
            loop {
                certificates.warn_of_end(&mut warned);
                tokio::select! {
                    () = tokio::time::sleep(LOOK_INTERVAL) => {}
                    () = watching.draining() => return,
                }
                let mut files = certificates.shared.files.lock().await;
                certificates.look(&mut files, &watching).await;
            }
        });
    }

    /// Looks at the files once.
    async fn look(&self, files: &mut Files, tasks: &Tasks) {
        let (settings, taken) = (files.settings.clone(), files.taken.clone());
        let now = self.shared.clock.now();
        let work = move || {
            let contents = Contents::read(&settings);
            let checked = (contents != taken).then(|| check(&settings, &contents, now));
            (contents, checked)
        };
        match tasks.blocking("certificate files", work).await {
            Ok((_, None)) => files.wrong = None,
            Ok((contents, Some(Ok(pair)))) => {
                (files.taken, files.wrong) = (contents, None);
                self.take(pair);
            }
            Ok((contents, Some(Err(faults)))) => {
                if files.is_to_be_told(contents) {
                    self.complain(&faults);
                }
            }
            Err(error) => tracing::warn!(%error, "the certificate's files could not be looked at"),
        }
    }

    fn take(&self, pair: Pair) {
        tracing::info!(
            expires = httpdate::fmt_http_date(pair.expires_at),
            "the certificate has changed and is in use"
        );
        self.shared.current.pair.store(Arc::new(pair));
        self.shared.taken.fetch_add(1, Relaxed);
    }

    fn complain(&self, faults: &[Fault]) {
        tracing::warn!(
            problem = words(faults),
            "the certificate's files have changed and are wrong; the old pair stays in use"
        );
        self.shared.failed.fetch_add(1, Relaxed);
    }

    /// Warns of the end of the pair in use, once a day.
    fn warn_of_end(&self, warned: &mut Option<Warned>) {
        let (now, end) = (self.shared.clock.now(), self.pair().expires_at);
        let left = end.duration_since(now).unwrap_or_default();
        let is_warned = warned
            .as_ref()
            .is_some_and(|warned| warned.end == end && self.shared.clock.since(warned.at) < DAY);
        if left > WARNED_BEFORE || is_warned {
            return;
        }
        *warned = Some(Warned { end, at: now });
        let (days, expires) = (left.as_secs() / DAY.as_secs(), httpdate::fmt_http_date(end));
        tracing::warn!(days, expires, "the certificate must be renewed");
    }
}

/// The end that was warned of last, and when.
struct Warned {
    end: SystemTime,
    at: SystemTime,
}

/// The files of the pair and what was found in them.
struct Files {
    settings: Settings,
    /// What they held that the pair in use was made of.
    taken: Contents,
    /// What they held when they were last found wrong.
    wrong: Option<(Contents, Told)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Told {
    No,
    Yes,
}

impl Files {
    /// Whether it is time to tell of these wrong contents: at the second look that finds the same, since certificate and
    /// key are written one after the other, and then no more.
    fn is_to_be_told(&mut self, contents: Contents) -> bool {
        let told = match &self.wrong {
            Some((before, told)) if *before == contents => Some(*told),
            Some(_) | None => None,
        };
        let now = if told.is_some() { Told::Yes } else { Told::No };
        self.wrong = Some((contents, now));
        told == Some(Told::No)
    }
}

/// The faults in one line.
fn words(faults: &[Fault]) -> String {
    let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
    all.join("; ")
}
