//! Files that say what was done to them.

use std::io;

use crate::store::disk::File;

pub(crate) fn write_all_at(file: &File, _: &[u8], _: u64) -> io::Result<()> {
    file.write_trailer();
    Ok(())
}

pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    file.sync();
    Ok(())
}

/// Every body takes one.
pub(crate) fn disk_bytes(_: &(), _: crate::store::disk::Portability) -> u64 {
    1
}
