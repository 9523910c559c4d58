//! Accounting and order of eviction, without a disk.

use std::collections::HashSet;

use super::table::Place;
use super::*;

fn key(n: u64) -> [u8; 32] {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&n.to_le_bytes());
    key
}

fn filled(cap: u64, bodies: u64) -> Arc<Quota> {
    let quota = Arc::new(Quota::new(cap));
    quota.end_counting();
    for n in 0..bodies {
        assert_eq!(
            quota.insert(&key(n), 4096, Checked::Yes, Keep::WhileUsed, None),
            0
        );
    }
    quota
}

#[test]
fn a_reservation_counts_until_it_is_dropped() {
    // A sixteenth is left for the index.
    let quota = filled(16_000, 1);
    let first = quota.reserve(10_000).unwrap();
    assert_eq!(quota.reserve(1000).unwrap_err(), 96);
    let mut second = quota.reserve(904).unwrap();
    second.join(first);
    assert_eq!(quota.sums().reserved, 10_904);
    drop(second);
    assert_eq!(quota.sums().reserved, 0);
    quota.remove(&key(0));
    assert!(quota.reserve(11_000).is_err(), "it may have readers");
    quota.lingered(4096);
    assert!(quota.reserve(11_000).is_ok());
}

#[test]
fn a_body_takes_the_place_of_its_reservation() {
    let quota = filled(100_000, 0);
    let held = quota.reserve(9000).unwrap();
    quota.insert(&key(1), 8192, Checked::Yes, Keep::WhileUsed, Some(held));
    assert_eq!((quota.sums().reserved, quota.sums().live), (0, 8192));
}

#[test]
fn a_replaced_body_is_counted_once() {
    let quota = filled(1 << 20, 3);
    assert_eq!(
        quota.insert(&key(1), 8192, Checked::Yes, Keep::WhileUsed, None),
        4096
    );
    assert_eq!(quota.sums().lingering, 4096);
    assert_eq!((quota.sums().live, quota.sums().entries), (16_384, 3));
    assert_eq!(quota.remove(&key(1)), 8192);
    assert_eq!(quota.remove(&key(1)), 0);
    assert_eq!((quota.sums().live, quota.sums().entries), (8192, 2));
}

#[test]
fn a_scan_evicts_itself_and_not_what_is_used() {
    let quota = filled(1 << 30, 100);
    for n in 0..100 {
        quota.note_use(&key(n), 0);
        quota.note_use(&key(n), 0);
    }
    for n in 1000..3000 {
        quota.insert(&key(n), 4096, Checked::Yes, Keep::WhileUsed, None);
        while quota.sums().live > 120 * 4096 {
            quota.remove(&quota.victim().unwrap().key);
        }
    }
    let kept = (0..100).filter(|n| quota.contains(&key(*n))).count();
    assert!(kept > 90, "{kept} of 100 used bodies are left");
}

#[test]
fn a_body_that_comes_back_goes_to_the_main_queue() {
    let quota = filled(1 << 30, 3);
    let gone = quota.victim().unwrap().key;
    quota.remove(&gone);
    quota.insert(&gone, 4096, Checked::Yes, Keep::WhileUsed, None);
    assert_eq!(quota.lock().slot_of(&gone).unwrap().place, Place::Main);
}

#[test]
fn eviction_ends_when_nothing_is_left_and_slots_are_used_again() {
    let quota = filled(1 << 30, 50);
    for _ in 0..4 {
        for n in 0..50 {
            quota.insert(&key(n), 512, Checked::Yes, Keep::WhileUsed, None);
            quota.note_use(&key(n), 1);
        }
        while let Some(victim) = quota.victim() {
            quota.remove(&victim.key);
        }
    }
    assert_eq!((quota.sums().live, quota.sums().entries), (0, 0));
    assert!(quota.lock().slots.len() <= 100);
}

#[test]
fn the_count_of_an_earlier_process_yields_to_what_happened_meanwhile() {
    let quota = Arc::new(Quota::new(1 << 30));
    quota.insert(&key(1), 8192, Checked::Yes, Keep::WhileUsed, None);
    quota.remove(&key(2));
    let found = [1, 2, 3].map(|n| Counted {
        key: key(n),
        disk_bytes: 4096,
        modified: 0,
    });
    quota.count(&found);
    quota.end_counting();
    assert!(!quota.contains(&key(2)));
    assert_eq!(quota.sums().live, 8192 + 4096);
    assert_eq!(quota.checked(&key(1)), Checked::Yes);
    assert_eq!(quota.checked(&key(3)), Checked::No);
}

#[test]
fn a_use_is_written_at_most_hourly() {
    let quota = filled(1 << 30, 1);
    assert!(quota.note_use(&key(0), 500));
    assert!(!quota.note_use(&key(0), 500));
    assert!(quota.note_use(&key(0), 501));
    assert!(!quota.note_use(&key(9), 500));
    // The clock was ahead.
    assert!(quota.note_use(&key(0), 90_000));
    assert!(quota.note_use(&key(0), 502));
    assert!(!quota.note_use(&key(0), 502));
}

#[test]
fn a_clock_that_was_ahead_makes_nothing_old_that_is_in_use() {
    let quota = filled(80_000, 10);
    quota.set_hour(90_000);
    quota.set_hour(1000);
    for n in 0..4 {
        quota.note_use(&key(n), 1000);
        quota.note_use(&key(n), 1000);
    }
    assert_eq!(quota.unused(24_576, 10).len(), 6);
    assert!(quota.unused(24_577, 10).is_empty());
}

#[test]
fn pinned_bodies_are_never_named_and_unpinned_ones_are_again() {
    let quota = filled(1 << 30, 10);
    let pinned: HashSet<[u8; 32]> = [key(1), key(2)].into();
    let all: HashSet<[u8; 32]> = (0..10).map(key).collect();
    quota.pin_only(&pinned, &all);
    quota.insert(&key(11), 8192, Checked::Yes, Keep::Pinned, None);
    let sums = quota.sums();
    assert_eq!((sums.pinned, sums.pinned_bodies), (2 * 4096 + 8192, 3));
    let mut named = HashSet::new();
    while let Some(victim) = quota.victim() {
        assert!(named.insert(victim.key));
        quota.remove(&victim.key);
    }
    assert_eq!(named.len(), 8);
    assert!(named.is_disjoint(&pinned));
    // One that is replaced or deleted is counted as what it is now.
    quota.insert(&key(1), 8192, Checked::Yes, Keep::WhileUsed, None);
    quota.remove(&key(2));
    assert_eq!(quota.sums().pinned, 2 * 8192);
    quota.pin_only(&HashSet::new(), &[key(1)].into());
    assert_eq!(quota.sums().pinned_bodies, 1);
    let victim = quota.victim().unwrap();
    assert_eq!(victim.key, key(1));
    quota.remove(&victim.key);
    assert!(quota.victim().is_none());
    let sums = quota.sums();
    assert_eq!((sums.live, sums.pinned, sums.entries), (8192, 8192, 1));
    for n in 20..30 {
        quota.insert(&key(n), 512, Checked::Yes, Keep::WhileUsed, None);
    }
    assert_eq!(quota.sums().entries, 11);
}

#[test]
fn what_is_not_in_use_is_all_that_a_huge_body_gets() {
    let quota = filled(80_000, 10);
    assert!(quota.is_huge(10_001) && !quota.is_huge(10_000));
    quota.set_hour(1000);
    for n in 0..4 {
        quota.note_use(&key(n), 1000);
        quota.note_use(&key(n), 1000);
    }
    let keys = |found: Vec<Victim>| -> Vec<[u8; 32]> {
        found.into_iter().map(|victim| victim.key).collect()
    };
    assert_eq!(keys(quota.unused(8000, 10)), [key(4), key(5)]);
    assert_eq!(keys(quota.unused(24_576, 3)).len(), 3);
    assert_eq!(keys(quota.unused(24_577, 10)), Vec::<[u8; 32]>::new());
    quota.set_hour(1023);
    assert_eq!(keys(quota.unused(24_577, 10)).len(), 0);
    quota.set_hour(1024);
    assert_eq!(keys(quota.unused(24_577, 10)).len(), 7);
}
