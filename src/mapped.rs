//! Address tokens: slices that stand for bytes of an open file and are never read.
//!
//! hyper hands a connection's IO type nothing but slices. A [`Reservation`] is an anonymous, inaccessible range of
//! addresses as long as a file; a slice of it (a *token*) travels through hyper like ordinary bytes, and the IO
//! wrapper asks [`locate`] which file and offset it stands for, then calls `sendfile`. Whoever reads a token crashes,
//! so tokens go to plain HTTP/1.1 connections only, with vectored writes on. It refuses to map file contents: an
//! empty reservation has no pages that truncation could take away under a reader.
//!
//! This module alone is unsafe.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

/// A range of addresses that stands for the bytes of one open file. Freed with its last token.
#[derive(Clone, Debug)]
pub struct Reservation {
    #[cfg(target_os = "linux")]
    inner: Arc<native::Inner>,
    #[cfg(not(target_os = "linux"))]
    never: std::convert::Infallible,
}

impl Reservation {
    /// Reserves addresses for the first `length` bytes of `file`.
    ///
    /// # Errors
    /// Where the platform has no `sendfile`, `length` is zero or too long for the address space, or the kernel refuses.
    pub fn new(file: Arc<File>, length: u64) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            native::Inner::reserve(file, length).map(|inner| Self {
                inner: Arc::new(inner),
            })
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (file, length);
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// The token of the bytes `range`, or `None` if it is empty or reaches beyond the reservation.
    #[must_use]
    pub fn token(&self, range: Range<u64>) -> Option<Bytes> {
        #[cfg(target_os = "linux")]
        {
            native::Token::new(&self.inner, range).map(Bytes::from_owner)
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = range;
            match self.never {}
        }
    }
}

/// The file and offset that `slice` stands for, or `None` if it holds ordinary bytes.
///
/// Two comparisons for a slice that lies outside every reservation; it never reads the slice.
#[must_use]
pub fn locate(slice: &[u8]) -> Option<(Arc<File>, u64)> {
    #[cfg(target_os = "linux")]
    {
        native::locate(slice)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = slice;
        None
    }
}

#[cfg(target_os = "linux")]
mod native {
    #![expect(
        unsafe_code,
        reason = "reserving addresses and making slices of them has no safe interface"
    )]

    use std::collections::BTreeMap;
    use std::fs::File;
    use std::io;
    use std::ops::Range;
    use std::ptr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, PoisonError, RwLock};

    use rustix::mm::{self, MapFlags, ProtFlags};

    /// Reservations are rounded up to this, a page of every Linux machine that we build for or a multiple of it.
    const PAGE_BYTES: usize = 64 * 1024;

    /// First address → (address behind the last, file).
    static REGISTRY: RwLock<BTreeMap<usize, (usize, Arc<File>)>> = RwLock::new(BTreeMap::new());
    /// No reservation ever began below this. Only falls, so that a racing reader errs on the slow side.
    static LOWEST: AtomicUsize = AtomicUsize::new(usize::MAX);
    /// No reservation ever ended above this. Only rises.
    static HIGHEST: AtomicUsize = AtomicUsize::new(0);

    #[derive(Debug)]
    pub(super) struct Inner {
        start: usize,
        /// What the file has: tokens end here.
        length: usize,
        /// What is reserved: `length` in whole pages.
        reserved: usize,
    }

    impl Inner {
        pub(super) fn reserve(file: Arc<File>, length: u64) -> io::Result<Self> {
            let length =
                usize::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::Unsupported))?;
            let reserved = length
                .checked_next_multiple_of(PAGE_BYTES)
                .filter(|reserved| *reserved > 0 && isize::try_from(*reserved).is_ok())
                .ok_or(io::ErrorKind::InvalidInput)?;
            // SAFETY: a null hint without MAP_FIXED replaces no mapping of ours.
            let start = unsafe {
                mm::mmap_anonymous(
                    ptr::null_mut(),
                    reserved,
                    ProtFlags::empty(),
                    MapFlags::PRIVATE | MapFlags::NORESERVE,
                )?
            }
            .expose_provenance();
            let end = start + reserved;
            REGISTRY
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(start, (end, file));
            LOWEST.fetch_min(start, Ordering::Release);
            HIGHEST.fetch_max(end, Ordering::Release);
            Ok(Self {
                start,
                length,
                reserved,
            })
        }
    }

    impl Drop for Inner {
        fn drop(&mut self) {
            // Out of the registry first: the kernel may hand the addresses out again the moment they are free.
            REGISTRY
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&self.start);
            // SAFETY: the range came from `mmap_anonymous` with this length, and every token held an `Arc` of `self`,
            // so no slice of it is left.
            let freed =
                unsafe { mm::munmap(ptr::with_exposed_provenance_mut(self.start), self.reserved) };
            debug_assert!(freed.is_ok(), "a reservation could not be freed");
        }
    }

    /// Owner of one token's slice.
    pub(super) struct Token {
        reservation: Arc<Inner>,
        offset: usize,
        length: usize,
    }

    impl Token {
        pub(super) fn new(reservation: &Arc<Inner>, range: Range<u64>) -> Option<Self> {
            let (from, to) = (
                usize::try_from(range.start).ok()?,
                usize::try_from(range.end).ok()?,
            );
            (from < to && to <= reservation.length).then(|| Self {
                reservation: Arc::clone(reservation),
                offset: from,
                length: to - from,
            })
        }
    }

    impl AsRef<[u8]> for Token {
        fn as_ref(&self) -> &[u8] {
            let start: *const u8 =
                ptr::with_exposed_provenance(self.reservation.start + self.offset);
            // SAFETY: the range is non-null, aligned for bytes, shorter than `isize::MAX`, and stays reserved while
            // `self` lives. It is inaccessible, so it must not be read: the module's contract is that a token only
            // ever reaches a writer that asks `locate` first, and a stray read is a fault at once, never wrong bytes.
            unsafe { std::slice::from_raw_parts(start, self.length) }
        }
    }

    pub(super) fn locate(slice: &[u8]) -> Option<(Arc<File>, u64)> {
        let address = slice.as_ptr().addr();
        if address < LOWEST.load(Ordering::Acquire) || address >= HIGHEST.load(Ordering::Acquire) {
            return None;
        }
        let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
        let (start, (end, file)) = registry.range(..=address).next_back()?;
        (address < *end).then(|| {
            // An address fits in 64 bits on every Linux target.
            (Arc::clone(file), (address - start) as u64)
        })
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Arc<File> {
        Arc::new(tempfile::tempfile().unwrap())
    }

    #[test]
    fn a_token_and_its_slices_name_the_file_and_offset() {
        let file = file();
        let reservation = Reservation::new(Arc::clone(&file), 9 << 30).unwrap();
        let token = reservation.token(5..(9 << 30)).unwrap();
        assert_eq!(token.len(), (9 << 30) - 5);
        for (slice, expected) in [
            (token.clone(), 5),
            (token.slice(100..), 105),
            (token.slice((8 << 30)..), (8 << 30) + 5),
        ] {
            let (found, offset) = locate(&slice).unwrap();
            assert!(Arc::ptr_eq(&found, &file));
            assert_eq!(offset, expected);
        }
    }

    #[test]
    fn ordinary_bytes_are_no_token() {
        let _reservation = Reservation::new(file(), 10).unwrap();
        assert!(locate(b"static").is_none());
        assert!(locate(&vec![0; 1 << 20]).is_none());
    }

    #[test]
    fn a_token_outside_the_file_is_refused() {
        let reservation = Reservation::new(file(), 10).unwrap();
        assert!(reservation.token(0..11).is_none());
        assert!(reservation.token(4..4).is_none());
        assert!(reservation.token(0..10).is_some());
        assert!(Reservation::new(file(), 0).is_err());
        assert!(Reservation::new(file(), u64::MAX).is_err());
    }

    #[test]
    fn a_token_keeps_its_reservation_and_the_last_one_closes_the_file() {
        let file = file();
        let weak = Arc::downgrade(&file);
        let reservation = Reservation::new(file, 10).unwrap();
        let token = reservation.token(0..10).unwrap();
        drop(reservation);
        assert!(locate(&token).is_some());
        drop(token);
        assert!(weak.upgrade().is_none());
    }
}
