//! Real sockets on loopback: CONNECT through a proxy, a certificate of ours, an issuer that nobody knows.

use std::net::SocketAddr;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::upstream::connect::Network;
use crate::upstream::way::{ForwardProxy, Identity, Proxies};

/// An authority and what it issued to one name.
struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        (certificate.der().clone(), key)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        roots
    }
}

/// A TLS server for `feed.test` that demands a certificate of the authority; answers with the names of none.
async fn serve(authority: &Authority, demands: bool, tasks: &Tasks) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if demands {
        let roots = Arc::new(authority.roots());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let (certificate, key) = authority.issue("feed.test");
    let config = builder.with_single_cert(vec![certificate], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn("server", async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let text = String::from_utf8(head).unwrap();
            let _ = stream.write_all(ok(&text).as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

/// A proxy that leads every host to `to`; what it is asked is kept.
async fn lead(to: SocketAddr, asked: Arc<Mutex<Vec<String>>>, tasks: &Tasks) -> ForwardProxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn("proxy", async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(near.read_u8().await.unwrap());
            }
            asked.lock().unwrap().push(String::from_utf8(head).unwrap());
            near.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")
                .await
                .unwrap();
            let mut far = TcpStream::connect(to).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        }
    });
    ForwardProxy::parse(&format!("http://u:p@{address}")).unwrap()
}

struct Scene {
    access: Access,
    asked: Arc<Mutex<Vec<String>>>,
    upstream: Upstream,
    _tasks: Tasks,
}

/// An upstream `https://feed.test` behind a proxy.
async fn scene(trusts: bool, demands: bool, shows: bool) -> Scene {
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let authority = Authority::new("Corp Root 7");
    let server = serve(&authority, demands, &tasks).await;
    let asked = Arc::new(Mutex::default());
    let proxy = lead(server, Arc::clone(&asked), &tasks).await;
    let known = if trusts {
        authority.certificate.clone()
    } else {
        Authority::new("Another").certificate
    };
    let network = Network::new(vec![known], clock.clone(), tasks.clone());
    let product = Product {
        user_agent: "Sluice/test".into(),
        via_token: "0badcafe".into(),
    };
    let connector = Arc::new(network);
    let settings = Settings::default();
    let upstream = Upstream::new(settings, connector, clock.clone(), tasks.clone(), product);
    let identity = shows.then(|| {
        let (certificate, key) = authority.issue("us.test");
        Identity::new(vec![certificate], key).unwrap()
    });
    let ways = WaySettings {
        identity,
        proxies: Proxies {
            https: Some(proxy),
            ..Proxies::default()
        },
    };
    let credential = Credential::Bearer("t0ken".into());
    let home = Origin::of("https://feed.test").unwrap();
    let access = Access::open("a", home, Some(&credential), ways, &clock, &tasks).unwrap();
    Scene {
        access,
        asked,
        upstream,
        _tasks: tasks,
    }
}

impl Scene {
    async fn fetch(&self) -> Result<String, UpstreamError> {
        let fetch = Fetch {
            accept: Accept::Document,
            access: self.access.clone(),
            hold: Clock::system().instant() + Duration::from_secs(15),
            method: FetchMethod::Get,
            retry_until: Clock::system().instant() + Duration::from_secs(15),
            stake: stake_of("192.0.2.1", Urgency::Client),
            symbol_checksum: None,
            url: "https://feed.test/a".into(),
            validators: None,
            via: Vec::new(),
        };
        text(self.upstream.fetch(fetch).await?.body).await
    }
}

#[tokio::test]
async fn https_goes_through_connect_and_the_proxy_learns_no_credential_of_the_feed() {
    let scene = scene(true, false, false).await;
    let head = scene.fetch().await.unwrap();
    assert!(head.starts_with("GET /a HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: Bearer t0ken"), "{head}");
    assert!(!head.contains("proxy-authorization"), "{head}");
    assert_eq!(
        *scene.asked.lock().unwrap(),
        [
            "CONNECT feed.test:443 HTTP/1.1\r\nHost: feed.test:443\r\nProxy-Authorization: Basic dTpw\r\n\r\n"
        ]
    );
}

#[tokio::test]
async fn a_server_that_demands_a_certificate_gets_the_feeds() {
    let shown = scene(true, true, true).await;
    assert!(shown.fetch().await.unwrap().starts_with("GET /a "));
    let none = scene(true, true, false).await;
    none.fetch().await.unwrap_err();
}

#[tokio::test]
async fn an_unknown_issuer_is_told_by_its_name_with_the_setting() {
    let scene = scene(false, false, false).await;
    let error = scene.fetch().await.unwrap_err();
    assert_eq!(error.word(), "unknown-issuer");
    let said = error.to_string();
    assert!(
        said.contains("CN=Corp Root 7") && said.contains("ca_files"),
        "{said}"
    );
    // It does not pass within a hold.
    assert_eq!(scene.asked.lock().unwrap().len(), 1);
}
