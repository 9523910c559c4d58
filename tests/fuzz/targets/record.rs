//! Fuzzes the entry point `record`.

#![no_main]

sluice_fuzz::target!(record);
