//! Fuzzes the entry point `signatures`.

#![no_main]

sluice_fuzz::target!(signatures);
