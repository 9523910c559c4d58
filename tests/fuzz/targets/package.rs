//! Fuzzes the entry point `package`.

#![no_main]

sluice_fuzz::target!(package);
