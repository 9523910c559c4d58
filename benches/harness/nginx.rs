//! nginx as the measure: a static server of a written tree, and `proxy_cache` before another nginx.

use super::http::{Request, ask};
use super::process::Process;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What an nginx does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role<'a> {
    /// Keeps what this origin answers.
    Cache(SocketAddr),
    /// Serves the files of this folder, `.gz` neighbours where the client takes gzip.
    Static(&'a Path),
}

/// A running nginx with one worker.
#[derive(Debug)]
pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    _process: Process,
}

impl Nginx {
    /// Starts it on one CPU; `folder` is its own and must exist.
    ///
    /// # Panics
    /// If it does not listen within some seconds.
    pub(crate) fn start(role: Role<'_>, cpu: u32, port: u16, folder: &Path) -> Self {
        let file = folder.join("nginx.conf");
        std::fs::write(&file, configuration(role, port, folder)).expect("it can be written");
        let mut command = Command::new("taskset");
        command
            .args(["-c", &cpu.to_string(), "nginx", "-p"])
            .arg(folder)
            .arg("-c")
            .arg(&file);
        let process = Process::start(&mut command, &folder.join("nginx.stderr"));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let until = Instant::now() + Duration::from_secs(10);
        while ask(address, &Request::get("/", &[("Connection", "close")])).is_err() {
            assert!(
                Instant::now() < until,
                "nginx does not listen: {}",
                process.errors()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            address,
            _process: process,
        }
    }
}

/// One worker in the foreground. `tcp_nopush` stays off: on loopback it costs 40 ms an answer.
fn configuration(role: Role<'_>, port: u16, folder: &Path) -> String {
    let folder = folder.display();
    let mut text = format!(
        "user root;\ndaemon off;\nmaster_process off;\nworker_processes 1;\n\
         worker_rlimit_nofile 16384;\npid {folder}/nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 8192; }}\nhttp {{\n\
         access_log off;\ndefault_type application/json;\n\
         types {{ application/octet-stream nupkg; text/xml nuspec; }}\n\
         sendfile on;\ntcp_nopush off;\ntcp_nodelay on;\n\
         keepalive_requests 1000000000;\nkeepalive_timeout 600;\n\
         client_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\n\
         fastcgi_temp_path {folder}/fastcgi;\nuwsgi_temp_path {folder}/uwsgi;\n\
         scgi_temp_path {folder}/scgi;\n\
         open_file_cache max=4096 inactive=10m;\nopen_file_cache_valid 10m;\n"
    );
    let server = match role {
        Role::Cache(origin) => format!(
            "proxy_cache_path {folder}/cache levels=1:2 keys_zone=all:64m inactive=1d max_size=4g \
             use_temp_path=off;\n\
             upstream origin {{ server {origin}; keepalive 64; }}\n\
             server {{ listen 127.0.0.1:{port} backlog=4096;\nlocation / {{\n\
             proxy_pass http://origin;\nproxy_http_version 1.1;\n\
             proxy_set_header Connection \"\";\nproxy_set_header Accept-Encoding gzip;\n\
             proxy_cache all;\nproxy_cache_lock on;\nproxy_cache_valid 200 1d;\n\
             proxy_max_temp_file_size 0;\n}} }}\n"
        ),
        Role::Static(root) => format!(
            "server {{ listen 127.0.0.1:{port} backlog=4096;\nroot {};\ngzip_static on;\n\
             etag on;\n}}\n",
            root.display()
        ),
    };
    writeln!(text, "{server}}}").expect("a string takes all");
    text
}
