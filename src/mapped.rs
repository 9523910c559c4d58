//! Address tokens: slices that stand for bytes of an open file and are never read.
//!
//! hyper hands a connection's IO type nothing but slices. A [`Reservation`] is an anonymous, inaccessible range of
//! addresses as long as a file; a slice of it (a *token*) travels through hyper like ordinary bytes, and the IO
//! wrapper asks [`locate`] which file and offset it stands for, then calls `sendfile`. Whoever reads a token crashes,
//! so tokens go to plain HTTP/1.1 connections only, with vectored writes on. It refuses to map file contents: an
//! empty reservation has no pages that truncation could take away under a reader.
//!
//! This module alone is unsafe.

use std::fmt;
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
    /// Reserves addresses for the first `length` bytes of `file`. `on_damage` is called by whoever finds the file shorter
    /// than that, or unreadable, while sending it.
    ///
    /// # Errors
    /// Where the platform has no `sendfile`, `length` is zero or too long for the address space, or the kernel refuses.
    pub fn new(
        file: Arc<File>,
        length: u64,
        on_damage: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            let backing = Backing {
                file,
                on_damage: Box::new(on_damage),
            };
            native::Inner::reserve(backing, length).map(|inner| Self {
                inner: Arc::new(inner),
            })
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (file, length, on_damage);
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

/// What a reservation stands for.
struct Backing {
    file: Arc<File>,
    on_damage: Box<dyn Fn() + Send + Sync>,
}

/// The place in a file that a slice stands for.
#[derive(Clone)]
pub struct Place {
    backing: Arc<Backing>,
    offset: u64,
}

impl Place {
    /// The file.
    #[must_use]
    pub fn file(&self) -> &Arc<File> {
        &self.backing.file
    }

    /// Offset of the first byte.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Tells whoever made the reservation that its file is shorter than it was, or cannot be read.
    pub fn tell_damage(&self) {
        (self.backing.on_damage)();
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("file", &self.backing.file)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

/// The place that `slice` stands for, or `None` if it holds ordinary bytes.
///
/// Two comparisons for a slice that lies outside every reservation; it never reads the slice.
#[must_use]
pub fn locate(slice: &[u8]) -> Option<Place> {
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
    use std::io;
    use std::ops::Range;
    use std::ptr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, PoisonError, RwLock};

    use rustix::mm::{self, MapFlags, ProtFlags};

    use super::{Backing, Place};

    /// Reservations are rounded up to this, a page of every Linux machine that we build for or a multiple of it.
    const PAGE_BYTES: usize = 64 * 1024;

    /// First address → (address behind the last, what it stands for).
    static REGISTRY: RwLock<BTreeMap<usize, (usize, Arc<Backing>)>> = RwLock::new(BTreeMap::new());
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
        pub(super) fn reserve(backing: Backing, length: u64) -> io::Result<Self> {
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
                .insert(start, (end, Arc::new(backing)));
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

    pub(super) fn locate(slice: &[u8]) -> Option<Place> {
        let address = slice.as_ptr().addr();
        if address < LOWEST.load(Ordering::Acquire) || address >= HIGHEST.load(Ordering::Acquire) {
            return None;
        }
        let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
        let (start, (end, backing)) = registry.range(..=address).next_back()?;
        (address < *end).then(|| Place {
            backing: Arc::clone(backing),
            // An address fits in 64 bits on every Linux target.
            offset: (address - start) as u64,
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
        let reservation = Reservation::new(Arc::clone(&file), 9 << 30, || {}).unwrap();
        let token = reservation.token(5..(9 << 30)).unwrap();
        assert_eq!(token.len(), (9 << 30) - 5);
        for (slice, expected) in [
            (token.clone(), 5),
            (token.slice(100..), 105),
            (token.slice((8 << 30)..), (8 << 30) + 5),
        ] {
            let place = locate(&slice).unwrap();
            assert!(Arc::ptr_eq(place.file(), &file));
            assert_eq!(place.offset(), expected);
        }
    }

    #[test]
    fn ordinary_bytes_are_no_token() {
        let _reservation = Reservation::new(file(), 10, || {}).unwrap();
        assert!(locate(b"static").is_none());
        assert!(locate(&vec![0; 1 << 20]).is_none());
    }

    #[test]
    fn a_token_outside_the_file_is_refused() {
        let reservation = Reservation::new(file(), 10, || {}).unwrap();
        assert!(reservation.token(0..11).is_none());
        assert!(reservation.token(4..4).is_none());
        assert!(reservation.token(0..10).is_some());
        assert!(Reservation::new(file(), 0, || {}).is_err());
        assert!(Reservation::new(file(), u64::MAX, || {}).is_err());
    }

    #[test]
    fn a_token_keeps_its_reservation_and_the_last_one_closes_the_file() {
        let file = file();
        let weak = Arc::downgrade(&file);
        let reservation = Reservation::new(file, 10, || {}).unwrap();
        let token = reservation.token(0..10).unwrap();
        drop(reservation);
        assert!(locate(&token).is_some());
        drop(token);
        assert!(weak.upgrade().is_none());
    }
}
