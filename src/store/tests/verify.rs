//! A verification finds every kind of damage, calls what a crash leaves by design none, and mends when it is asked to.

use std::path::PathBuf;

use super::*;
use crate::store::layout::hex;

/// What a verification came to, and its findings in order.
async fn verify(store: &Store, repair: Repair) -> (Report, Vec<Damage>) {
    let (findings, mut found) = mpsc::channel(64);
    let progress = Progress::default();
    let report = store
        .verify(repair, Serving::Nobody, &findings, &progress)
        .await;
    drop(findings);
    let mut damage = Vec::new();
    while let Some(finding) = found.recv().await {
        damage.push(finding.damage);
    }
    damage.sort_by_key(|damage| damage.word());
    assert_eq!(report.damaged, u64::try_from(damage.len()).unwrap());
    assert!(report.is_complete);
    assert_eq!(progress.now().1, report.bytes + bytes_of_damaged(&damage));
    (report, damage)
}

/// Bytes that are read of damaged bodies: those whose checksum is wrong are read whole.
fn bytes_of_damaged(damage: &[Damage]) -> u64 {
    let read = |damage: &&Damage| matches!(damage, Damage::Checksum | Damage::Digest);
    u64::try_from(damage.iter().filter(read).count()).unwrap() * BODY
}

const BODY: u64 = 200_000;

fn file_of(rig: &Rig, key: &Key) -> PathBuf {
    let name = hex(key.bytes());
    let folders = fs::read_dir(rig.path().join("bodies")).unwrap();
    let mut files = folders.map(|folder| folder.unwrap().path().join(&name));
    files.find(|file| file.exists()).unwrap()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

async fn filled(rig: &Rig) -> Store {
    let store = rig.open_ready().await;
    for (n, id) in (0..).zip(["a", "b", "c", "d", "e"]) {
        put(&store, &key(id), &noise(n, 200_000)).await;
    }
    settle(&store).await;
    store
}

#[tokio::test(start_paused = true)]
async fn a_sound_store_is_called_sound() {
    let rig = Rig::new();
    let store = filled(&rig).await;
    let (report, damage) = verify(&store, Repair::ReportOnly).await;
    assert_eq!(damage, []);
    assert_eq!((report.bodies, report.bytes), (5, 5 * BODY));
    assert_eq!((report.without_row, report.without_body), (0, 0));
    store.close(Duration::from_secs(5)).await;
    let store = rig.open_ready().await;
    assert_eq!(verify(&store, Repair::ReportOnly).await.1, []);
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_damage_is_found_and_only_a_repair_changes_anything() {
    let rig = Rig::new();
    let store = filled(&rig).await;
    flip(&file_of(&rig, &key("a")), 150_000);
    // Cut.
    let cut = file_of(&rig, &key("b"));
    File::options()
        .write(true)
        .open(&cut)
        .unwrap()
        .set_len(100)
        .unwrap();
    // Under another's name.
    let (one, other) = (file_of(&rig, &key("c")), file_of(&rig, &key("d")));
    fs::copy(&one, &other).unwrap();
    fs::write(one.with_file_name("stranger"), "x").unwrap();
    fs::write(rig.path().join("tmp").join("123-4"), "x").unwrap();
    // Gone behind our back.
    fs::remove_file(file_of(&rig, &key("e"))).unwrap();
    let expected = [
        Damage::Accounts,
        Damage::Checksum,
        Damage::Foreign,
        Damage::Name,
        Damage::Temporary,
        Damage::Trailer,
    ];
    let before = store.usage();
    let (report, damage) = verify(&store, Repair::ReportOnly).await;
    assert_eq!(damage, expected);
    assert_eq!((report.bodies, report.set_aside), (1, 0));
    assert_eq!(report.quarantine, []);
    assert_eq!(store.usage().body_bytes, before.body_bytes);
    let (report, damage) = verify(&store, Repair::Mend).await;
    assert_eq!(damage, expected);
    assert_eq!((report.set_aside, report.quarantine.len()), (3, 3));
    settle(&store).await;
    // Whose file that is, somebody else has to say.
    let (report, damage) = verify(&store, Repair::Mend).await;
    assert_eq!(damage, [Damage::Foreign]);
    assert_eq!(report.bodies, 1);
    fs::remove_file(one.with_file_name("stranger")).unwrap();
    assert_accounts(&store, rig.path());
    assert_eq!(body_of(&store, &key("c")).await, noise(2, 200_000));
    for id in ["a", "b", "d", "e"] {
        assert!(is_absent(&store.lookup(&key(id)).await), "{id}");
    }
    put(&store, &key("a"), b"again").await;
    settle(&store).await;
    assert_eq!(verify(&store, Repair::ReportOnly).await.1, []);
}

#[tokio::test(start_paused = true)]
async fn bytes_whose_checksum_collides_are_found_by_their_digest() {
    let rig = Rig::new();
    let store = filled(&rig).await;
    let path = file_of(&rig, &key("a"));
    let mut bytes = fs::read(&path).unwrap();
    let crc = crc32c::crc32c(&bytes[..200_000]);
    bytes[10] ^= 0xff;
    force_crc(&mut bytes[..200_000], crc);
    fs::write(&path, bytes).unwrap();
    assert_eq!(verify(&store, Repair::Mend).await.1, [Damage::Digest]);
}

/// Changes the last four bytes so that the whole has this checksum: crc32c is linear, so each of their bits flips a fixed
/// set of the checksum's.
fn force_crc(bytes: &mut [u8], wanted: u32) {
    let end = bytes.len() - 4;
    bytes[end..].fill(0);
    let base = crc32c::crc32c(bytes);
    let mut rows: Vec<(u32, u32)> = (0..32)
        .map(|bit| {
            let mut probe = bytes.to_vec();
            probe[end + bit / 8] ^= 1 << (bit % 8);
            (crc32c::crc32c(&probe) ^ base, 1 << bit)
        })
        .collect();
    let (mut left, mut bits) = (wanted ^ base, 0);
    for column in (0..32).rev() {
        let Some(at) = rows
            .iter()
            .position(|(effect, _)| effect >> column & 1 == 1)
        else {
            continue;
        };
        let pivot = rows.swap_remove(at);
        for row in &mut rows {
            if row.0 >> column & 1 == 1 {
                *row = (row.0 ^ pivot.0, row.1 ^ pivot.1);
            }
        }
        if left >> column & 1 == 1 {
            (left, bits) = (left ^ pivot.0, bits ^ pivot.1);
        }
    }
    assert_eq!(left, 0);
    bytes[end..].copy_from_slice(&u32::to_le_bytes(bits));
    assert_eq!(crc32c::crc32c(bytes), wanted);
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_leaves_by_design_is_no_damage() {
    let rig = Rig::new();
    let store = filled(&rig).await;
    let row = |id: &str| row::entry(key(id).bytes());
    // A body whose row was lost, and a row whose body was.
    store.shared.change(row("a"), None, None);
    let ghost = found(store.lookup(&key("b")).await).entry;
    let value = record::Row::encode(&ghost, 4096);
    store.shared.change(row("ghost"), Some(value), None);
    settle(&store).await;
    let (report, damage) = verify(&store, Repair::ReportOnly).await;
    assert_eq!(damage, []);
    assert_eq!((report.without_row, report.without_body), (1, 1));
    let (report, _) = verify(&store, Repair::Mend).await;
    assert_eq!((report.without_row, report.without_body), (1, 1));
    settle(&store).await;
    let (report, _) = verify(&store, Repair::ReportOnly).await;
    assert_eq!((report.without_row, report.without_body), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn bodies_under_way_and_read_meanwhile_are_no_damage() {
    let rig = Rig::new();
    let store = filled(&rig).await;
    let mut writer = store.begin(&key("f"), Some(BODY)).await.unwrap();
    writer.write(noise(9, 100_000).into()).await.unwrap();
    let reader = found(store.lookup(&key("a")).await);
    assert_eq!(verify(&store, Repair::Mend).await.1, []);
    writer.write(noise(8, 100_000).into()).await.unwrap();
    let _ = writer.publish(draft(&store));
    assert_eq!(verify(&store, Repair::Mend).await.1, []);
    assert_eq!(reader.body.read_all().await.unwrap(), noise(0, 200_000));
    settle(&store).await;
    assert_eq!(verify(&store, Repair::Mend).await.0.bodies, 6);
}
