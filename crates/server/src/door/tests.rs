//! Strangers at each port: what the log says of them, what they are told, and that those
//! who belong are let in meanwhile.

use std::path::{Path, PathBuf};

use base::{Net as _, TcpNet, host_of};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::tls::{Files, Port, Role};

/// A directory with a CA of each name, and who is signed by it.
struct Certificates {
    dir: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Self {
        let certificates = Self { dir: tempfile::tempdir().unwrap() };
        for ca in ["nodes", "clients", "operators", "others"] {
            let key = KeyPair::generate().unwrap();
            let params = Self::ca_params(ca);
            let cert = params.self_signed(&key).unwrap();
            certificates.write(ca, &cert.pem(), &key);
        }
        certificates
    }

    fn ca_params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params
    }

    fn issue(&self, name: &str, host: &str, ca: &str, until: i32) -> Files {
        let ca_key = KeyPair::from_pem(&std::fs::read_to_string(self.path(&format!("{ca}.key"))).unwrap()).unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &Issuer::new(Self::ca_params(ca), ca_key)).unwrap();
        self.write(name, &cert.pem(), &key);
        Files {
            cert: self.path(&format!("{name}.crt")),
            key: self.path(&format!("{name}.key")),
            ca: vec![],
            host: None,
        }
    }

    fn write(&self, name: &str, cert: &str, key: &KeyPair) {
        std::fs::write(self.path(&format!("{name}.crt")), cert).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What somebody with these files dials with, trusting the nodes.
    fn dialler(&self, own: Option<&Files>, role: Role) -> Arc<rustls::ClientConfig> {
        let own = own.map(|files| (files.cert.as_path(), files.key.as_path()));
        let mut client = (*crate::tls::client(&self.path("nodes.crt"), own).unwrap()).clone();
        client.alpn_protocols = vec![role.protocol().to_vec()];
        Arc::new(client)
    }
}

fn config(protocol: Protocol, tls: Option<Port>) -> DoorConfig {
    DoorConfig { port: "test", protocol, tls, connections_max: 1000, connections_per_address_max: 1000 }
}

/// The three kinds of ports, who may sign their guests, and the first words of a guest.
const PORTS: [(Protocol, Role, &str, &[u8]); 4] = [
    (Protocol::Http2, Role::Http2, "clients", refusal::PREFACE),
    (Protocol::Http2, Role::Http2, "operators", refusal::PREFACE),
    (Protocol::Http1, Role::Http1, "clients", b"GET "),
    (Protocol::Peer, Role::Peer, "nodes", &[0x80]),
];

/// The two ends of a connection.
fn pair() -> (DuplexStream, Box<dyn Io>) {
    let (theirs, ours) = duplex(64 << 10);
    (theirs, Box::new(ours))
}

/// The refusal of who speaks, and what he hears of it.
async fn refused(config: &DoorConfig, stranger: impl Future<Output = String>, ours: Box<dyn Io>) -> (String, String) {
    // The stream is dropped as soon as its owner is refused.
    let greeted = async { greet(ours, config).await.map(drop).map_err(|(refusal, _)| refusal) };
    let (greeted, heard) = tokio::join!(greeted, stranger);
    (greeted.expect_err("let in").to_string(), heard)
}

/// Handshakes, says something and hears how it ends.
async fn stranger(theirs: DuplexStream, client: Arc<rustls::ClientConfig>, words: &[u8]) -> String {
    match crate::tls::connect(client, Box::new(theirs), "n1", Default::default()).await {
        Err(reason) => reason,
        Ok(mut io) => {
            let spoken = async {
                io.write_all(words).await?;
                io.flush().await?;
                io.read_u8().await
            };
            spoken.await.expect_err("nobody answers").to_string()
        }
    }
}

#[tokio::test]
async fn strangers_are_refused_at_every_port_that_has_tls() {
    let certificates = Certificates::new();
    let node = certificates.issue("n1", "n1", "nodes", 2100);
    for (protocol, role, ca, words) in PORTS {
        let files = Files { ca: vec![certificates.path(&format!("{ca}.crt"))], ..node.clone() };
        let (port, _reload) = Port::open(files, role).unwrap();
        let config = config(protocol, Some(port));
        let guest = certificates.issue("guest", "g", ca, 2100);
        let expired = certificates.issue("expired", "e", ca, 2002);
        let other = certificates.issue("other", "o", "others", 2100);
        let ca_file = certificates.path(&format!("{ca}.crt")).display().to_string();

        for (own, log, heard) in [
            (None, "it presented no certificate, and one is required".to_owned(), "is missing, and it requires one"),
            (
                Some(&other),
                format!("its certificate (for o) is not signed by a CA in {ca_file}"),
                "is not signed by a CA that it trusts",
            ),
            (Some(&expired), "its certificate (for e) expired at 2002-01-01T00:00:00Z".to_owned(), "has expired"),
        ] {
            let (theirs, ours) = pair();
            let client = certificates.dialler(own, role);
            let (refusal, told) = refused(&config, stranger(theirs, client, words), ours).await;
            assert_eq!(refusal, log, "{protocol:?}");
            assert!(told.contains(heard), "{protocol:?}: {told}");
        }
        let plain: [&[u8]; 3] = [words, b"GET / HTTP/1.1\r\n\r\n", &[0xde; 4096]];
        for bytes in plain {
            let (mut theirs, ours) = pair();
            let speak = async {
                theirs.write_all(bytes).await.unwrap();
                let mut answer = Vec::new();
                let _ = theirs.read_to_end(&mut answer).await;
                format!("{answer:?}")
            };
            let (refusal, _) = refused(&config, speak, ours).await;
            assert_eq!(refusal, "it does not speak TLS", "{protocol:?} {bytes:?}");
        }

        let (theirs, ours) = pair();
        let client = certificates.dialler(Some(&guest), role);
        let belongs = async {
            let mut io = crate::tls::connect(client, Box::new(theirs), "n1", Default::default()).await.unwrap();
            io.write_all(words).await.unwrap();
            io.flush().await.unwrap();
            io
        };
        let (greeted, _io) = tokio::join!(greet(ours, &config), belongs);
        let (_, prefix, certified) = greeted.ok().expect("let in");
        assert_eq!(prefix, words);
        let certified = certified.expect("a certificate");
        assert!(certified.is_host("g") && !certified.is_host("n1"), "{}", certified.describe());
    }
}

#[tokio::test]
async fn whoever_dials_a_node_demands_its_name() {
    let certificates = Certificates::new();
    let nodes = vec![certificates.path("nodes.crt")];
    let open = |files: Files| Port::open(Files { ca: nodes.clone(), ..files }, Role::Peer);
    let (first, _reload) = open(certificates.issue("n1", "n1", "nodes", 2100)).unwrap();
    let (second, _reload) = open(certificates.issue("n2", "n2", "nodes", 2100)).unwrap();
    for (address, expected) in [("n2:7234", None), ("n3:7234", Some("its certificate (for n2) is not valid for n3"))] {
        let (theirs, ours) = pair();
        let (_, connected) = tokio::join!(second.accept(ours), first.connect(Box::new(theirs), address));
        assert_eq!(connected.err().as_deref(), expected, "{}", host_of(address));
    }
}

#[tokio::test]
async fn strangers_are_told_what_a_port_without_tls_speaks() {
    for (protocol, bytes, log, told) in [
        (Protocol::Http2, &b"GET / HTTP/1.1\r\n"[..], "it speaks HTTP/1, not gRPC over HTTP/2", &b"HTTP/1.1 400 "[..]),
        (Protocol::Http2, &[0x16, 3, 1, 0, 200], "it speaks TLS, and this port has no certificate", &[21, 3, 1]),
        (Protocol::Http2, &[0xde; 4096], "it speaks neither HTTP/2 nor TLS", b""),
        (Protocol::Peer, &[0x16, 3, 1, 0, 200], "it speaks TLS, and this port has no certificate", &[21, 3, 1]),
        (Protocol::Peer, b"GET / HTTP/1.1\r\n", "it does not speak as a node does", b""),
        (Protocol::Http1, refusal::PREFACE, "it does not speak HTTP/1", b""),
    ] {
        let (mut theirs, ours) = pair();
        theirs.write_all(bytes).await.unwrap();
        let (refusal, io) = greet(ours, &config(protocol, None)).await.err().expect("refused");
        assert_eq!(refusal.to_string(), log);
        let mut heard = Vec::new();
        let hear = async {
            let _ = theirs.shutdown().await;
            let _ = theirs.read_to_end(&mut heard).await;
        };
        let (answered, ()) = tokio::join!(answer(io.expect("a stream"), &refusal), hear);
        answered.unwrap();
        assert!(heard.starts_with(told) && heard.is_empty() == told.is_empty(), "{heard:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_closed() {
    let certificates = Certificates::new();
    let (port, _reload) = Port::open(certificates.issue("n1", "n1", "nodes", 2100), Role::Http2).unwrap();
    for tls in [None, Some(port)] {
        let ledger = Ledger::new(10, 10);
        let (mut theirs, ours) = pair();
        let address = SocketAddr::from(([10, 0, 0, 1], 1));
        let ticket = ledger.enter(address.ip()).ok().unwrap();
        let config = Arc::new(config(Protocol::Http2, tls));
        let door = introduce(ours, address, ticket, config, Arc::new(Refusals::new("test")));
        let (accepted, end) = tokio::join!(door, theirs.read_u8());
        assert!(accepted.is_none());
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[tokio::test]
async fn many_silent_connections_give_way_to_one_that_speaks() {
    const SILENT: usize = 600;
    let listener = TcpNet.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut door = Door::new(listener, config(Protocol::Http2, None));
    let strangers = async {
        let mut silent = Vec::new();
        for _ in 0..SILENT {
            silent.push(TcpNet.connect(&address).await.unwrap());
        }
        // The oldest are closed; this waits for just those.
        for io in &mut silent[..SILENT - ledger::KNOCKING_PER_ADDRESS_MAX - 1] {
            assert_eq!(io.read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
        let mut guest = TcpNet.connect(&address).await.unwrap();
        guest.write_all(refusal::PREFACE).await.unwrap();
        (silent, guest)
    };
    let (accepted, (_silent, _guest)) = tokio::join!(door.accept(), strangers);
    let mut first = [0; 3];
    accepted.unwrap().io.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"PRI");
    assert!(door.ledger.knocking() <= ledger::KNOCKING_PER_ADDRESS_MAX);
}

#[tokio::test]
async fn a_certificate_that_changed_is_used_and_a_bad_one_is_not() {
    let certificates = Certificates::new();
    let files = certificates.issue("n1", "n1", "nodes", 2100);
    let (port, mut reload) = Port::open(files.clone(), Role::Http2).unwrap();
    let client = certificates.dialler(None, Role::Http2);
    let names = async |host: &str| {
        let (theirs, ours) = pair();
        let (_, connected) = tokio::join!(
            port.accept(ours),
            crate::tls::connect(Arc::clone(&client), Box::new(theirs), host, Default::default())
        );
        connected.map(drop)
    };
    names("n1").await.unwrap();
    certificates.issue("n1", "renewed", "nodes", 2100);
    reload.look();
    names("renewed").await.unwrap();
    std::fs::write(&files.cert, "broken").unwrap();
    reload.look();
    names("renewed").await.unwrap();
    certificates.issue("n1", "again", "nodes", 2002);
    reload.look();
    names("renewed").await.unwrap();
    certificates.issue("n1", "again", "nodes", 2100);
    reload.look();
    names("again").await.unwrap();
}

#[test]
fn our_own_files_are_checked_before_anybody_else_refuses_them() {
    let certificates = Certificates::new();
    let complaint = |files: Files| match Port::open(files, Role::Peer) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string().replace(&format!("{}/", certificates.dir.path().display()), ""),
    };
    let nodes = vec![certificates.path("nodes.crt")];
    let good = Files { ca: nodes, host: Some("n1".to_owned()), ..certificates.issue("n1", "n1", "nodes", 2100) };
    let host = Some("n2".to_owned());
    assert_eq!(complaint(Files { host, ..good.clone() }), "n1.crt: the certificate (for n1) is not valid for n2");
    let expired = certificates.issue("old", "n1", "nodes", 2002);
    assert_eq!(complaint(expired), "old.crt: the certificate (for n1) expired at 2002-01-01T00:00:00Z");
    let others = vec![certificates.path("others.crt")];
    assert_eq!(
        complaint(Files { ca: others, ..good.clone() }),
        "n1.crt: the certificate (for n1) is not signed by a CA in others.crt"
    );
    let other_key = Files { key: certificates.path("others.key"), ..good.clone() };
    assert_eq!(complaint(other_key), "the key in others.key is not that of the certificate in n1.crt");
    let swapped = Files { cert: good.key.clone(), ..good.clone() };
    assert_eq!(complaint(swapped), "n1.key: no PEM block of a certificate");
    let missing = Files { key: Path::new("/nowhere/n1.key").to_owned(), ..good };
    assert!(complaint(missing).starts_with("cannot read /nowhere/n1.key: "));
}
