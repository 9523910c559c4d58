//! Fuzzes the entry point `nuspec`.

#![no_main]

sluice_fuzz::target!(nuspec);
