//! Fuzzes the entry point `json`.

#![no_main]

sluice_fuzz::target!(json);
