//! Fuzzes the entry point `package_signature`.

#![no_main]

sluice_fuzz::target!(package_signature);
