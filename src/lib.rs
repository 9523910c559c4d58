//! Sluice: a caching reverse proxy for NuGet V3 feeds.

pub mod cache;
pub mod clock;
pub mod config;
pub mod flight;
pub mod mapped;
pub mod nuget;
pub mod platform;
pub mod proxy;
pub mod server;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod upstream;
