//! Name look-ups: by the system's resolver, off the async threads, coalesced and remembered for a short while.
//!
//! A look-up belongs to nobody's connection: who gives up waiting leaves it running for the next. It refuses to keep a
//! failure.

use std::collections::HashMap;
use std::io;
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

/// Who knows names.
trait Book: std::fmt::Debug + Send + Sync {
    /// The addresses of a host; blocks for as long as that takes.
    fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
#[derive(Debug)]
struct System;

impl Book for System {
    fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = (host, 0).to_socket_addrs()?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// Looks names up.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    book: Arc<dyn Book>,
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
        Self::reading(Arc::new(System), clock, tasks)
    }

    fn reading(book: Arc<dyn Book>, clock: Clock, tasks: Tasks) -> Self {
        Self {
            book,
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
        let (book, name) = (Arc::clone(&self.book), host.clone());
        let answer = self
            .tasks
            .blocking("name look-up", move || book.addresses(&name))
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::time::{advance, timeout};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    type Answer = io::Result<Vec<IpAddr>>;

    /// Tells who is asked for, then says what it is told to.
    #[derive(Debug)]
    struct Scripted {
        asked: tokio::sync::mpsc::UnboundedSender<String>,
        says: Mutex<mpsc::Receiver<Answer>>,
    }

    impl Book for Scripted {
        fn addresses(&self, host: &str) -> Answer {
            self.asked.send(host.to_owned()).unwrap();
            self.says.lock().unwrap().recv().unwrap()
        }
    }

    /// A resolver, who was asked for, and where to say the answers.
    fn scripted() -> (
        Resolver,
        tokio::sync::mpsc::UnboundedReceiver<String>,
        mpsc::Sender<Answer>,
    ) {
        let (asked, asks) = tokio::sync::mpsc::unbounded_channel();
        let (say, says) = mpsc::channel();
        let book = Scripted {
            asked,
            says: Mutex::new(says),
        };
        let resolver = Resolver::reading(Arc::new(book), Clock::system(), Tasks::new());
        (resolver, asks, say)
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_the_look_up_to_the_next() {
        let (resolver, mut asks, say) = scripted();
        let limit = Duration::from_secs(3);
        let first = {
            let resolver = resolver.clone();
            let asks = async move { timeout(limit, resolver.look_up("a.test")).await.is_err() };
            Tasks::new().spawn("client", asks)
        };
        assert_eq!(asks.recv().await.unwrap(), "a.test");
        advance(limit).await;
        assert!(first.await.unwrap(), "it waits longer than its limit");

        let second = {
            let resolver = resolver.clone();
            let asks = async move { resolver.look_up("a.test").await };
            Tasks::new().spawn("client", asks)
        };
        tokio::task::yield_now().await;
        say.send(Ok(vec![HERE])).unwrap();
        assert_eq!(*second.await.unwrap().unwrap(), [HERE]);
        assert!(asks.try_recv().is_err(), "it was asked for twice");
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_remembered_for_thirty_seconds_and_failures_not_at_all() {
        let (resolver, mut asks, say) = scripted();
        for nothing in [Err(io::Error::other("no such name")), Ok(Vec::new())] {
            say.send(nothing).unwrap();
            let error = resolver.look_up("a.test").await.unwrap_err();
            assert!(matches!(error, ConnectError::NameNotFound), "{error}");
            assert_eq!(asks.recv().await.unwrap(), "a.test");
        }
        say.send(Ok(vec![HERE])).unwrap();
        for _ in 0..2 {
            assert_eq!(*resolver.look_up("a.test").await.unwrap(), [HERE]);
            advance(REMEMBERED - Duration::from_millis(1)).await;
            assert_eq!(*resolver.look_up("a.test").await.unwrap(), [HERE]);
            assert_eq!(asks.recv().await.unwrap(), "a.test");
            assert!(asks.try_recv().is_err(), "it was not remembered");
            advance(Duration::from_millis(1)).await;
            say.send(Ok(vec![HERE])).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_resolver_holds_sixteen_threads_and_no_literal() {
        let (resolver, mut asks, say) = scripted();
        let names = (0..=MAX_LOOK_UPS).map(|at| format!("{at}.test"));
        let waiting: Vec<_> = names
            .map(|name| {
                let resolver = resolver.clone();
                let asks = async move { resolver.look_up(&name).await.is_ok() };
                Tasks::new().spawn("client", asks)
            })
            .collect();
        for _ in 0..MAX_LOOK_UPS {
            asks.recv().await.unwrap();
        }
        assert_eq!(*resolver.look_up("192.0.2.7").await.unwrap(), [HERE]);
        assert!(asks.try_recv().is_err(), "one more is asked for");
        for _ in 0..=MAX_LOOK_UPS {
            say.send(Ok(vec![HERE])).unwrap();
        }
        for waits in waiting {
            assert!(waits.await.unwrap());
        }
    }
}
