//! How long a full store keeps its first client waiting: from exec to the first correct answer.
//!
//! The upstream refuses every connection, so that the answer can only come from what is stored. The folder stands on a
//! file system of its own where one can be mounted: cold then means that the kernel has nothing of it in memory, names of
//! files included. Elsewhere it means that it has nothing of the index.

use super::fill::{fill, package_of, path_of};
use super::folder::names_in;
use super::http::{Connection, Request};
use super::image::{self, Mounted};
use super::measure::median;
use super::process::Process;
use super::random::Random;
use super::sluice;
use super::upstream::free_port;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a client may have to wait for.
pub(crate) const LIMIT: Duration = Duration::from_millis(200);

/// An answer that has not come after this will not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the process before ended, and what of the disk is in memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Before {
    Cold,
    Ended,
    Killed,
}

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Figures, to be printed.
    pub(crate) lines: Vec<String>,
    /// What took longer than the limit in half of the starts: the worst are the machine's, too.
    pub(crate) slow: Vec<String>,
}

/// Fills a folder with `entries` packages, and starts Sluice on it `runs` times in each state.
///
/// # Panics
/// If an answer is wrong or does not come.
pub(crate) fn measure(folder: &Path, entries: usize, runs: usize, random: &mut Random) -> Report {
    let mut place = Place::new(folder);
    let began = Instant::now();
    fill(&place.data, "nuget", entries);
    let mut report = Report::default();
    let stored = format!("{entries} entries stored in {:.1?}", began.elapsed());
    report.lines.push(stored);
    let port = free_port();
    let settings = sluice::Settings::new(folder, folder)
        .upstream(&format!("http://127.0.0.1:{}/v3/index.json", free_port()))
        .without_access_log()
        .variable("SLUICE_BALLAST_BYTES", "0")
        .at_port(port);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    for before in [Before::Ended, Before::Cold, Before::Killed] {
        let mut times = Vec::new();
        for _ in 0..runs {
            let number = random.place(entries);
            if before == Before::Cold {
                place.cool();
            }
            let began = Instant::now();
            let mut process = settings.spawn();
            wait_for(address, number, &process);
            times.push(began.elapsed().as_secs_f64() * 1000.0);
            match before {
                Before::Cold | Before::Ended => end(&mut process),
                Before::Killed => process.kill(),
            }
        }
        let middle = median(&times);
        let best = times.iter().copied().fold(f64::INFINITY, f64::min);
        let worst = times.iter().copied().fold(0.0, f64::max);
        let what = match before {
            Before::Cold => "nothing of it in memory",
            Before::Ended => "after a clean end",
            Before::Killed => "after kill -9",
        };
        report.lines.push(format!(
            "first answer, {what}: median {middle:.0} ms, best {best:.0} ms, worst {worst:.0} ms of {runs}; limit {} ms",
            LIMIT.as_millis()
        ));
        if middle > LIMIT.as_secs_f64() * 1000.0 {
            let slow = format!("first answer, {what}: {middle:.0} ms");
            report.slow.push(slow);
        }
    }
    report
}

fn wait_for(address: SocketAddr, number: usize, process: &Process) {
    let path = format!("/v3/flatcontainer/{}", path_of(number));
    let until = Instant::now() + PATIENCE;
    loop {
        let asked =
            Connection::open(address).and_then(|mut open| open.ask(&Request::get(&path, &[])));
        if let Ok(reply) = asked {
            let is_right = reply.status == 200 && reply.body == package_of(number);
            assert!(is_right, "{path}: {} {}", reply.status, reply.reason);
            return;
        }
        assert!(Instant::now() < until, "no answer: {}", process.errors());
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn end(process: &mut Process) {
    process.signal(super::process::Signal::Terminate);
    process.end(Duration::from_secs(35));
}

/// Size of the file system, in MiB: each entry takes a block and an inode.
const DISK: u64 = 2048;

/// Where the data folder stands.
#[derive(Debug)]
struct Place {
    data: PathBuf,
    image: PathBuf,
    /// `None` where nothing can be mounted.
    mounted: Option<Mounted>,
}

impl Place {
    fn new(folder: &Path) -> Self {
        let (data, image) = (folder.join("data"), folder.join("disk.img"));
        let made = image::make(&image, DISK);
        let mounted = made.and_then(|()| Mounted::mount(&image, &data, "rw")).ok();
        Self {
            data,
            image,
            mounted,
        }
    }

    /// Has the kernel drop what it holds of the folder.
    fn cool(&mut self) {
        if self.mounted.take().is_some() {
            drop_pages(&self.image);
            let mounted = Mounted::mount(&self.image, &self.data, "rw");
            self.mounted = Some(mounted.expect("it was mounted before"));
            return;
        }
        let names = names_in(&self.data).into_iter();
        for index in names.filter(|name| name.starts_with("index-")) {
            let index = self.data.join(index);
            for name in names_in(&index) {
                drop_pages(&index.join(name));
            }
        }
    }
}

fn drop_pages(path: &Path) {
    let Ok(file) = File::open(path) else {
        return;
    };
    // What is not on the disk yet would stay.
    file.sync_all().expect("what was written can be synced");
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
}
