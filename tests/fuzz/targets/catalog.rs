//! Fuzzes the entry point `catalog`.

#![no_main]

sluice_fuzz::target!(catalog);
