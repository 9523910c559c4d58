//! Fuzzes the entry point `challenge`.

#![no_main]

sluice_fuzz::target!(challenge);
