//! Fuzzes the entry point `route`.

#![no_main]

sluice_fuzz::target!(route);
