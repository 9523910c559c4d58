//! The whole module over pipes: scripted origins, paused time, every request and connection counted.

mod body;
mod deadlines;
mod fetch;
mod h2;
mod health;
mod network;
mod proxies;
mod publish;
mod reload;
mod rest;
mod retry;
mod secrets;
mod turns;
mod ways;

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::watch;

use super::auth::{Access, Credential};
use super::connect::{
    Connect, ConnectError, Connection, Negotiated, PrivateAddresses, Protocols, Target,
};
use super::url::Origin;
use super::*;

/// What a site does with a request whose head it has read.
#[derive(Clone)]
enum Reply {
    /// Sends this and closes.
    Close(String),
    /// Sends nothing until the site is released, then a 200.
    Hang,
    /// Sends this and waits for the next request.
    Keep(String),
    /// Reads the request's body to its end, then sends this and closes.
    Read(String),
    /// Sends each piece after its pause, then waits for ever.
    Slowly(Vec<(Duration, String)>),
}

/// What a site does with a connection.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Door {
    Hang,
    Open,
    Private,
    Refuse,
}

/// Where a site sees the end of an upload: the last chunk, which is as well what sized uploads here end with.
const END: &str = "0\r\n\r\n";

/// A scripted origin.
struct Site {
    /// Request bodies as they came over the wire.
    bodies: Mutex<Vec<String>>,
    /// Requests under way that were not answered, and the most there were.
    busy: AtomicUsize,
    connections: AtomicUsize,
    door: Mutex<Door>,
    most_busy: AtomicUsize,
    released: watch::Sender<bool>,
    /// The last is given again and again.
    replies: Mutex<VecDeque<Reply>>,
    requests: Mutex<Vec<String>>,
}

impl Site {
    fn set(&self, replies: impl IntoIterator<Item = Reply>) {
        *self.replies.lock().unwrap() = replies.into_iter().collect();
    }

    fn set_door(&self, door: Door) {
        *self.door.lock().unwrap() = door;
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn asked(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// The reply to the request with this head. What lies below `/hang` never gets one before the release.
    fn next(&self, head: &str) -> Reply {
        if head.starts_with("GET /hang") {
            return Reply::Hang;
        }
        let mut replies = self.replies.lock().unwrap();
        if replies.len() > 1 {
            replies.pop_front().unwrap()
        } else {
            replies.front().cloned().expect("the site has a reply")
        }
    }

    async fn serve(self: Arc<Self>, mut pipe: DuplexStream) {
        while let Some(head) = read_head(&mut pipe).await {
            let reply = self.next(&head);
            self.requests.lock().unwrap().push(head);
            let busy = self.busy.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_busy.fetch_max(busy, Ordering::SeqCst);
            let goes_on = self.answer(&mut pipe, reply).await;
            self.busy.fetch_sub(1, Ordering::SeqCst);
            if !goes_on {
                return;
            }
        }
    }

    async fn answer(&self, pipe: &mut DuplexStream, reply: Reply) -> bool {
        match reply {
            Reply::Close(text) => {
                let _ = pipe.write_all(text.as_bytes()).await;
                false
            }
            Reply::Hang => {
                let mut released = self.released.subscribe();
                let _ = released.wait_for(|released| *released).await;
                pipe.write_all(ok("late").as_bytes()).await.is_ok()
            }
            Reply::Keep(text) => pipe.write_all(text.as_bytes()).await.is_ok(),
            Reply::Read(text) => {
                let mut body = String::new();
                while let Ok(byte) = pipe.read_u8().await {
                    body.push(char::from(byte));
                    if body.ends_with(END) {
                        break;
                    }
                }
                self.bodies.lock().unwrap().push(body);
                let _ = pipe.write_all(text.as_bytes()).await;
                false
            }
            Reply::Slowly(pieces) => {
                for (pause, text) in pieces {
                    tokio::time::sleep(pause).await;
                    if pipe.write_all(text.as_bytes()).await.is_err() {
                        return false;
                    }
                }
                std::future::pending().await
            }
        }
    }
}

/// A request's head; `None` at the end of the connection.
async fn read_head(pipe: &mut DuplexStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(pipe.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

fn ok(body: &str) -> String {
    answer("200 OK", "", body)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

/// Connects to the sites that it was given and to no other.
struct Pipes {
    protocols: Mutex<Vec<Protocols>>,
    sites: Mutex<HashMap<Origin, Arc<Site>>>,
    tasks: Tasks,
}

impl Pipes {
    fn site(&self, origin: &Origin) -> Option<Arc<Site>> {
        self.sites.lock().unwrap().get(origin).cloned()
    }
}

impl Connect for Pipes {
    fn connect(
        &self,
        target: Target,
    ) -> Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send + '_>> {
        Box::pin(async move {
            let site = self
                .site(target.first_hop())
                .ok_or(ConnectError::NameNotFound)?;
            site.connections.fetch_add(1, Ordering::SeqCst);
            self.protocols.lock().unwrap().push(target.protocols);
            let door = *site.door.lock().unwrap();
            match door {
                Door::Hang => std::future::pending::<()>().await,
                Door::Private if target.private == PrivateAddresses::Refuse => {
                    return Err(ConnectError::PrivateAddress);
                }
                Door::Open | Door::Private => {}
                Door::Refuse => return Err(ConnectError::Failed("connection refused".into())),
            }
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            self.tasks.spawn("site", site.serve(theirs));
            Ok(Connection {
                stream: Box::new(ours),
                negotiated: Negotiated::Http1,
            })
        })
    }

    fn is_private<'a>(
        &'a self,
        origin: &'a Origin,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        let door = self.site(origin).map(|site| *site.door.lock().unwrap());
        let private = origin.is_private_by_name() || door == Some(Door::Private);
        Box::pin(async move { private })
    }
}

/// The module under test and its origins.
struct Bench {
    access: Access,
    clock: Clock,
    pipes: Arc<Pipes>,
    tasks: Tasks,
    upstream: Upstream,
}

const HOME: &str = "http://home.test";

impl Bench {
    /// A feed at [`HOME`], which is open and has no replies yet.
    fn new() -> Self {
        Self::with(HOME, Settings::default())
    }

    fn with(home: &str, settings: Settings) -> Self {
        let (clock, tasks) = (
            Clock::simulated(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
            Tasks::new(),
        );
        let pipes = Arc::new(Pipes {
            protocols: Mutex::default(),
            sites: Mutex::default(),
            tasks: tasks.clone(),
        });
        let product = Product {
            user_agent: "Sluice/test".into(),
            via_token: "0badcafe".into(),
        };
        let upstream = Upstream::new(
            settings,
            Arc::clone(&pipes) as Arc<dyn Connect>,
            clock.clone(),
            tasks.clone(),
            product,
        );
        let credential = Credential::Bearer("t0ken".into());
        let access = Access::new(Origin::of(home).unwrap(), Some(&credential)).unwrap();
        let bench = Self {
            access,
            clock,
            pipes,
            tasks,
            upstream,
        };
        bench.site(home);
        bench
    }

    /// The site at this origin, new if there was none.
    fn site(&self, origin: &str) -> Arc<Site> {
        let mut sites = self.pipes.sites.lock().unwrap();
        let site = sites.entry(Origin::of(origin).unwrap()).or_insert_with(|| {
            Arc::new(Site {
                bodies: Mutex::default(),
                busy: AtomicUsize::new(0),
                connections: AtomicUsize::new(0),
                door: Mutex::new(Door::Open),
                most_busy: AtomicUsize::new(0),
                released: watch::Sender::new(false),
                replies: Mutex::default(),
                requests: Mutex::default(),
            })
        });
        Arc::clone(site)
    }

    /// A read of a document with the longest hold.
    fn read(&self, url: &str) -> Fetch {
        Fetch {
            accept: Accept::Document,
            access: self.access.clone(),
            hold: self.clock.instant() + self.upstream.settings().max_hold,
            method: FetchMethod::Get,
            retry_until: self.clock.instant() + self.upstream.settings().max_hold,
            stake: stake_of("192.0.2.1", Urgency::Client),
            symbol_checksum: None,
            url: url.into(),
            validators: None,
            via: Vec::new(),
        }
    }

    async fn fetch(&self, url: &str) -> Result<Fetched, UpstreamError> {
        self.upstream.fetch(self.read(url)).await
    }

    /// Status and body of a read that must succeed.
    async fn get(&self, url: &str) -> (u16, String) {
        let fetched = self.fetch(url).await.unwrap();
        let status = fetched.status.as_u16();
        (status, text(fetched.body).await.unwrap())
    }

    fn home_state(&self) -> OriginState {
        self.upstream
            .state(&Origin::of(HOME).unwrap(), &self.access)
    }

    /// Runs a read beside the test.
    fn start(&self, url: &str) -> tokio::task::JoinHandle<Result<Fetched, UpstreamError>> {
        let (upstream, fetch) = (self.upstream.clone(), self.read(url));
        self.tasks
            .spawn("client", async move { upstream.fetch(fetch).await })
    }
}

/// The place of a request of this client.
fn stake_of(client: &str, urgency: Urgency) -> Arc<Stake> {
    let client = client.parse().unwrap();
    Stake::new(Asker::new(&"home".into(), Some(client)), urgency)
}

async fn text(body: ResponseBody) -> Result<String, UpstreamError> {
    let bytes = body.collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}
