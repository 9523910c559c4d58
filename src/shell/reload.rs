//! Reload: the configuration is read whole, as at start, and what can change while running is obeyed.
//!
//! Flags and environment are those of the start: nobody can change them for a running process. Only the file, and the
//! files that it names, are read anew. A configuration with a problem changes nothing.

use std::sync::Arc;

use sluice::access::Guard;
use sluice::config::{self, Arguments, Change, Comparison, Config, Environment};
use sluice::proxy::Proxy;
use sluice::server::reload::{Orders, Report};
use sluice::server::tls::{Certificates, Pair};
use sluice::store::Store;
use sluice::tasks::Tasks;
use sluice::telemetry::Log;
use sluice::upstream::Upstream;

/// Where the configuration of this process comes from.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) arguments: Arguments,
    pub(crate) environment: Environment,
    /// What limits are lowered to.
    pub(crate) max_open_files: Option<u64>,
}

/// Everything that a reload changes.
#[derive(Debug)]
pub(crate) struct Reload {
    pub(crate) sources: Arc<Sources>,
    /// What the process obeys.
    pub(crate) running: Config,
    pub(crate) certificates: Option<Certificates>,
    pub(crate) guard: Guard,
    pub(crate) log: Log,
    pub(crate) proxy: Proxy,
    pub(crate) store: Store,
    pub(crate) tasks: Tasks,
    pub(crate) upstream: Upstream,
}

impl Reload {
    /// Reloads as ordered until draining begins.
    pub(crate) async fn obey(mut self, mut orders: Orders) {
        let tasks = self.tasks.clone();
        let obey = async {
            while let Some(waiting) = orders.next().await {
                waiting.answer(&self.reload().await);
            }
        };
        tokio::select! {
            () = obey => {}
            () = tasks.draining() => {}
        }
    }

    async fn reload(&mut self) -> Report {
        let sources = Arc::clone(&self.sources);
        let read = move || {
            let mut config = config::load(&sources.arguments, &sources.environment)?;
            config::fit(&mut config, sources.max_open_files);
            Ok(config)
        };
        let loaded: Result<Config, config::Problems> =
            match self.tasks.blocking("read configuration", read).await {
                Ok(loaded) => loaded,
                Err(error) => return refused(vec![format!("reading it failed: {error}")]),
            };
        let mut comparison = match loaded {
            Ok(loaded) => config::compare(&self.running, loaded),
            Err(problems) => {
                return refused(problems.list().iter().map(ToString::to_string).collect());
            }
        };
        let guard = self.guard.clone();
        let prepared = match guard.prepare(comparison.config.access.clone()).await {
            Ok(prepared) => prepared,
            Err(problems) => return refused(problems.0.iter().map(ToString::to_string).collect()),
        };
        if let Err(error) = self.proxy.reload(comparison.config.proxy.clone()) {
            return refused(vec![error.to_string()]);
        }
        prepared.obey();
        self.upstream.reload(comparison.config.upstream.clone());
        self.store.reload(&comparison.config.store).await;
        if let Some(change) = self.certificate(&comparison.config).await {
            comparison.changed.push(change);
        }
        if self.running.telemetry.log != comparison.config.telemetry.log {
            self.log.set_filter(&comparison.config.telemetry.log);
        }
        let report = obeyed(&comparison);
        self.running = comparison.config;
        report
    }

    /// Takes up the certificate of this configuration, in whatever file it is now; says what came of it.
    async fn certificate(&self, config: &Config) -> Option<Change> {
        let certificates = self.certificates.as_ref()?;
        let before = certificates.pair();
        let settings = &config.server.tls;
        certificates.reload(settings, &self.tasks).await;
        let after = certificates.pair();
        let end = |pair: &Pair| {
            let end = httpdate::fmt_http_date(pair.expires_at());
            format!("the one that expires on {end}")
        };
        (!Arc::ptr_eq(&before, &after)).then(|| Change::Setting {
            feed: None,
            name: "certificate",
            values: Some((end(&before), end(&after))),
        })
    }
}

fn refused(problems: Vec<String>) -> Report {
    for problem in &problems {
        tracing::error!(%problem, "the configuration is not reloaded");
    }
    Report {
        problems,
        ..Report::default()
    }
}

fn obeyed(comparison: &Comparison) -> Report {
    for change in &comparison.changed {
        tracing::info!(%change, "the configuration changed");
    }
    for change in &comparison.needs_restart {
        tracing::warn!(%change, "the configuration changed, which needs a restart");
    }
    tracing::info!(
        changed = comparison.changed.len(),
        needs_restart = comparison.needs_restart.len(),
        "the configuration was reloaded"
    );
    let all = |changes: &[Change]| changes.iter().map(Change::to_json).collect();
    Report {
        changed: all(&comparison.changed),
        needs_restart: all(&comparison.needs_restart),
        problems: Vec::new(),
    }
}
