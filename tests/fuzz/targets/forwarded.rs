//! Fuzzes the entry point `forwarded`.

#![no_main]

sluice_fuzz::target!(forwarded);
