//! Orders to reload: where SIGHUP and the admin listener meet whoever reads the configuration.
//!
//! Whoever comes while a reload runs waits for the next, which serves all that wait: the one under way may have read the
//! configuration before it was changed. It refuses to know what a configuration is.

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

/// Orders that wait: as many as the admin listener has connections. A signal beyond them is served by theirs.
const MAX_WAITING: usize = super::MAX_ADMIN_CONNECTIONS;

/// What came of a reload.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// What changed, one object each.
    pub changed: Vec<Value>,
    /// What is configured otherwise now and waits for a restart, one object each.
    pub needs_restart: Vec<Value>,
    /// Why nothing changed.
    pub problems: Vec<String>,
}

impl Report {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "changed": self.changed,
            "needs_restart": self.needs_restart,
            "problems": self.problems,
        })
    }
}

/// Gives orders to reload. Clones give them to the same end.
#[derive(Clone, Debug)]
pub struct Reloader {
    orders: mpsc::Sender<oneshot::Sender<Report>>,
}

/// The orders that were given.
#[derive(Debug)]
pub struct Orders {
    orders: mpsc::Receiver<oneshot::Sender<Report>>,
}

/// Those who wait for one reload.
#[derive(Debug)]
pub struct Waiting {
    answers: Vec<oneshot::Sender<Report>>,
}

/// A way from those who order a reload to whoever does it.
#[must_use]
pub fn orders() -> (Reloader, Orders) {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    (Reloader { orders: sender }, Orders { orders: receiver })
}

impl Reloader {
    /// Orders a reload and waits for what comes of it; `None` if nobody reloads any more.
    pub(super) async fn reload(&self) -> Option<Report> {
        let (answer, report) = oneshot::channel();
        self.orders.send(answer).await.ok()?;
        report.await.ok()
    }

    /// Orders a reload. Where many orders wait already, theirs will do.
    pub(super) fn order(&self) {
        let (answer, _) = oneshot::channel();
        let _ = self.orders.try_send(answer);
    }
}

impl Orders {
    /// Waits for an order; those that wait beside it are served with it. `None` once nobody can give one.
    pub async fn next(&mut self) -> Option<Waiting> {
        let mut answers = vec![self.orders.recv().await?];
        while let Ok(answer) = self.orders.try_recv() {
            answers.push(answer);
        }
        Some(Waiting { answers })
    }
}

impl Waiting {
    /// Tells all of them.
    pub fn answer(self, report: &Report) {
        for answer in self.answers {
            // Who has left needs no answer.
            let _ = answer.send(report.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Tasks;

    fn report(problem: &str) -> Report {
        Report {
            problems: vec![problem.to_owned()],
            ..Report::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_during_a_reload_shares_the_next() {
        let (tasks, (reloader, mut orders)) = (Tasks::new(), orders());
        let asking = || {
            let reloader = reloader.clone();
            tasks.spawn("client", async move { reloader.reload().await })
        };
        let first = asking();
        let under_way = orders.next().await.unwrap();
        let later: Vec<_> = (0..5).map(|_| asking()).collect();
        reloader.order();
        tokio::task::yield_now().await;
        under_way.answer(&report("first"));
        orders.next().await.unwrap().answer(&report("second"));
        assert_eq!(first.await.unwrap(), Some(report("first")));
        for asked in later {
            assert_eq!(asked.await.unwrap(), Some(report("second")));
        }
        assert!(orders.orders.is_empty());
    }

    #[tokio::test]
    async fn signals_beyond_the_queue_are_served_by_it() {
        let (reloader, mut orders) = orders();
        for _ in 0..1000 {
            reloader.order();
        }
        assert_eq!(orders.next().await.unwrap().answers.len(), MAX_WAITING);
        drop(orders);
        assert_eq!(reloader.reload().await, None);
        reloader.order();
    }
}
