//! Fuzzes the entry point `sift`.

#![no_main]

sluice_fuzz::target!(sift);
