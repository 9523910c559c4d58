//! Upkeep of what is stored, by order of an operator: purge, trim, verify; of a running process or, offline, of a store that
//! nobody serves.
//!
//! An order is carried out to its end whether or not somebody listens, but for a verification. What comes of it is told as
//! JSON objects, one at a time: `progress` each second, `finding`, and at the end `done`. It refuses to know who may order.

mod order;
mod purge;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

pub use self::order::{Age, Order, Purge, Which, read_id, read_version};
use super::settings::{FeedSettings, Freshness, Settings};
use super::union::Records;
use super::{Proxy, Snapshot, beside};
use crate::clock::Clock;
use crate::store::{Finding, KeepUsedSince, Progress, Removed, Repair, Report, Serving, Store};

/// Objects that wait for whoever listens.
const MAX_WAITING: usize = 64;
/// How often progress is told.
const BEAT: Duration = Duration::from_secs(1);

/// Why an order is not carried out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OrderError {
    /// Another is being carried out.
    Busy,
    /// It cannot be: field, value and what was expected.
    Wrong(String),
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => {
                f.write_str("another purge, trim or verification is under way; try again later")
            }
            Self::Wrong(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for OrderError {}

/// A feed whose responses are kept.
#[derive(Clone, Debug)]
struct Kept {
    name: String,
    freshness: Freshness,
}

impl Kept {
    fn of(settings: &FeedSettings) -> Self {
        Self {
            name: settings.name.clone(),
            freshness: settings.freshness,
        }
    }

    /// Whether it is the feed of this name, or stands beside it.
    fn is_of(&self, feed: &str) -> bool {
        self.name.split(':').next() == Some(feed)
    }
}

/// A feed made of others, which keeps only who delivered what.
#[derive(Debug)]
struct Made {
    name: String,
    members: Vec<String>,
    records: Arc<Records>,
}

/// What orders are carried out on.
#[derive(Debug)]
pub struct Upkeep {
    store: Store,
    clock: Clock,
    /// Feeds with an upstream of their own, and what stands beside them.
    feeds: Vec<Kept>,
    unions: Vec<Made>,
    serving: Serving,
}

impl Upkeep {
    /// Of a store that nobody serves, with the feeds of these settings.
    #[must_use]
    pub fn offline(settings: &Settings, store: Store, clock: Clock) -> Self {
        let feeds = settings.feeds.iter();
        let mut kept: Vec<Kept> = feeds.clone().map(Kept::of).collect();
        let beside = feeds.flat_map(|feed| [beside::audit(feed), beside::symbols(feed)]);
        let beside = beside.chain([beside::tools(&settings.tools)]);
        kept.extend(beside.flatten().map(|feed| Kept::of(&feed)));
        let unions = settings.unions.iter().map(|union| Made {
            name: union.name.clone(),
            members: union.members.clone(),
            records: Arc::default(),
        });
        Self {
            store,
            clock,
            feeds: kept,
            unions: unions.collect(),
            serving: Serving::Nobody,
        }
    }

    /// Of a running process, as it is configured in this snapshot.
    fn of(snapshot: &Snapshot) -> Self {
        let feeds = snapshot.all_feeds().into_iter();
        let unions = snapshot.unions.iter().map(|union| Made {
            name: union.name.to_string(),
            members: union.member_names().map(str::to_owned).collect(),
            records: union.records(),
        });
        Self {
            store: snapshot.store.clone(),
            clock: snapshot.clock.clone(),
            feeds: feeds.map(|feed| Kept::of(&feed.settings)).collect(),
            unions: unions.collect(),
            serving: Serving::Requests,
        }
    }

    /// Whether an order makes sense here.
    ///
    /// # Errors
    /// Field, value and what was expected.
    pub fn check(&self, order: &Order) -> Result<(), String> {
        match order {
            Order::Purge(Purge { feed: Some(feed), .. }) => self.check_feed(feed),
            Order::Trim(KeepUsedSince::Start) if self.serving == Serving::Nobody => Err(
                "keep_used_since: expected a duration such as \"30d\" where no process runs, whose start \"start\" would be"
                    .to_owned(),
            ),
            Order::Purge(_) | Order::Trim(_) | Order::Verify(_) => Ok(()),
        }
    }

    fn check_feed(&self, name: &str) -> Result<(), String> {
        let feeds = self.feeds.iter().map(|feed| feed.name.as_str());
        let feeds = feeds.filter(|name| !name.contains(':'));
        let unions = self.unions.iter().map(|union| union.name.as_str());
        let known: Vec<&str> = feeds.chain(unions).collect();
        if known.contains(&name) {
            return Ok(());
        }
        let known = known.join(", ");
        Err(format!(
            "feed: expected one of {known}, which {name:?} is not"
        ))
    }

    /// Carries an order out. The last object that is told is what came of it.
    pub async fn carry_out(&self, order: &Order, told: &mpsc::Sender<Value>) {
        let progress = Progress::default();
        let done = match order {
            Order::Verify(repair) => {
                tokio::select! {
                    done = self.verify(*repair, told, &progress) => done,
                    // Nobody listens any more.
                    () = beat(told, &progress) => return,
                }
            }
            Order::Purge(purge) => beside_beat(self.purge(purge, &progress), told, &progress).await,
            Order::Trim(keep) => beside_beat(self.trim(*keep, &progress), told, &progress).await,
        };
        // Who has left needs no answer.
        let _ = told.send(json!({ "done": done })).await;
    }

    async fn trim(&self, keep: KeepUsedSince, progress: &Progress) -> Value {
        let removed = self.store.trim(keep, progress).await;
        tracing::info!(?keep, feeds = ?removed.feeds, "what was not used was trimmed");
        removed_json(&removed)
    }

    async fn verify(
        &self,
        repair: Repair,
        told: &mpsc::Sender<Value>,
        progress: &Progress,
    ) -> Value {
        let (findings, mut found) = mpsc::channel(MAX_WAITING);
        let verifying = async {
            let findings = findings;
            self.store
                .verify(repair, self.serving, &findings, progress)
                .await
        };
        let telling = async {
            while let Some(finding) = found.recv().await {
                if told
                    .send(json!({ "finding": finding_json(&finding) }))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        };
        let (report, ()) = tokio::join!(verifying, telling);
        if report.damaged > 0 {
            tracing::warn!(
                damaged = report.damaged,
                set_aside = report.set_aside,
                "a verification found damage"
            );
        }
        report_json(&report)
    }
}

impl Proxy {
    /// Carries an order out on this process; gives what is told of it.
    ///
    /// # Errors
    /// [`OrderError`]; nothing is done then.
    pub fn take_order(
        &self,
        name: &str,
        said: &Value,
    ) -> Result<mpsc::Receiver<Value>, OrderError> {
        let order = Order::read(name, said).map_err(OrderError::Wrong)?;
        let now = self.now();
        let upkeep = Upkeep::of(&now);
        upkeep.check(&order).map_err(OrderError::Wrong)?;
        let turn = Arc::clone(&self.upkeep_turn).try_acquire_owned();
        let turn = turn.map_err(|_| OrderError::Busy)?;
        let (told, telling) = mpsc::channel(MAX_WAITING);
        self.tasks.spawn("upkeep", async move {
            let _turn = turn;
            tracing::info!(?order, "an operator ordered upkeep");
            upkeep.carry_out(&order, &told).await;
            now.forget_purged(&order);
        });
        Ok(telling)
    }

    /// What was learned of a feed that was purged whole is learned anew.
    fn forget_purged(&self, order: &Order) {
        let Order::Purge(Purge {
            feed: Some(name),
            which: Which::All,
            age: Age::Any,
        }) = order
        else {
            return;
        };
        for feed in self.all_feeds() {
            if feed.name.split(':').next() == Some(name) {
                feed.doubt_model();
            }
        }
    }
}

/// Work of its own, while its progress is told.
async fn beside_beat<T>(
    work: impl Future<Output = T>,
    told: &mpsc::Sender<Value>,
    progress: &Progress,
) -> T {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => done,
        () = beat(told, progress) => work.await,
    }
}

/// Tells progress as long as somebody listens.
async fn beat(told: &mpsc::Sender<Value>, progress: &Progress) {
    loop {
        tokio::time::sleep(BEAT).await;
        let (bodies, bytes) = progress.now();
        let now = json!({"progress": {"bodies": bodies, "bytes": bytes}});
        if told.send(now).await.is_err() {
            return;
        }
    }
}

fn removed_json(removed: &Removed) -> Value {
    let feeds = removed.feeds.iter();
    let feeds: Vec<Value> = feeds
        .map(|(feed, tally)| json!({"feed": feed, "responses": tally.responses, "bytes": tally.bytes}))
        .collect();
    json!({
        "feeds": feeds,
        "absences": removed.absences,
        "pinned": removed.pinned,
        "failed": removed.failed,
    })
}

fn finding_json(finding: &Finding) -> Value {
    let mut object = json!({"damage": finding.damage.word(), "file": finding.file});
    if let Some(key) = &finding.key {
        object["feed"] = key.feed().into();
        object["id"] = key.id().into();
        object["class"] = key.class().into();
        object["rest"] = key.rest().into();
    }
    object
}

fn report_json(report: &Report) -> Value {
    let quarantine = report.quarantine.iter();
    let quarantine: Vec<Value> = quarantine
        .map(|(file, bytes)| json!({"file": file, "bytes": bytes}))
        .collect();
    json!({
        "bodies": report.bodies,
        "bytes": report.bytes,
        "damaged": report.damaged,
        "set_aside": report.set_aside,
        "without_row": report.without_row,
        "without_body": report.without_body,
        "quarantine": quarantine,
        "index": report.index.word(),
        "complete": report.is_complete,
    })
}
