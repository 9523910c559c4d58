//! One fetch per key: what must hold of flights.

use std::sync::Arc;

use shuttle::future::{JoinHandle, block_on, spawn};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicUsize, Ordering};

use crate::flight::{Flights, Joined, Lead, Lost, Ticket};

const ASKED: u32 = 0;
const HALFWAY: u32 = 1;
const DONE: u32 = 2;

/// Flights of one model, and how many are led.
#[derive(Clone)]
struct Runs {
    flights: Flights<&'static str, u32>,
    /// Leads that stand open. One that is given up stands open until its leader notices.
    leading: Arc<AtomicUsize>,
    gives_up: bool,
    led: Arc<AtomicUsize>,
    leads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Runs {
    /// Flights that go on when nobody reads them.
    fn new() -> Self {
        Self::giving_up(8, false)
    }

    fn giving_up(max_abandoned: usize, gives_up: bool) -> Self {
        Self {
            flights: Flights::new(max_abandoned),
            leading: Arc::default(),
            gives_up,
            led: Arc::default(),
            leads: Arc::default(),
        }
    }

    /// Joins the flight for the one key; whoever leads has `lead` carry it out.
    fn join<F>(
        &self,
        lead: impl FnOnce(Self, Lead<&'static str, u32>) -> F,
    ) -> Ticket<&'static str, u32>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match self.flights.join("key", ASKED) {
            Joined::Follower(ticket) => ticket,
            Joined::Leader(ticket, led) => {
                let before = self.leading.fetch_add(1, Ordering::SeqCst);
                assert!(before == 0 || self.gives_up, "two lead at once");
                self.led.fetch_add(1, Ordering::SeqCst);
                let lead = spawn(lead(self.clone(), led));
                self.leads.lock().expect("no panic").push(lead);
                ticket
            }
        }
    }

    /// Carries a flight to its verdict.
    async fn fetch(self, lead: Lead<&'static str, u32>) {
        lead.update(|state| *state = HALFWAY);
        self.leading.fetch_sub(1, Ordering::SeqCst);
        lead.finish(DONE);
    }

    /// Gives a flight up without a verdict.
    async fn lose(self, lead: Lead<&'static str, u32>) {
        lead.update(|state| *state = HALFWAY);
        self.leading.fetch_sub(1, Ordering::SeqCst);
        drop(lead);
    }

    /// Carries a flight on until nobody wants it; while somebody does, it is not to be given up.
    async fn fetch_while_wanted(self, lead: Lead<&'static str, u32>) {
        let cancelled = lead.cancelled();
        let step = shuttle::future::yield_now();
        tokio::select! {
            () = cancelled => {
                assert_eq!(lead.readers(), 0, "somebody reads what is given up");
                self.leading.fetch_sub(1, Ordering::SeqCst);
            }
            () = step => {
                self.leading.fetch_sub(1, Ordering::SeqCst);
                lead.finish(DONE);
            }
        }
    }

    /// Once every leader is gone, nothing is left of any flight.
    async fn assert_over(&self) {
        let leads = std::mem::take(&mut *self.leads.lock().expect("no panic"));
        for lead in leads {
            lead.await.expect("a leader ends");
        }
        let left = format!("{:?}", self.flights);
        assert_eq!(left, "Flights { open: 0, abandoned: 0, .. }");
    }
}

/// Everybody who asks at once gets the verdict, no two fetch at once, and nobody joins what has its verdict.
pub fn everybody_hears_the_verdict() {
    let runs = Runs::new();
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let runs = runs.clone();
            spawn(async move {
                let mut ticket = runs.join(Runs::fetch);
                let verdict = ticket.wait_for(|state| *state == DONE).await;
                assert_eq!(verdict.map(|state| *state), Ok(DONE));
                let again = runs.join(Runs::fetch);
                assert_ne!(format!("{again:?}"), format!("{ticket:?}"));
            })
        })
        .collect();
    block_on(async {
        for reader in readers {
            reader.await.expect("it hears");
        }
    });
    assert!((2..=6).contains(&runs.led.load(Ordering::SeqCst)));
    block_on(runs.assert_over());
}

/// Who waits for each change hears of the last one, or that there will be none.
pub fn no_change_is_slept_through() {
    let runs = Runs::new();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let runs = runs.clone();
            spawn(async move {
                let mut ticket = runs.join(Runs::fetch);
                while *ticket.now() != DONE {
                    if ticket.changed().await.is_err() {
                        assert_eq!(*ticket.now(), DONE, "lost although there was a verdict");
                        break;
                    }
                }
            })
        })
        .collect();
    block_on(async {
        for reader in readers {
            reader.await.expect("it hears");
        }
    });
    block_on(runs.assert_over());
}

/// A leader that is gone without a verdict leaves nobody waiting, and the next one who asks leads anew.
pub fn a_lost_leader_is_noticed() {
    let runs = Runs::new();
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let runs = runs.clone();
            spawn(async move {
                let mut ticket = runs.join(Runs::lose);
                let verdict = ticket.wait_for(|state| *state == DONE).await;
                assert_eq!(verdict.map(|state| *state), Err(Lost));
            })
        })
        .collect();
    block_on(async {
        for reader in readers {
            reader.await.expect("it hears");
        }
        let mut ticket = runs.join(Runs::fetch);
        let verdict = ticket.wait_for(|state| *state == DONE).await;
        assert_eq!(verdict.map(|state| *state), Ok(DONE));
    });
    block_on(runs.assert_over());
}

/// Readers come and go; a flight is given up only when the last is gone, and nobody joins one that is.
pub fn who_reads_keeps_it_going() {
    let runs = Runs::giving_up(0, true);
    let readers: Vec<_> = (0..3)
        .map(|reader| {
            let runs = runs.clone();
            spawn(async move {
                let mut ticket = runs.join(Runs::fetch_while_wanted);
                if reader == 0 {
                    return;
                }
                let verdict = ticket.wait_for(|state| *state == DONE).await;
                assert_eq!(verdict.map(|state| *state), Ok(DONE));
            })
        })
        .collect();
    block_on(async {
        for reader in readers {
            reader.await.expect("it hears");
        }
    });
}

/// At the end of the process nothing goes on that nobody reads, whoever lets go meanwhile.
pub fn at_the_end_nothing_is_left() {
    let runs = Runs::giving_up(8, true);
    let ended: Vec<_> = (0..2)
        .map(|_| {
            let runs = runs.clone();
            spawn(async move {
                let (told, hears) = tokio::sync::oneshot::channel();
                let until_cancelled = |runs: Runs, lead: Lead<&'static str, u32>| async move {
                    lead.cancelled().await;
                    assert_eq!(lead.readers(), 0, "somebody reads what is given up");
                    runs.leading.fetch_sub(1, Ordering::SeqCst);
                    drop(lead);
                    let _ = told.send(());
                };
                let ticket = runs.join(until_cancelled);
                drop(ticket);
                // Of a follower, whose leader is told by the other.
                let _ = hears.await;
            })
        })
        .collect();
    let end = {
        let runs = runs.clone();
        spawn(async move { runs.flights.cancel_abandoned() })
    };
    block_on(async {
        end.await.expect("it ends");
        for ended in ended {
            ended.await.expect("it ends");
        }
    });
    block_on(runs.assert_over());
}
