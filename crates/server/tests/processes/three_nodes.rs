//! Three nodes from three files, with mutual TLS on all ports, as `docs/operations`
//! describes it.

use std::path::{Path, PathBuf};

use crate::process::{Process, free_port, path, run, text};

const DOCUMENT: &str = include_str!("../../../../docs/operations/first-cluster.md");

/// A cluster's files, its ports and its processes.
struct Three {
    dir: tempfile::TempDir,
    admin: Vec<String>,
    grpc: Vec<String>,
    nodes: Vec<Process>,
}

impl Three {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        create_certificates(&dir.path().join("certs"));
        let port = || format!("127.0.0.1:{}", free_port());
        let peers: Vec<_> = (1..=3).map(|_| port()).collect();
        let mut three = Self { admin: vec![], grpc: vec![], nodes: vec![], dir };
        for id in 1..=3 {
            three.grpc.push(port());
            three.admin.push(port());
            let file = three.configure(id, &peers);
            let quicker = ["--cluster.shards", "4", "--tls.refresh-interval", "20ms", "--telemetry.log-filter", "info"];
            three.nodes.push(Process::spawn(&[&["server", "run", "--config", path(&file)][..], &quicker].concat()));
        }
        for (node, id) in three.nodes.iter_mut().zip(1..) {
            node.wait_for(&format!("node {id}: gRPC on"));
        }
        three
    }

    /// The file of the documentation, with the addresses and directories of this test.
    fn configure(&self, id: usize, peers: &[String]) -> PathBuf {
        let file = self.dir.path().join(format!("n{id}.toml"));
        let certs = self.dir.path().join("certs").display().to_string();
        let (_, rest) = DOCUMENT.split_once("```toml\n").expect("the file of node 1");
        let mut config = rest.split("```").next().expect("its end").to_owned();
        for (documented, here) in [
            ("id       = 1", format!("id = {id}")),
            ("/var/lib/perpetuo", self.dir.path().join(format!("data-{id}")).display().to_string()),
            ("n1.example:7234", peers[0].clone()),
            ("n2.example:7234", peers[1].clone()),
            ("n3.example:7234", peers[2].clone()),
            ("0.0.0.0:7233", self.grpc[id - 1].clone()),
            ("0.0.0.0:7234", peers[id - 1].clone()),
            ("0.0.0.0:7236", self.admin[id - 1].clone()),
            ("/etc/perpetuo/n1.", format!("{certs}/n{id}.")),
            ("/etc/perpetuo/", format!("{certs}/")),
        ] {
            assert!(config.contains(documented), "the documentation does not say {documented:?} any more");
            config = config.replace(documented, &here);
        }
        std::fs::write(&file, config).expect("written");
        file
    }

    /// A command of an operator who has a certificate.
    fn operate(&self, node: usize, command: &[&str]) -> std::process::Output {
        let at = |name: &str| self.dir.path().join("certs").join(name).display().to_string();
        let (ca, cert, key) = (at("ca.crt"), at("admin.crt"), at("admin.key"));
        let target = ["--address", &self.admin[node], "--ca", &ca, "--cert", &cert, "--key", &key];
        run(&[command, &target].concat())
    }

    /// Asks until the answer is as it should be.
    fn wait_until(&self, node: usize, command: &[&str], is_met: impl Fn(&serde_json::Value) -> bool) {
        loop {
            let answer = self.operate(node, command);
            if serde_json::from_slice(&answer.stdout).is_ok_and(|answer| is_met(&answer)) {
                return;
            }
        }
    }
}

#[test]
fn status_tells_the_truth_when_nodes_die() {
    let mut three = Three::start();
    let status = ["cluster", "status", "-o", "json"];
    for node in 0..3 {
        three.wait_until(node, &status, |status| status["verdict"] == "healthy");
    }
    assert!(three.operate(0, &["cluster", "can-stop", "3"]).status.success());
    let nodes = text(&three.operate(1, &["node", "list"]).stdout);
    assert_eq!(nodes.lines().filter(|line| line.contains("alive")).count(), 3, "{nodes}");
    let shards = text(&three.operate(1, &["shard", "list", "-o", "jsonl"]).stdout);
    assert_eq!(shards.lines().count(), 4, "{shards}");

    three.nodes[2].kill();
    three.wait_until(0, &status, |status| status["verdict"] == "degraded");
    let degraded = three.operate(0, &["cluster", "status"]);
    assert_eq!(degraded.status.code(), Some(3));
    let said = text(&degraded.stdout);
    let verdict = "all 4 shards have leaders, and the loss of any further node stops them; dead: node 3";
    assert!(said.contains(&format!("degraded (as node 1 sees it): {verdict}")), "{said}");
    let refused = three.operate(0, &["cluster", "can-stop", "2"]);
    assert_eq!(refused.status.code(), Some(4));
    assert_eq!(text(&refused.stdout), "no: without node 2 only 1 of 3 nodes are left, no majority\n");

    three.nodes[1].kill();
    three.wait_until(0, &status, |status| status["verdict"] == "unavailable");
    assert_eq!(three.operate(0, &status).status.code(), Some(3));
    three.nodes[0].kill();
    let nobody = three.operate(0, &status);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("no answer from the admin service"), "{}", text(&nobody.stderr));
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
