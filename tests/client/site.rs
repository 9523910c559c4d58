//! A server of some make over loopback sockets.

use crate::harness::upstream::free_port;
use crate::servers::{Answer, Login, Server, Shape};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A shape that listens on 127.0.0.1, its storage on 127.0.0.2. It lives as long as the process.
#[derive(Debug)]
pub(crate) struct Site {
    shape: Shape,
    /// What was asked, as `URL` and whether Sluice asked.
    asked: Mutex<Vec<(String, bool)>>,
    /// Whether connections end without an answer.
    pub(crate) is_gone: AtomicBool,
    /// Whether everybody is answered as if with the server's credential.
    pub(crate) is_open: AtomicBool,
}

impl Site {
    pub(crate) fn start(server: Server) -> Arc<Self> {
        let port = free_port();
        let [home, far] = [1, 2].map(|last| format!("http://127.0.0.{last}:{port}"));
        let site = Arc::new(Self {
            shape: server.shape(&home, &far),
            asked: Mutex::default(),
            is_gone: AtomicBool::new(false),
            is_open: AtomicBool::new(false),
        });
        for base in [home, far] {
            let address = base.strip_prefix("http://").expect("it was put there");
            let listener = TcpListener::bind(address).expect("the port was free a moment ago");
            let site = Arc::clone(&site);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (site, base) = (Arc::clone(&site), base.clone());
                    // A peer that goes away in the middle ends its own thread.
                    std::thread::spawn(move || site.serve(&base, stream));
                }
            });
        }
        site
    }

    /// Answers the requests of one connection.
    fn serve(&self, base: &str, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if self.is_gone.load(Ordering::SeqCst) {
                return Ok(());
            }
            let target = line.split(' ').nth(1).unwrap_or_default();
            let url = format!("{base}{target}");
            let is_head = line.starts_with("HEAD ");
            let (mut authorization, mut is_sluice) = (None, false);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                let Some((name, value)) = line.trim_end().split_once(": ") else {
                    break;
                };
                match name.to_ascii_lowercase().as_str() {
                    "authorization" => authorization = Some(value.to_owned()),
                    "via" => is_sluice = value.contains("sluice-"),
                    _ => {}
                }
            }
            let answer = self.answer(&url, authorization.as_deref());
            let mut head = format!(
                "HTTP/1.1 {} Answer\r\nContent-Length: {}\r\n",
                answer.status,
                answer.body.len()
            );
            for (name, value) in &answer.headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            self.lock().push((url, is_sluice));
            stream.write_all(head.as_bytes())?;
            if !is_head {
                stream.write_all(&answer.body)?;
            }
        }
    }

    fn answer(&self, url: &str, authorization: Option<&str>) -> Answer {
        let answer = self.shape.answer(url, authorization);
        match self.shape.login {
            Some(login) if answer.status == 401 && self.is_open.load(Ordering::SeqCst) => {
                self.shape.answer(url, Some(&login.header()))
            }
            _ => answer,
        }
    }

    /// Its service index.
    pub(crate) fn source(&self) -> &str {
        &self.shape.upstream
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, bool)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked since the last time, once it is sure that only Sluice asked.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.lock());
        for (url, is_sluice) in &asked {
            assert!(is_sluice, "a leaked link: {url} came without Sluice's Via");
        }
        asked.into_iter().map(|(url, _)| url).collect()
    }

    /// Forgets what was asked.
    pub(crate) fn reset(&self) {
        self.lock().clear();
    }

    /// A configuration with one feed of this server.
    pub(crate) fn config(&self) -> String {
        let credential = match self.shape.login {
            None => String::new(),
            Some(Login::Basic { user, password }) => {
                format!("username = \"{user}\"\npassword = \"{password}\"\n")
            }
            Some(Login::Bearer(token)) => format!("token = \"{token}\"\n"),
        };
        let upstream = &self.shape.upstream;
        format!("[[feed]]\nname = \"nuget\"\nupstream = \"{upstream}\"\n{credential}")
    }
}
