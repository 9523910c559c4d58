//! Fuzzes the entry point `search`.

#![no_main]

sluice_fuzz::target!(search);
