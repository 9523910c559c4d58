//! Who may do what: users, tokens, and what each feed asks of its clients.
//!
//! The middle is pure: what a request presents ([`credential`]), the files of users and tokens ([`users`], [`tokens`]),
//! and whose right reaches how far ([`rules`]). Around it stands the [`Guard`], which knows the files as they are now,
//! checks passwords off the async threads, one at a time for one credential, and remembers what it found. It refuses to
//! know feeds and routes beyond their names, to pick status codes, and to keep or print a secret.

mod attempts;
pub mod command;
pub mod credential;
mod guard;
mod hashing;
mod ledger;
pub mod moment;
pub mod password;
pub mod rules;
pub mod secret;
mod settings;
pub mod tokens;
pub mod users;
mod watch;

pub use guard::{Ask, Denial, Guard, SeenFrom};
pub use ledger::{Problem, Problems};
pub use settings::Settings;
pub use watch::Prepared;
