//! Fuzzes the entry point `version`.

#![no_main]

sluice_fuzz::target!(version);
