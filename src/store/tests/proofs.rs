//! Proofs of clients' credentials: what outlives a restart, and who may read the key.

use super::*;
use crate::cache::proof::ProofKey;

#[tokio::test(start_paused = true)]
async fn proofs_survive_a_restart_and_so_does_their_end() {
    let rig = Rig::new();
    let store = rig.open().await;
    let holder = store.holder("corp", Some(b"Basic dTpw"));
    let [kept, ended] = ["id/a", "id/b"].map(|scope| ProofKey::new(&holder, scope));
    let refused = store.holder("corp", None);
    let of_refused = ProofKey::new(&refused, "id/a");
    let now = rig.clock.now();
    for key in [kept, ended, of_refused] {
        store.put_proof(key, now);
    }
    store.end_proof(&ended);
    store.end_proofs_of(&refused);
    store.close(Duration::from_secs(5)).await;
    let store = rig.open().await;
    // Found although the index is still being opened.
    assert_eq!(store.proof_at_hand(&kept), None);
    assert_eq!(store.proof(&kept).await, Some(now));
    assert_eq!(store.proof(&ended).await, None);
    assert_eq!(store.proof(&of_refused).await, None);
    assert_eq!(store.usage().proofs, 1);
    // The same key hashes as before.
    assert_eq!(store.holder("corp", Some(b"Basic dTpw")), holder);
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn the_key_of_proofs_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let rig = Rig::new();
    let store = rig.open().await;
    let path = rig.path().join("PROOFKEY");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let first = store.holder("corp", None);
    store.close(Duration::from_secs(5)).await;
    // Without it there is another, and no old proof fits.
    fs::remove_file(&path).unwrap();
    let store = rig.open().await;
    assert_ne!(store.holder("corp", None), first);
}
