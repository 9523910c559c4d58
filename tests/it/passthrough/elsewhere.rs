//! Upstreams without a flat container, and files that lie where no credential goes.

use serde_json::json;

use super::{ANN, BOB, CARL, CONTENT, Corp, LIST, ask, file, get, has_heard, whole};
use crate::harness::fixture::{document, package, service_index, version_list};
use crate::harness::{Act, Answered, Gate, Reply, pass, seconds};

const MANIFEST: &str = "/v3/flatcontainer/sample.one/1.0.0/sample.one.nuspec";
const FILE: &str = "corp.test/download/one";
const FAR_FILE: &str = "cdn.test/download/one";
const REGISTRATION: &str = "corp.test/registration/sample.one/index.json";

/// An upstream whose package lies where its registration says, which who may see `id` may read.
fn without_flat_container(place: &str, id: &str) -> Corp {
    let corp = Corp::new();
    let hive = [(
        "RegistrationsBaseUrl/3.6.0",
        "https://corp.test/registration/",
    )];
    corp.on("corp.test/index.json", "", document(&service_index(&hive)));
    let leaf = json!({
        "@id": "https://corp.test/registration/sample.one/1.0.0.json",
        "catalogEntry": {"id": "Sample.One", "version": "1.0.0"},
        "packageContent": format!("https://{place}"),
    });
    let page = json!({
        "@id": format!("https://{REGISTRATION}#page"),
        "count": 1, "lower": "1.0.0", "upper": "1.0.0", "items": [leaf],
    });
    let index = json!({"count": 1, "items": [page]}).to_string();
    corp.on(REGISTRATION, id, document(&index));
    corp
}

#[track_caller]
fn check_manifest(answer: &Answered) {
    let text = answer.text().to_lowercase();
    assert!(text.contains("<id>sample.one</id>"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_manifest_is_taken_from_its_package_for_whom_may_see_that() {
    let corp = without_flat_container(FILE, "sample.one");
    corp.on(FILE, "sample.one", file(&whole()));
    let proxy = corp.known_to(&[ANN, BOB, CARL]).await;
    let manifest = get(&proxy, ANN, MANIFEST).await.expect("miss");
    check_manifest(&manifest);
    get(&proxy, ANN, MANIFEST).await.expect("hit");
    for path in [MANIFEST, CONTENT, LIST] {
        get(&proxy, CARL, path)
            .await
            .expect_status(403, "challenged");
        get(&proxy, "", path).await.expect_status(401, "challenged");
    }
    let other = get(&proxy, BOB, MANIFEST).await.expect("revalidated");
    assert_eq!(other.body, manifest.body);
    get(&proxy, BOB, CONTENT).await.expect("hit");
    // A proof that has grown old is asked for again, and a right that was withdrawn is seen then.
    pass(seconds(301)).await;
    corp.rights.revoke(ANN);
    get(&proxy, ANN, MANIFEST)
        .await
        .expect_status(401, "challenged");
    get(&proxy, BOB, MANIFEST).await.expect("revalidated");
}

#[tokio::test(start_paused = true)]
async fn a_package_that_was_replaced_gives_its_manifest_anew() {
    let corp = without_flat_container(FILE, "sample.one");
    corp.on(FILE, "sample.one", file(&whole()));
    let proxy = corp.known_to(&[ANN, BOB]).await;
    get(&proxy, ANN, MANIFEST).await.expect("miss");
    let other = package("Sample.One", "1.0.0", 50_000);
    corp.on(FILE, "sample.one", file(&other));
    check_manifest(&get(&proxy, BOB, MANIFEST).await.expect("miss"));
    assert!(get(&proxy, BOB, CONTENT).await.expect("hit").body == other);
}

#[tokio::test(start_paused = true)]
async fn what_one_is_told_of_a_package_is_no_answer_for_anothers_manifest() {
    // The registration is for all and the package for some: it says so, or hides it, late.
    for (hidden_as, told) in [(403, 403), (404, 502)] {
        let corp = without_flat_container(FILE, "");
        let gate = Gate::new();
        let (rights, reply, waits) = (corp.rights.clone(), file(&whole()), gate.clone());
        let act = Act::make(move |seen| {
            let credential = seen.header("authorization").unwrap_or_default();
            match rights.refusal(credential, "sample.one") {
                Some(_) => Reply::new(hidden_as, "").gate(&waits),
                None => reply.clone(),
            }
        });
        corp.origin.on(FILE, act);
        let proxy = corp.known_to(&[ANN, BOB, CARL]).await;
        let leader = proxy.spawn(ask(CARL, CONTENT));
        gate.reached().await;
        let manifest = proxy.spawn(ask(ANN, MANIFEST));
        let package = proxy.spawn(ask(BOB, CONTENT));
        pass(seconds(1)).await;
        gate.open();
        assert_eq!(leader.await.expect("an answer").status, told);
        let manifest = manifest.await.expect("an answer").expect("miss");
        check_manifest(&manifest);
        assert_eq!(package.await.expect("an answer").body, whole());
    }
}

#[tokio::test(start_paused = true)]
async fn where_no_credential_goes_the_registration_proves() {
    let corp = without_flat_container(FAR_FILE, "sample.one");
    corp.origin.on(FAR_FILE, file(&whole()));
    let proxy = corp.known_to(&[ANN, BOB, CARL]).await;
    get(&proxy, ANN, CONTENT).await.expect("miss");
    let answer = get(&proxy, BOB, CONTENT).await.expect("revalidated");
    assert_eq!(answer.body, whole());
    for path in [CONTENT, MANIFEST] {
        get(&proxy, CARL, path)
            .await
            .expect_status(403, "challenged");
        get(&proxy, "", path).await.expect_status(401, "challenged");
    }
    pass(seconds(301)).await;
    corp.rights.revoke(BOB);
    get(&proxy, BOB, CONTENT)
        .await
        .expect_status(401, "challenged");
    get(&proxy, ANN, CONTENT).await.expect("revalidated");
    assert!(!has_heard(&proxy, "cdn.test"));
}

#[tokio::test(start_paused = true)]
async fn where_nothing_can_prove_nothing_is_given_or_said_to_be_absent() {
    let corp = Corp::new();
    // In the clear, for a feed that is not: no credential goes there.
    let index = service_index(&[("PackageBaseAddress/3.0.0", "http://far.test/flat/")]);
    corp.on("corp.test/index.json", "", document(&index));
    let list = document(&version_list(&["1.0.0"]));
    corp.origin.on("far.test/flat/sample.one/index.json", list);
    let place = "far.test/flat/sample.one/1.0.0/sample.one.1.0.0.nupkg";
    corp.origin.on(place, file(&whole()));
    let proxy = corp.known_to(&[ANN]).await;
    get(&proxy, ANN, LIST).await.expect("miss");
    let refused = get(&proxy, ANN, CONTENT).await;
    assert_eq!((refused.status, refused.detail()), (502, "failed.bad-body"));
    let reason = refused.reason.as_deref().expect("a reason");
    assert!(reason.contains("no credential goes"), "{reason}");
    assert!(!has_heard(&proxy, "far.test"));
}
