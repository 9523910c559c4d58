//! Fuzzes the entry point `push`.

#![no_main]

sluice_fuzz::target!(push);
