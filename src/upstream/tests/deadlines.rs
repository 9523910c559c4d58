//! Each phase of a request that can hang has its limit: look-up and connect, TLS, the tunnel through a proxy, writing,
//! the first byte, the rest. What stalls a body is tested with bodies, what stalls an upload with uploads.

use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::upstream::connect::Network;
use crate::upstream::way::{Exceptions, ForwardProxy, Proxies};

/// Connects in its time to somebody who never reads: what does not fit into the pipe is never written.
struct Deaf {
    connects_in: Duration,
    ends: Mutex<Vec<DuplexStream>>,
}

impl Connect for Deaf {
    fn connect(
        &self,
        _: Target,
    ) -> Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send + '_>> {
        let (ours, theirs) = tokio::io::duplex(16);
        self.ends.lock().unwrap().push(theirs);
        Box::pin(async move {
            tokio::time::sleep(self.connects_in).await;
            Ok(Connection {
                stream: Box::new(ours),
                negotiated: Negotiated::Http1,
            })
        })
    }

    fn is_private<'a>(&'a self, _: &'a Origin) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(async { false })
    }
}

fn upstream(settings: Settings, connector: Arc<dyn Connect>, clock: Clock) -> Upstream {
    let product = Product {
        user_agent: "Sluice/test".into(),
        via_token: "0badcafe".into(),
    };
    Upstream::new(settings, connector, clock, Tasks::new(), product)
}

fn read(upstream: &Upstream, access: Access, url: &str) -> Fetch {
    let hold = Clock::system().instant() + upstream.settings().max_hold;
    Fetch {
        accept: Accept::Document,
        access,
        hold,
        method: FetchMethod::Get,
        retry_until: hold,
        stake: stake_of("192.0.2.1", Urgency::Client),
        symbol_checksum: None,
        url: url.into(),
        validators: None,
        via: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_written_ends_after_the_first_byte_limit() {
    // That begins once there is a connection.
    for connects_in in [0, 2].map(Duration::from_secs) {
        let settings = Settings {
            breaker_failures: 1,
            ..Settings::default()
        };
        let deaf = Deaf {
            connects_in,
            ends: Mutex::default(),
        };
        let upstream = upstream(settings, Arc::new(deaf), Clock::system());
        let access = Access::new(Origin::of(HOME).unwrap(), None).unwrap();
        let before = Instant::now();
        let error = upstream
            .fetch(read(&upstream, access, HOME))
            .await
            .unwrap_err();
        let UpstreamError::TimedOut { phase, .. } = error.root() else {
            panic!("{error}");
        };
        assert_eq!(*phase, Phase::FirstByte);
        assert_eq!(before.elapsed(), connects_in + Duration::from_secs(10));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_hangs_ends_after_its_limit_whatever_hangs_in_it() {
    let settings = Settings {
        breaker_failures: 1,
        ..Settings::default()
    };
    let bench = Bench::with(HOME, settings);
    bench.site(HOME).set_door(Door::Hang);
    let before = Instant::now();
    let error = bench.fetch(HOME).await.unwrap_err();
    let UpstreamError::TimedOut { phase, .. } = error.root() else {
        panic!("{error}");
    };
    assert_eq!((*phase, before.elapsed().as_secs()), (Phase::Connect, 3));
}

/// Asks over real sockets for what lies behind a listener that accepts and says nothing; gives what failed.
async fn ask_the_silent(https: &str, ways: WaySettings) -> UpstreamError {
    let settings = Settings {
        breaker_failures: 1,
        connect_timeout: Duration::from_millis(100),
        ..Settings::default()
    };
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let network = Network::new(Vec::new(), clock.clone(), tasks.clone());
    let upstream = upstream(settings, Arc::new(network), clock.clone());
    let home = Origin::of(https).unwrap();
    let access = Access::open("a", home, None, ways, &clock, &tasks).unwrap();
    let fetch = read(&upstream, access, https);
    let error = upstream.fetch(fetch).await.unwrap_err();
    error.root().clone()
}

#[tokio::test]
async fn a_tls_handshake_that_hangs_ends_with_the_connect_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let error = ask_the_silent(&url, WaySettings::default()).await;
    let UpstreamError::TimedOut { phase, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(phase, Phase::Connect);
    assert!(listener.accept().await.is_ok(), "it was connected to");
}

#[tokio::test]
async fn a_tunnel_that_hangs_ends_with_the_connect_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let ways = WaySettings {
        identity: None,
        proxies: Proxies {
            http: None,
            https: Some(ForwardProxy::parse(&proxy).unwrap()),
            except: Exceptions::parse([]),
        },
    };
    let error = ask_the_silent("https://home.test/", ways).await;
    let UpstreamError::TimedOut { phase, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(phase, Phase::Connect);
    let (mut accepted, _) = listener.accept().await.unwrap();
    let mut head = [0; 24];
    accepted.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"CONNECT home.test:443 HT");
}
