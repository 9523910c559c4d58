//! Fuzzes the entry point `configuration`.

#![no_main]

sluice_fuzz::target!(configuration);
