//! Bytes that were fetched with one credential, and the next request with another.

use super::{ANN, BOB, CARL, CONTENT, CONTENT_ASKED, CONTENT_PLACE, Corp, file, get};
use crate::harness::fixture::{ONE, package};
use crate::harness::{Ending, pass, seconds};

#[tokio::test(start_paused = true)]
async fn what_broke_off_for_one_is_given_to_whom_the_upstream_gives_the_rest() {
    let whole = package(ONE, "1.0.0", 40_000);
    let corp = Corp::new();
    let proxy = corp.known_to(&[ANN, BOB, CARL]).await;
    // Four more times a hundred bytes: then the line is given up.
    let broken = file(&whole).ending(Ending::Cut(100));
    corp.on(CONTENT_PLACE, "sample.one", broken);
    assert!(get(&proxy, ANN, CONTENT).await.broken.is_some());
    assert_eq!(proxy.store.usage().partials, 1);
    pass(seconds(60)).await;
    corp.on(CONTENT_PLACE, "sample.one", file(&whole));
    // Who may not see it gets nothing of it, and takes it from nobody.
    get(&proxy, CARL, CONTENT)
        .await
        .expect_status(403, "challenged");
    assert_eq!(proxy.store.usage().partials, 1);
    let answer = get(&proxy, BOB, CONTENT).await.expect("miss.resumed");
    assert_eq!(answer.body, whole);
    let asked = corp.origin.last(CONTENT_ASKED);
    assert_eq!(asked.header("authorization"), Some(BOB));
    let range = format!("bytes=500-{}", whole.len() - 1);
    assert_eq!(asked.header("range"), Some(&*range));
    // It is stored now, and his proof is for nobody else.
    get(&proxy, CARL, CONTENT)
        .await
        .expect_status(403, "challenged");
    assert_eq!(get(&proxy, ANN, CONTENT).await.body, whole);
}
