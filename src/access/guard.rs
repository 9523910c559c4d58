//! The guard: whether whoever asks may have what it asks for.
//!
//! A credential that is known costs a lookup; a password that is not is hashed off the async threads, once for all who
//! bring it. It refuses to say which of user and password was wrong, and to look at anything but credentials.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use http::HeaderMap;

use super::attempts::Attempts;
use super::credential::Presented;
use super::hashing::{Checked, Hashing, Mark};
use super::ledger::{Ledger, Problems, Stamps};
use super::moment;
use super::rules::{Caller, Right, Rules};
use super::settings::Settings;
use crate::clock::Clock;
use crate::flight::{Joined, Lead};
use crate::tasks::Tasks;
use crate::telemetry::{Family, Kind, Telemetry};

const DENIALS: Family = Family {
    name: "sluice_access_denied_total",
    help: "Requests that were turned away for want of a credential or right, by feed and reason.",
    kind: Kind::Counter,
};
const HASHES: Family = Family {
    name: "sluice_password_hashes_total",
    help: "Passwords hashed to check them.",
    kind: Kind::Counter,
};

/// What stands for a feed where the admin listener was asked.
const ADMIN: &str = "";

/// Knows users and tokens and whom to let in. Clones share everything.
#[derive(Clone)]
pub struct Guard {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    telemetry: Telemetry,
    attempts: Attempts,
    hashing: Hashing,
    /// What the files say now. Changed only while the verdicts are held.
    ledger: RwLock<Arc<Ledger>>,
    /// What told the files' contents when they were last looked at. Held while they are read, so that of two readings
    /// the later one counts.
    pub(super) stamps: tokio::sync::Mutex<Stamps>,
    /// When each token was last used, by its name.
    pub(super) uses: Mutex<HashMap<Arc<str>, SystemTime>>,
}

/// A request as the guard sees it.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The feed's name.
    pub feed: &'a str,
    /// What the feed asks of its clients.
    pub rules: &'a Rules,
    /// What is wanted.
    pub right: Right,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// Who sent it.
    pub client: IpAddr,
}

/// Where the admin listener can be reached from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SeenFrom {
    /// Other machines.
    Elsewhere,
    /// This machine alone.
    Loopback,
}

/// Why somebody is not let in. Each has the sentence that says so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Denial {
    /// Its credential is right and its rights do not reach this far.
    Forbidden(String),
    /// It brought no credential.
    Missing(String),
    /// Its credential is wrong or over.
    Refused(String),
    /// Too many wrong passwords came from its address, or too many at all.
    Throttled(String),
}

impl Denial {
    /// The word for logs and metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Forbidden(_) => "forbidden",
            Self::Missing(_) => "no-credential",
            Self::Refused(_) => "credential-refused",
            Self::Throttled(_) => "throttled",
        }
    }

    /// How much a refusal says where several credentials were brought.
    fn weight(&self) -> u8 {
        match self {
            Self::Missing(_) => 0,
            Self::Refused(_) => 1,
            Self::Throttled(_) => 2,
            Self::Forbidden(_) => 3,
        }
    }
}

/// The sentence.
impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Forbidden(said)
        | Self::Missing(said)
        | Self::Refused(said)
        | Self::Throttled(said)) = self;
        f.write_str(said)
    }
}

impl Guard {
    /// A guard that knows what the files say now.
    ///
    /// # Errors
    /// Everything that is wrong with the files.
    pub async fn open(
        settings: Settings,
        clock: Clock,
        tasks: Tasks,
        telemetry: Telemetry,
    ) -> Result<Self, Problems> {
        let tokens = settings.tokens();
        let failed = |what: String| Problems::of(&tokens, what);
        let read = move || {
            let uses = super::watch::read_uses(&settings.uses());
            super::ledger::read(&settings).map(|(stamps, ledger)| (stamps, ledger, uses))
        };
        let (stamps, ledger, uses) = match tasks.blocking("access files", read).await {
            Ok(read) => read?,
            Err(error) => return Err(failed(error.to_string())),
        };
        let hashing = Hashing::new().map_err(|_| failed("no random bytes".to_owned()))?;
        telemetry.add(&HASHES, &[], 0);
        Ok(Self {
            shared: Arc::new(Shared {
                clock,
                tasks,
                telemetry,
                attempts: Attempts::default(),
                hashing,
                ledger: RwLock::new(Arc::new(ledger)),
                stamps: tokio::sync::Mutex::new(stamps),
                uses: Mutex::new(uses),
            }),
        })
    }

    /// Lets a request in, or not: gives who it is, if that was asked.
    ///
    /// # Errors
    /// [`Denial`]; it is counted already.
    pub async fn admit(&self, ask: &Ask<'_>) -> Result<Option<Caller>, Denial> {
        if !ask.rules.guard(ask.right) {
            return Ok(None);
        }
        let missing = format!("feed {} asks for a user and a password or token", ask.feed);
        let may = |caller: &Caller| caller.may(ask.right, ask.feed, ask.rules);
        let found = self.judge(&presented(ask), ask.client, missing, may).await;
        self.counted(found, ask.feed, ask.client)
    }

    /// The same without any wait; `None` where that takes one, or would refuse.
    #[must_use]
    pub fn admit_at_once(&self, ask: &Ask<'_>) -> Option<Option<Caller>> {
        if !ask.rules.guard(ask.right) {
            return Some(None);
        }
        let caller = presented(ask)
            .iter()
            .find_map(|presented| self.recall(presented)?.ok())?;
        caller.may(ask.right, ask.feed, ask.rules).ok()?;
        self.note_use(&caller);
        Some(Some(caller))
    }

    /// Lets a request to the admin listener's interface in, or not. Where nobody else reaches it and nobody was made to
    /// administer, everybody may.
    ///
    /// # Errors
    /// [`Denial`]; it is counted already.
    pub async fn admit_admin(
        &self,
        headers: &HeaderMap,
        client: IpAddr,
        seen_from: SeenFrom,
    ) -> Result<Option<Caller>, Denial> {
        if seen_from == SeenFrom::Loopback && !self.has_admins() {
            return Ok(None);
        }
        let missing = "administering asks for a user or token with that right".to_owned();
        let brought: Vec<Presented> = Presented::in_authorization(headers).into_iter().collect();
        let ledger = self.ledger();
        let admins = &ledger.settings.admins;
        let may = |caller: &Caller| caller.may_administer(admins);
        let found = self.judge(&brought, client, missing, may).await;
        self.counted(found, ADMIN, client)
    }

    fn has_admins(&self) -> bool {
        let ledger = self.ledger();
        // A token that is over counts: time alone must open nothing.
        let mut tokens = ledger.tokens.all().iter();
        !ledger.settings.admins.is_empty() || tokens.any(|token| token.rights.admin)
    }

    /// The first of several credentials that may, or why none does.
    async fn judge(
        &self,
        brought: &[Presented],
        client: IpAddr,
        missing: String,
        may: impl Fn(&Caller) -> Result<(), String>,
    ) -> Result<Caller, Denial> {
        let mut denial = Denial::Missing(missing);
        for presented in brought {
            let found = match self.identify(presented, client).await {
                Ok(caller) => may(&caller).map(|()| caller).map_err(Denial::Forbidden),
                Err(why) => Err(why),
            };
            match found {
                Ok(caller) => {
                    self.note_use(&caller);
                    return Ok(caller);
                }
                Err(why) if why.weight() >= denial.weight() => denial = why,
                Err(_) => {}
            }
        }
        Err(denial)
    }

    fn counted(
        &self,
        found: Result<Caller, Denial>,
        feed: &str,
        client: IpAddr,
    ) -> Result<Option<Caller>, Denial> {
        let denial = match found {
            Ok(caller) => return Ok(Some(caller)),
            Err(denial) => denial,
        };
        let shared = &self.shared;
        let labels = [("feed", feed), ("reason", denial.word())];
        shared.telemetry.add(&DENIALS, &labels, 1);
        if matches!(denial, Denial::Refused(_) | Denial::Throttled(_)) {
            let now = shared.clock.instant();
            if let Some(count) = shared.attempts.note_refusal(client, now) {
                tracing::warn!(feed, %client, count, why = %denial, "credentials were refused");
            }
        }
        Err(denial)
    }

    /// Who somebody is.
    async fn identify(&self, presented: &Presented, client: IpAddr) -> Result<Caller, Denial> {
        if let Some(known) = self.recall(presented) {
            return known;
        }
        let Presented::Password { user, password } = presented else {
            return Err(wrong());
        };
        match self.check(user, password, client).await {
            Checked::Right => self.user(user),
            Checked::Throttled => Err(Denial::Throttled(
                "too many wrong passwords; try again later".to_owned(),
            )),
            Checked::Wrong => Err(wrong()),
        }
    }

    /// Who somebody is, if that takes no hash.
    fn recall(&self, presented: &Presented) -> Option<Result<Caller, Denial>> {
        let ledger = self.ledger();
        let shared = &self.shared;
        match presented {
            Presented::Foreign => {
                let said = "the credential is neither a user and a password nor a token of Sluice";
                Some(Err(Denial::Refused(said.to_owned())))
            }
            Presented::Password { .. } if ledger.users.is_empty() => Some(Err(wrong())),
            Presented::Password { user, password } => {
                let mark = shared.hashing.mark(user, password);
                match shared.hashing.recall(&mark, shared.clock.instant())? {
                    Checked::Right => Some(self.user(user)),
                    Checked::Throttled | Checked::Wrong => Some(Err(wrong())),
                }
            }
            Presented::Token(secret) => Some(match ledger.tokens.of(&secret.digest()) {
                None => Err(Denial::Refused("the token is not known".to_owned())),
                Some(token) if token.is_over(shared.clock.now()) => {
                    let end = token.expires.map(moment::show).unwrap_or_default();
                    Err(Denial::Refused(format!(
                        "token {} ended at {end}",
                        token.name
                    )))
                }
                Some(token) => Ok(Caller::Token(Arc::clone(token))),
            }),
        }
    }

    fn user(&self, name: &str) -> Result<Caller, Denial> {
        let name = self.ledger().users.name(name).ok_or_else(wrong)?;
        Ok(Caller::User(name))
    }

    /// Checks a password: one hash however many ask at once.
    async fn check(&self, user: &str, password: &str, client: IpAddr) -> Checked {
        let hashing = &self.shared.hashing;
        let mark = hashing.mark(user, password);
        let mut ticket = match hashing.flights.join(mark, None) {
            Joined::Follower(ticket) => ticket,
            Joined::Leader(ticket, lead) => {
                let pair = (user.to_owned(), password.to_owned());
                let work = self.clone().lead(lead, mark, pair, client);
                self.shared.tasks.spawn("password", work);
                ticket
            }
        };
        let verdict = ticket.wait_for(Option::is_some).await;
        verdict.map_or(Checked::Throttled, |verdict| {
            verdict.unwrap_or(Checked::Throttled)
        })
    }

    async fn lead(
        self,
        lead: Lead<Mark, Option<Checked>>,
        mark: Mark,
        pair: (String, String),
        client: IpAddr,
    ) {
        let checked = self.hash(mark, pair, client).await;
        lead.finish(Some(checked));
    }

    /// Waits for a turn, hashes and notes what came of it.
    async fn hash(&self, mark: Mark, pair: (String, String), client: IpAddr) -> Checked {
        let Shared {
            attempts,
            clock,
            hashing,
            tasks,
            telemetry,
            ..
        } = &*self.shared;
        // Another may have ended between the look that found nothing and this one's beginning.
        if let Some(checked) = hashing.recall(&mark, clock.instant()) {
            return checked;
        }
        let Ok(_queued) = hashing.queue.try_acquire() else {
            return Checked::Throttled;
        };
        let Ok(_place) = hashing.places.acquire().await else {
            return Checked::Throttled;
        };
        if attempts.is_spent(client, clock.instant()) {
            return Checked::Throttled;
        }
        tokio::time::sleep_until(hashing.next_turn(clock.instant())).await;
        let (user, password) = pair;
        let ledger = self.ledger();
        let Some(hash) = ledger.users.hash_for(&user).cloned() else {
            return Checked::Wrong;
        };
        telemetry.add(&HASHES, &[], 1);
        let fits = tasks.blocking("password", move || hash.fits(&password));
        let checked = match fits.await {
            Ok(true) if ledger.users.name(&user).is_some() => Checked::Right,
            Ok(_) => Checked::Wrong,
            Err(error) => {
                tracing::error!(%error, "a password could not be checked");
                Checked::Throttled
            }
        };
        if checked == Checked::Wrong {
            attempts.note_wrong(client, clock.instant());
        }
        let mut verdicts = hashing.verdicts();
        // What was found in a file that has changed since is answered once and not remembered.
        if Arc::ptr_eq(&ledger, &self.ledger()) {
            verdicts.note(mark, checked, clock.instant());
        }
        checked
    }

    /// What the files say now.
    pub(super) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(
            &self
                .shared
                .ledger
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Obeys other contents: what was found by the old ones is forgotten.
    pub(super) fn obey(&self, ledger: Ledger) {
        let mut verdicts = self.shared.hashing.verdicts();
        let mut current = self
            .shared
            .ledger
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(ledger);
        verdicts.forget();
    }

    fn note_use(&self, caller: &Caller) {
        if let Caller::Token(token) = caller {
            let now = self.shared.clock.now();
            let mut uses = self
                .shared
                .uses
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            uses.insert(Arc::clone(&token.name), now);
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

fn wrong() -> Denial {
    Denial::Refused("the user or the password is wrong".to_owned())
}

/// What a request brings for what it wants: a push may bring a token as its key.
fn presented(ask: &Ask<'_>) -> Vec<Presented> {
    let key = match ask.right {
        Right::Push => Presented::in_api_key(ask.headers),
        Right::Index | Right::Read => None,
    };
    let authorization = Presented::in_authorization(ask.headers);
    key.into_iter().chain(authorization).collect()
}
