//! Over https: Sluice serves TLS itself with a certificate of a private authority, which the client is told to trust.

use crate::authority::Authority;
use crate::harness::sluice::{Settings, Sluice};
use crate::harness::upstream::{self, Upstream};
use crate::machine::Machine;
use crate::publish::pack;
use crate::stage::{LEAST_REQUESTS, restore_solution, say};
use crate::suite::{Turn, turn};

/// A machine that uses a Sluice over https, and does not trust it yet.
pub(crate) struct Scene {
    pub(crate) authority: Authority,
    pub(crate) machine: Machine,
    pub(crate) sluice: Sluice,
    pub(crate) upstream: Upstream,
}

/// Whom Sluice's certificate names.
const US: &[&str] = &["127.0.0.1"];

impl Scene {
    pub(crate) fn new(turn: &Turn) -> Self {
        Self::build(turn, upstream::Settings::default(), |settings| settings)
    }

    /// With this upstream, and more settings of Sluice.
    pub(crate) fn build(
        turn: &Turn,
        upstream: upstream::Settings,
        more: impl FnOnce(Settings) -> Settings,
    ) -> Self {
        let upstream = Upstream::start(upstream, &turn.folder);
        let authority = Authority::new(&turn.folder);
        let pair = authority.certify(US);
        let machine = Machine::new(&turn.folder.join("machine"), &turn.sdk);
        let settings = Settings::new(&turn.folder, &machine.home())
            .upstream(&upstream.source())
            .argument("--tls-listen", "127.0.0.1:0")
            .argument("--tls-certificate", &pair.certificate.display().to_string())
            .argument("--tls-key", &pair.key.display().to_string())
            .argument("--ca-files", &authority.file.display().to_string());
        let sluice = more(settings).start();
        let source = sluice.secure_source();
        let config = machine.config().display().to_string();
        let words = [
            "nuget",
            "update",
            "source",
            "nuget.org",
            "--source",
            &source,
        ];
        let more = ["--configfile", &config];
        let words = [&words[..], &more].concat();
        machine.dotnet(&machine.work(), &words).succeeded();
        Self {
            authority,
            machine,
            sluice,
            upstream,
        }
    }
}

#[test]
fn a_restore_over_https_trusts_our_own_authority_and_outlives_a_renewal() {
    let test = "a_restore_over_https_trusts_our_own_authority_and_outlives_a_renewal";
    let Some(turn) = turn(test) else { return };
    let mut scene = Scene::new(&turn);
    let solution = scene.machine.solution();
    let refused = restore_solution(&scene.machine, &solution).failed();
    assert!(refused.text.contains("NU1301"), "{}", refused.text);
    let file = scene.authority.file.clone();
    scene.machine.trust(&file);
    for what in ["cold", "after a renewal"] {
        scene.machine.forget();
        let seen = scene.sluice.access().len();
        let outcome = restore_solution(&scene.machine, &solution).succeeded();
        for warning in ["NU1302", "NU1803", "NU1900"] {
            assert!(!outcome.text.contains(warning), "{}", outcome.text);
        }
        let access = scene.sluice.access_after(seen, LEAST_REQUESTS);
        assert!(access.iter().all(|line| line.status < 400), "{access:#?}");
        say(&format!("{what}: {:?}", outcome.elapsed));
        scene.authority.certify(US);
        // Longer than between two looks at the files.
        std::thread::sleep(std::time::Duration::from_secs(12));
    }
    let log = scene.sluice.process.errors();
    assert!(log.contains("the certificate has changed"), "{log}");
    assert!(
        log.contains("self-check: our index is as it should be"),
        "{log}"
    );
    scene.upstream.assert_no_leak();
}

#[test]
fn push_and_delete_over_https() {
    let Some(turn) = turn("push_and_delete_over_https") else {
        return;
    };
    let mut scene = Scene::new(&turn);
    let file = scene.authority.file.clone();
    scene.machine.trust(&file);
    let work = scene.machine.work();
    let package = pack(&work, "Sluice.Pushed.Secure", "1.0.0", 1000);
    let package = package.display().to_string();
    let push = [
        "nuget",
        "push",
        &package,
        "-s",
        "nuget.org",
        "-k",
        "push-key",
    ];
    scene.machine.dotnet(&work, &push).succeeded();
    // The upstream's words reach the user, whichever version of HTTP the client speaks.
    let again = scene.machine.dotnet(&work, &push).failed();
    assert!(again.text.contains("409"), "{}", again.text);
    let folder = scene.machine.project("user", &[]);
    let add = ["add", "package", "Sluice.Pushed.Secure"];
    scene.machine.dotnet(&folder, &add).succeeded();
    let words = [
        "nuget",
        "delete",
        "Sluice.Pushed.Secure",
        "1.0.0",
        "-s",
        "nuget.org",
    ];
    let more = ["-k", "push-key", "--non-interactive"];
    let delete = [&words[..], &more].concat();
    scene.machine.dotnet(&work, &delete).succeeded();
    scene.upstream.assert_no_leak();
}
