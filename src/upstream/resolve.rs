//! Name look-ups: by the system's resolver, off the async threads, coalesced and remembered for a short while.
//!
//! A look-up belongs to nobody's connection: who gives up waiting leaves it running for the next. It refuses to keep a
//! failure.

use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::connect::ConnectError;
use crate::clock::Clock;
use crate::tasks::Tasks;

/// How long addresses are used without asking again. The system gives no time to live; this is below the shortest that
/// large CDNs hand out.
const REMEMBERED: Duration = Duration::from_secs(30);

/// The most look-ups at once. A dead resolver blocks each for tens of seconds, and the threads are shared.
const MAX_LOOK_UPS: usize = 16;

/// The most names remembered; redirects may bring many.
const MAX_NAMES: usize = 1024;

/// Looks names up.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    clock: Clock,
    names: Arc<Mutex<HashMap<String, Name>>>,
    permits: Arc<Semaphore>,
    tasks: Tasks,
}

#[derive(Debug)]
enum Name {
    Asked(watch::Receiver<Option<Found>>),
    Known(Arc<[IpAddr]>, Instant),
}

/// How a look-up ended; `None` if the name has no address.
#[derive(Clone, Debug)]
struct Found(Option<Arc<[IpAddr]>>);

impl Resolver {
    pub(super) fn new(clock: Clock, tasks: Tasks) -> Self {
        Self {
            clock,
            names: Arc::default(),
            permits: Arc::new(Semaphore::new(MAX_LOOK_UPS)),
            tasks,
        }
    }

    /// The addresses of a host, at least one. A literal is its own address.
    pub(super) async fn look_up(&self, host: &str) -> Result<Arc<[IpAddr]>, ConnectError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Arc::new([address]));
        }
        let mut asked = match self.known_or_asked(host) {
            Name::Known(addresses, _) => return Ok(addresses),
            Name::Asked(asked) => asked,
        };
        let found = asked
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|found| found.clone());
        match found {
            Some(Found(Some(addresses))) => Ok(addresses),
            Some(Found(None)) | None => Err(ConnectError::NameNotFound),
        }
    }

    fn known_or_asked(&self, host: &str) -> Name {
        let now = self.clock.instant();
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        match names.get(host) {
            Some(Name::Known(addresses, until)) if now < *until => {
                return Name::Known(addresses.clone(), *until);
            }
            Some(Name::Asked(asked)) => return Name::Asked(asked.clone()),
            Some(Name::Known(..)) | None => {}
        }
        if names.len() >= MAX_NAMES {
            names.retain(|_, name| match name {
                Name::Asked(_) => true,
                Name::Known(_, until) => now < *until,
            });
        }
        let (answer, asked) = watch::channel(None);
        if names.len() < MAX_NAMES {
            names.insert(host.to_owned(), Name::Asked(asked.clone()));
        }
        drop(names);
        let (resolver, host) = (self.clone(), host.to_owned());
        self.tasks.spawn("name look-up", async move {
            answer.send_replace(Some(resolver.ask(host).await));
        });
        Name::Asked(asked)
    }

    async fn ask(&self, host: String) -> Found {
        let permit = self.permits.acquire().await;
        let name = host.clone();
        let answer = self
            .tasks
            .blocking("name look-up", move || {
                (name.as_str(), 0)
                    .to_socket_addrs()
                    .map(|found| found.map(|address| address.ip()).collect::<Vec<_>>())
            })
            .await;
        drop(permit);
        let found = match answer {
            Ok(Ok(addresses)) if !addresses.is_empty() => Some(Arc::from(addresses)),
            Ok(Ok(_)) => None,
            Ok(Err(error)) => {
                tracing::debug!(host, %error, "name look-up failed");
                None
            }
            Err(error) => {
                tracing::warn!(host, %error, "name look-up died");
                None
            }
        };
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        match &found {
            None => {
                names.remove(&host);
            }
            Some(addresses) => {
                let until = self.clock.instant() + REMEMBERED;
                if names.contains_key(&host) {
                    names.insert(host, Name::Known(Arc::clone(addresses), until));
                }
            }
        }
        Found(found)
    }
}
