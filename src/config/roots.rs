//! Certificate authorities from PEM files.
//!
//! Read at start, so that a wrong file is a start-up error and not a failed fetch at night. It refuses a file without
//! any certificate.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::sources::Files;

/// Longest PEM file: the whole list of public authorities takes a quarter of it.
const MAX_PEM_BYTES: usize = 1 << 20;

/// The certificates of all files; the error says what was expected of which file.
pub(super) fn read(files: Vec<&str>) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut all = Vec::new();
    for file in files {
        let found = read_file(Path::new(file));
        all.extend(found.map_err(|expected| format!("{expected}, which {file:?} is not"))?);
    }
    Ok(all)
}

/// The certificates of one file; the error says what was expected.
pub(super) fn read_file(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = Files
        .read(file, MAX_PEM_BYTES)
        .map_err(|error| format!("a readable file ({error})"))?;
    let found: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("a PEM file ({error})"))?;
    if found.is_empty() {
        return Err("a PEM file with certificates".to_owned());
    }
    Ok(found)
}
