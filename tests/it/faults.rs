//! A store that fails costs speed, never an answer that the upstream can give.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sluice::store::{Fault, Probe, Step};

use crate::harness::fixture::{LIST, LIST_ASKED, ONE, content_path, nuget_like, package};
use crate::harness::{TestProxy, pass, seconds};

/// A proxy whose store meets `fault` at `step` while the switch is on.
async fn broken(step: Step, fault: Fault) -> (TestProxy, Arc<AtomicBool>) {
    let switch = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&switch);
    let proxy = TestProxy::with(nuget_like(), |setup| {
        setup.store.probe = Some(Probe::new(move |asked| {
            (asked == step && seen.load(Ordering::SeqCst)).then_some(fault)
        }));
    })
    .await;
    proxy.get("/v3/index.json").await.expect("miss");
    pass(seconds(1)).await;
    switch.store(true, Ordering::SeqCst);
    (proxy, switch)
}

#[tokio::test(start_paused = true)]
async fn no_step_of_the_store_fails_a_request() {
    let content = format!("/v3/flatcontainer/{}", content_path(ONE, "1.0.0"));
    let steps = [
        Step::IndexRead,
        Step::Open,
        Step::Read,
        Step::Rename,
        Step::Reserve,
        Step::Row,
        Step::Sync,
        Step::Trailer,
        Step::Unlink,
        Step::Write,
    ];
    for step in steps {
        for fault in [Fault::Io(ErrorKind::StorageFull), Fault::Panic, Fault::Hang] {
            let (proxy, switch) = broken(step, fault).await;
            for round in 0..2 {
                let list = proxy.get(LIST).await;
                assert_eq!(
                    list.status, 200,
                    "{step:?} {fault:?} {round}: {:?}",
                    list.reason
                );
                assert_eq!(
                    list.text(),
                    r#"{"versions":["1.0.0","1.1.0","2.0.0-beta.1"]}"#
                );
                let answer = proxy.get(&content).await;
                assert_eq!(
                    answer.status, 200,
                    "{step:?} {fault:?} {round}: {:?}",
                    answer.reason
                );
                assert_eq!(answer.broken, None, "{step:?} {fault:?} {round}");
                assert_eq!(
                    answer.body,
                    package(ONE, "1.0.0", 40_000),
                    "{step:?} {fault:?}"
                );
                pass(seconds(61)).await;
            }
            switch.store(false, Ordering::SeqCst);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_a_bypass_and_documents_still_live_in_memory() {
    let (proxy, switch) = broken(Step::Reserve, Fault::Io(ErrorKind::StorageFull)).await;
    proxy.get(LIST).await.expect("bypass");
    proxy.get(LIST).await.expect("hit");
    assert_eq!(proxy.origin.count(LIST_ASKED), 1);
    let content = format!("/v3/flatcontainer/{}", content_path(ONE, "1.0.0"));
    proxy.get(&content).await.expect("bypass.store");
    proxy.get(&content).await.expect("bypass.store");
    switch.store(false, Ordering::SeqCst);
    pass(seconds(61)).await;
    proxy.get(LIST).await.expect("miss");
    proxy.get(&content).await.expect("miss");
    proxy.get(&content).await.expect("hit");
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_is_found_while_the_index_hangs() {
    let (proxy, switch) = broken(Step::IndexRead, Fault::Hang).await;
    switch.store(false, Ordering::SeqCst);
    let content = format!("/v3/flatcontainer/{}", content_path(ONE, "1.0.0"));
    proxy.get(&content).await.expect("miss");
    pass(seconds(1)).await;
    proxy.origin.all_down();
    let proxy = proxy.restart().await;
    switch.store(true, Ordering::SeqCst);
    let (answer, took) = proxy.timed(&content).await;
    answer.expect("hit");
    assert!(took < seconds(1), "{took:?}");
    switch.store(false, Ordering::SeqCst);
}
