//! What a file may say, what comes above it, and what is said about mistakes.

use std::path::Path;

use super::settings::Origin;
use super::*;

fn file(text: &str) -> Settings {
    let mut settings = Settings::default();
    settings.text(Path::new("n1.toml"), text);
    settings
}

fn problems(settings: Settings) -> Vec<String> {
    Config::of(settings, Profile::Cluster).expect_err("refused").0
}

#[test]
fn the_example_of_the_documentation_is_a_node() {
    let config = Config::of(file(document::EXAMPLE), Profile::Cluster).expect("valid");
    assert_eq!(config.options.node, NodeId(1));
    assert_eq!(config.options.members.len(), 3);
    assert_eq!(config.options.peer_listen.as_deref(), Some("0.0.0.0:7234"));
    assert_eq!(config.options.shards, 64);
    assert_eq!(config.grpc_address, "0.0.0.0:7233");
    assert_eq!(config.admin_address.as_deref(), Some("127.0.0.1:7236"));
    assert!(matches!(config.data, Data::Directory { path, .. } if path == Path::new("/var/lib/perpetuo")));
    assert_eq!(config.options.frontend.callback_addresses, []);
}

#[test]
fn defaults_are_those_of_the_crates() {
    let Config { options, .. } = Config::of(file(document::EXAMPLE), Profile::Cluster).expect("valid");
    assert_eq!(options.frontend, frontend::Config::default());
    let (ours, theirs) = (options.history.limits, history::Config::default().limits);
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
}

#[test]
fn each_limit_reaches_its_crate() {
    let text = "[limits]\nconnections = 7\nblob-size-error = \"1KiB\"\nmemo-size-error = 2000\n\
                history-count-error = 100\nhistory-size-error = \"1MiB\"\n\
                [callbacks]\naddresses = [\"*.example\"]\ninsecure = true\n";
    let mut settings = file(document::EXAMPLE);
    settings.text(Path::new("limits.toml"), text);
    let Config { options, .. } = Config::of(settings, Profile::Cluster).expect("valid");
    assert_eq!(options.frontend.connections_max, 7);
    assert_eq!((options.frontend.limits.blob_bytes_max, options.history.limits.blob_bytes_max), (1024, 1024));
    assert_eq!((options.frontend.limits.memo_bytes_max, options.history.limits.memo_bytes_max), (2000, 2000));
    assert_eq!(options.history.limits.history_events_max, 100);
    assert_eq!(options.history.limits.history_size_bytes_max, 1 << 20);
    let anywhere = frontend::CallbackAddress { pattern: "*.example".to_owned(), allow_insecure: true };
    assert_eq!(options.frontend.callback_addresses, [anywhere]);
}

#[test]
fn flags_are_above_the_environment_which_is_above_the_file() {
    let mut settings = file("[listen]\ngrpc = \"file:1\"\nadmin = \"file:2\"\npeer = \"file:3\"\n");
    let variables = [
        ("PERPETUO_LISTEN__GRPC", "env:1"),
        ("PERPETUO_LISTEN__ADMIN", "env:2"),
        ("PERPETUO_LOG_LEVEL", "not of the file"),
        ("HOME", "/"),
    ];
    settings.environment(variables.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())));
    settings.flag("listen.grpc", "flag:1", "--listen.grpc");
    settings.check().expect("valid");
    let found = |key| (settings.string(key), settings.get(key).origin.to_string());
    assert_eq!(found("listen.grpc"), ("flag:1".to_owned(), "--listen.grpc".to_owned()));
    assert_eq!(found("listen.admin"), ("env:2".to_owned(), "PERPETUO_LISTEN__ADMIN".to_owned()));
    assert_eq!(found("listen.peer"), ("file:3".to_owned(), "n1.toml:4".to_owned()));
    assert_eq!(settings.get("cluster.name").origin, Origin::Default);
}

#[test]
fn mistakes_are_all_found_and_placed() {
    let text =
        "[node]\nid = 0\ndatadir = \"/x\"\n\n[clutser]\nname = \"x\"\n\n[listen]\ngrcp = \"0.0.0.0:1\"\npeer = 7234\n";
    assert_eq!(
        problems(file(text)),
        [
            "n1.toml:5: unknown section [clutser]; did you mean \"cluster\"?",
            "n1.toml:9: unknown key \"listen.grcp\"; did you mean \"listen.grpc\"?",
            "n1.toml:10: listen.peer: expected HOST:PORT, found a TOML integer",
            "n1.toml:3: unknown key \"node.datadir\"; did you mean \"node.data-dir\"?",
            "n1.toml:2: node.id: expected number, 1 to 9223372036854775807, found 0",
        ]
    );
    assert_eq!(
        problems(file("")),
        [
            "node.id: must be set: a number that no other node of the cluster has or had",
            "node.data-dir: must be set: the directory for the data of this node",
            "cluster.members: must be set: all nodes as ID=HOST:PORT of their peer ports, this one included",
        ]
    );
    let mut unknown = Settings::default();
    unknown.environment([("PERPETUO_NODE__DATADIR".to_owned(), String::new())].into_iter());
    assert_eq!(
        problems(unknown),
        ["unknown environment variable PERPETUO_NODE__DATADIR; did you mean \"PERPETUO_NODE__DATA_DIR\"?"]
    );
    let settings = file("[node]\nid = 4\ndata-dir = \"d\"\n[cluster]\nmembers = [\"1=a:1\", \"1=b:1\", \"two\"]\n");
    assert_eq!(
        problems(settings),
        [
            "n1.toml:5: cluster.members: node 1 is listed twice",
            "n1.toml:5: cluster.members: \"two\": expected ID=HOST:PORT",
            "n1.toml:5: cluster.members: does not list this node, whose node.id is 4",
        ]
    );
}

#[test]
fn ports_that_other_machines_reach_need_certificates_or_a_loud_word() {
    let node = |more: &str| {
        let text = "[node]\nid = 1\ndata-dir = \"d\"\n[cluster]\nmembers = [\"1=n1:1\", \"2=n2:1\"]\n";
        let mut settings = file(text);
        settings.text(Path::new("more.toml"), more);
        Config::of(settings, Profile::Cluster).map(|config| config.tls).map_err(|problems| problems.to_string())
    };
    let refused = |more: &str, key: &str| {
        let problem = node(more).expect_err("refused");
        assert!(problem.contains(key), "{problem}");
    };
    refused("", "tls.peer.cert: must be set, as key and ca: other machines reach the peer port n1:1");
    refused("[listen]\npeer = \"0.0.0.0:1\"\n", "reach the peer port 0.0.0.0:1");
    let local = "[listen]\npeer = \"127.0.0.1:1\"\n";
    assert_eq!(node(local).expect("only this machine").peer, None);
    assert_eq!(node("[tls.peer]\ninsecure = true\n").expect("said aloud").peer, None);
    refused(&format!("{local}admin = \"n1:2\"\n"), "tls.admin.client-ca: must be set");
    let admin = format!("{local}admin = \"n1:2\"\n[tls.admin]\n");
    refused(&format!("{admin}cert = \"c\"\nkey = \"k\"\n"), "tls.admin.client-ca: must be set");
    node(&format!("{admin}insecure = true\n")).expect("said aloud");
    node(&format!("{admin}cert = \"c\"\nkey = \"k\"\nclient-ca = [\"a\"]\n")).expect("on both sides");
    refused("[tls.peer]\ncert = \"c\"\n", "tls.peer.key: must be set, as other files of [tls.peer] are");
    let tls = node("[tls.peer]\ncert = \"c\"\nkey = \"k\"\nca = [\"a\"]\n").expect("valid");
    assert_eq!(tls.peer.expect("files").host.as_deref(), Some("n1"));
}

#[test]
fn a_node_that_joins_is_told_where_and_not_who_it_is() {
    let join = "[cluster]\njoin = [\"n1:7234\", \"n2:7234\"]\n[node]\ndata-dir = \"d\"\n";
    let here = format!("{join}peer-address = \"n4:7234\"\n");
    assert!(problems(file(&here)).iter().any(|text| text.contains("other machines reach the peer port n4:7234")));
    let aloud = format!("{here}[tls.peer]\ninsecure = true\n");
    let config = Config::of(file(&aloud), Profile::Cluster).expect("valid");
    let addresses = vec!["n1:7234".to_owned(), "n2:7234".to_owned()];
    assert_eq!(config.options.join, Some(Join { addresses, peer_address: "n4:7234".to_owned() }));
    assert_eq!(config.options.members, []);
    let found = problems(file(&format!("{join}id = 4\n")));
    assert!(found.iter().any(|text| text.contains("node.id: must not be set for a node that joins")), "{found:?}");
    assert!(found.iter().any(|text| text.contains("node.peer-address: must be set")), "{found:?}");
    let mut founder = file(document::EXAMPLE);
    founder.text(Path::new("more.toml"), "[node]\npeer-address = \"n1:7234\"\n");
    assert!(problems(founder).iter().any(|text| text.contains("is for nodes that join")));
}

#[test]
fn what_is_no_toml_has_a_place_too() {
    let found = problems(file("[node]\nid = 1\nid = 2\n"));
    assert!(found[0].starts_with("n1.toml:3: duplicate key"), "{found:?}");
    let found = problems(file("\n\nwhat?\n"));
    assert!(found[0].starts_with("n1.toml:3: "), "{found:?}");
    let mut settings = Settings::default();
    settings.file(Path::new("/nowhere/n1.toml"));
    assert!(problems(settings)[0].starts_with("cannot read /nowhere/n1.toml: "));
}

#[test]
fn what_is_shown_gives_the_same_again() {
    let shown = as_toml(&file(document::EXAMPLE), true);
    let mut again = Settings::default();
    again.text(Path::new("shown.toml"), &shown);
    again.check().expect("valid");
    assert_eq!(as_toml(&again, false), as_toml(&file(document::EXAMPLE), false));
    assert!(shown.contains("id = 1                                   # from n1.toml:2\n"), "{shown}");
    assert!(shown.contains("shards = 64                              # default\n"), "{shown}");
}

#[test]
fn the_documentation_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/config.md");
    let document = document::markdown();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &document).expect("written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == document, "docs/config.md is stale: UPDATE_EXPECT=1 cargo test -p server --lib config");
}
