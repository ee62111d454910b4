//! Three nodes from three files, with mutual TLS on all ports, as `docs/operations`
//! describes it.

use std::path::{Path, PathBuf};

use crate::process::{Process, free_port, path, run, text};

/// A cluster's files, its ports and its processes.
pub(crate) struct Three {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) admin: Vec<String>,
    pub(crate) grpc: Vec<String>,
    pub(crate) nodes: Vec<Process>,
}

impl Three {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        create_certificates(&dir.path().join("certs"));
        let port = || format!("127.0.0.1:{}", free_port());
        let peers: Vec<_> = (1..=3).map(|id| format!("\"{id}={}\"", port())).collect();
        let mut three = Self { admin: vec![], grpc: vec![], nodes: vec![], dir };
        for id in 1..=3 {
            three.grpc.push(port());
            three.admin.push(port());
            let file = three.configure(id, &peers.join(", "));
            three.nodes.push(Process::spawn(&["server", "run", "--config", path(&file)]));
        }
        for (node, id) in three.nodes.iter_mut().zip(1..) {
            node.wait_for(&format!("node {id}: gRPC on"));
        }
        three
    }

    fn configure(&self, id: usize, members: &str) -> PathBuf {
        let file = self.dir.path().join(format!("n{id}.toml"));
        let at = |name: &str| self.dir.path().join("certs").join(name).display().to_string();
        let (cert, key) = (at(&format!("n{id}.crt")), at(&format!("n{id}.key")));
        let config = format!(
            "[node]\nid = {id}\ndata-dir = {:?}\n\n[cluster]\nmembers = [{members}]\nshards = 4\n\n\
             [listen]\ngrpc = {:?}\nadmin = {:?}\n\n[tls]\nrefresh-interval = \"20ms\"\n\n\
             [tls.frontend]\ncert = {cert:?}\nkey = {key:?}\nclient-ca = [{:?}]\n\n\
             [tls.admin]\ncert = {cert:?}\nkey = {key:?}\nclient-ca = [{:?}]\n\n\
             [tls.peer]\ncert = {cert:?}\nkey = {key:?}\nca = [{:?}]\n\n\
             [telemetry]\nlog-filter = \"info\"\n",
            self.dir.path().join(format!("data-{id}")),
            self.grpc[id - 1],
            self.admin[id - 1],
            at("client-ca.crt"),
            at("admin-ca.crt"),
            at("ca.crt"),
        );
        std::fs::write(&file, config).expect("written");
        file
    }

    /// A command of an operator who has a certificate.
    pub(crate) fn operate(&self, node: usize, command: &[&str]) -> std::process::Output {
        let at = |name: &str| self.dir.path().join("certs").join(name).display().to_string();
        let (ca, cert, key) = (at("ca.crt"), at("admin.crt"), at("admin.key"));
        let target = ["--address", &self.admin[node], "--ca", &ca, "--cert", &cert, "--key", &key];
        run(&[command, &target].concat())
    }

    /// Asks until the answer is as it should be.
    pub(crate) fn wait_until(&self, node: usize, command: &[&str], is_met: impl Fn(&serde_json::Value) -> bool) {
        loop {
            let answer = self.operate(node, command);
            if serde_json::from_slice(&answer.stdout).is_ok_and(|answer| is_met(&answer)) {
                return;
            }
        }
    }
}

fn create_certificates(dir: &Path) {
    let nodes = ["n1=127.0.0.1", "n2=127.0.0.1", "n3=127.0.0.1,localhost"];
    let mut args = vec!["cluster", "certs", "create", "--dir", path(dir)];
    args.extend(nodes.iter().flat_map(|node| ["--node", node]));
    let made = run(&args);
    assert!(made.status.success(), "{}", text(&made.stderr));
}

#[test]
fn a_cluster_with_mutual_tls_serves_refuses_strangers_and_renews_certificates() {
    let mut three = Three::start();
    let of = ["shard", "of", "--workflow-id", "w", "-o", "json"];
    for node in 0..3 {
        three.wait_until(node, &of, |answer| answer["leader"].as_u64() > Some(0));
    }

    let plain = run(&["shard", "of", "--workflow-id", "w", "--address", &three.admin[0]]);
    assert_eq!(plain.status.code(), Some(1));
    three.nodes[0].wait_for_error("it does not speak TLS");
    let ca = three.dir.path().join("certs/ca.crt");
    let nobody = run(&["shard", "of", "--workflow-id", "w", "--address", &three.admin[0], "--ca", path(&ca)]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("is missing, and it requires one"), "{}", text(&nobody.stderr));
    three.nodes[0].wait_for_error("it presented no certificate, and one is required");

    // A new certificate for node 1, signed by the same CA.
    let certs = three.dir.path().join("certs");
    for name in ["n1.crt", "n1.key"] {
        std::fs::remove_file(certs.join(name)).unwrap();
    }
    create_missing(&certs);
    three.nodes[0].wait_for_error("a certificate was loaded anew");
    three.wait_until(0, &of, |answer| answer["leader"].as_u64() > Some(0));
    std::fs::write(certs.join("n1.crt"), "half a file").unwrap();
    three.nodes[0].wait_for_error("a changed certificate cannot be used, the old one stays");
    three.wait_until(0, &of, |answer| answer["leader"].as_u64() > Some(0));
}

fn create_missing(certs: &Path) {
    let made = run(&["cluster", "certs", "create", "--dir", path(certs), "--node", "n1=127.0.0.1"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
}
