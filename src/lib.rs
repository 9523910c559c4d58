//! Sluice: a caching reverse proxy for NuGet V3 feeds.

pub mod cache;
pub mod clock;
pub mod flight;
pub mod tasks;
