//! Fuzzes the entry point `service_index`.

#![no_main]

sluice_fuzz::target!(service_index);
