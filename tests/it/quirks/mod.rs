//! What broke other proxies and their clients: the lessons of section 7 of the protocol facts.

mod publish;
mod rewriting;
mod staleness;
