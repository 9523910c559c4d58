//! Fuzzes the entry point `registration`.

#![no_main]

sluice_fuzz::target!(registration);
