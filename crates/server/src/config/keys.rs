//! Every setting of a node, in one table: the file, the environment, the flags, the
//! documentation and the checks are all made from it. A key that would do nothing is not
//! in here.

use super::value::Kind;

/// One setting.
#[derive(Debug)]
pub(crate) struct Key {
    /// `section.name`, as in the file.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// As a flag would have it; empty means "not set".
    pub(crate) default: &'static str,
    /// One or more sentences. The first stands in `--help`.
    pub(crate) doc: &'static str,
}

/// What a section is about, in the order of the documentation.
pub(crate) const SECTIONS: &[(&str, &str)] = &[
    ("node", "Who this node is and where its data lives."),
    ("cluster", "What all nodes of a cluster have in common. Must be the same on each of them."),
    ("listen", "The ports of the node. Port 0 picks a free one where nobody else has to know it."),
    ("tls", "TLS 1.2 and 1.3 on all ports. Files are PEM; relative paths start at the working directory."),
    ("tls.frontend", "TLS for `listen.grpc` and `listen.http`."),
    ("tls.admin", "TLS for `listen.admin`."),
    ("tls.peer", "TLS between nodes: always on both sides. All three files or none."),
    ("storage", "How data is kept."),
    ("callbacks", "Where completion callbacks of workflows may go."),
    ("limits", "What clients may ask for. Must be the same on each node."),
    ("telemetry", "What the node tells about itself."),
];

pub(crate) const ENGINES: &[&str] = &["fjall", "sled"];
pub(crate) const LOG_FORMATS: &[&str] = &["text", "json", "pretty"];

const COUNT: u64 = 1 << 40;

pub(crate) const KEYS: &[Key] = &[
    Key {
        name: "node.id",
        kind: Kind::Integer { min: 1, max: u64::MAX >> 1 },
        default: "",
        doc: "This node's id, unique in the cluster for ever. Must be set, unless the node joins: the cluster gives it one then.",
    },
    Key {
        name: "node.peer-address",
        kind: Kind::Address,
        default: "",
        doc: "`HOST:PORT` under which the other nodes reach the peer port of this one. Must be set when the node joins.",
    },
    Key {
        name: "node.data-dir",
        kind: Kind::Path,
        default: "",
        doc: "Directory for the data of this node. It is created when missing and belongs to one node of one cluster for ever. Must be set.",
    },
    Key {
        name: "cluster.name",
        kind: Kind::Text,
        default: "perpetuo",
        doc: "Name of the cluster. Nodes of another cluster are refused.",
    },
    Key {
        name: "cluster.members",
        kind: Kind::List,
        default: "",
        doc: "The founders of the cluster as `ID=HOST:PORT` of their peer ports, this node included. Must be set, unless the node joins.",
    },
    Key {
        name: "cluster.join",
        kind: Kind::List,
        default: "",
        doc: "Peer ports (`HOST:PORT`) of nodes of a cluster that is there already. This node asks them to be let in when its data directory is empty; one that answers is enough. Instead of `node.id` and `cluster.members`.",
    },
    Key {
        name: "cluster.shards",
        kind: Kind::Integer { min: 1, max: 4096 },
        default: "64",
        doc: "Number of shards. Fixed at the first start of the cluster.",
    },
    Key {
        name: "cluster.namespaces",
        kind: Kind::List,
        default: "default",
        doc: "Namespaces to create when the cluster is born.",
    },
    Key {
        name: "cluster.namespace-retention",
        kind: Kind::Duration,
        default: "72h",
        doc: "How long the namespaces created at birth keep closed workflows.",
    },
    Key {
        name: "listen.grpc",
        kind: Kind::Address,
        default: "127.0.0.1:7233",
        doc: "Where clients and workers connect: gRPC with health and reflection.",
    },
    Key {
        name: "listen.http",
        kind: Kind::Address,
        default: "",
        doc: "Where clients of the HTTP API connect: JSON over HTTP/1.1. Not set: nowhere.",
    },
    Key {
        name: "listen.peer",
        kind: Kind::Address,
        default: "",
        doc: "Where other nodes connect. Not set: the address under which this node is listed in `cluster.members`, or `node.peer-address`.",
    },
    Key {
        name: "listen.admin",
        kind: Kind::Address,
        default: "127.0.0.1:7236",
        doc: "Where operators' commands connect. Empty: nowhere. Beyond this machine only with certificates on both sides (`tls.admin`).",
    },
    Key {
        name: "tls.refresh-interval",
        kind: Kind::Duration,
        default: "10s",
        doc: "How often the files are looked at. What changed is used for new connections; those that are open stay. A change that cannot be used is logged, and the old certificate stays.",
    },
    Key {
        name: "tls.frontend.cert",
        kind: Kind::Path,
        default: "",
        doc: "Certificate that clients are shown (PEM), with those between it and its CA. Not set: no TLS.",
    },
    Key { name: "tls.frontend.key", kind: Kind::Path, default: "", doc: "Its private key (PEM)." },
    Key {
        name: "tls.frontend.client-ca",
        kind: Kind::List,
        default: "",
        doc: "Files with the CAs that may sign certificates of clients (PEM). Set: a certificate is demanded of everybody. Not set: of nobody.",
    },
    Key {
        name: "tls.admin.cert",
        kind: Kind::Path,
        default: "",
        doc: "Certificate that operators are shown (PEM), with those between it and its CA. Not set: no TLS.",
    },
    Key { name: "tls.admin.key", kind: Kind::Path, default: "", doc: "Its private key (PEM)." },
    Key {
        name: "tls.admin.client-ca",
        kind: Kind::List,
        default: "",
        doc: "Files with the CAs that may sign certificates of operators (PEM). Set: a certificate is demanded of everybody. Not set: of nobody.",
    },
    Key {
        name: "tls.admin.insecure",
        kind: Kind::Boolean,
        default: "false",
        doc: "Whether the admin port may be reachable from other machines without certificates on both sides.",
    },
    Key {
        name: "tls.peer.cert",
        kind: Kind::Path,
        default: "",
        doc: "Certificate of this node (PEM), valid for the host under which it is listed in `cluster.members` (or of `node.peer-address`), for servers and for clients.",
    },
    Key { name: "tls.peer.key", kind: Kind::Path, default: "", doc: "Its private key (PEM)." },
    Key {
        name: "tls.peer.ca",
        kind: Kind::List,
        default: "",
        doc: "Files with the CAs that sign the certificates of nodes (PEM), and nothing else: whoever has such a certificate for the host of a node can act as that node.",
    },
    Key {
        name: "tls.peer.insecure",
        kind: Kind::Boolean,
        default: "false",
        doc: "Whether the peer port may be reachable from other machines without TLS. Whoever reaches it can then read and change everything.",
    },
    Key {
        name: "storage.engine",
        kind: Kind::Choice(ENGINES),
        default: "fjall",
        doc: "Which engine keeps the state. Cannot be changed for a data directory that is in use.",
    },
    Key {
        name: "storage.disk-reserve",
        kind: Kind::Text,
        default: "auto",
        doc: "Room to keep free on the disk of the data: a size (`512MiB`), a percentage of the file system (`5%`), or `auto`. Below it nothing new begins; see docs/operations/disk.md. `0` is off.",
    },
    Key {
        name: "callbacks.addresses",
        kind: Kind::List,
        default: "",
        doc: "Hosts (`HOST` or `HOST:PORT`, `*` for any characters) that completion callbacks may go to. Not set: nowhere.",
    },
    Key {
        name: "callbacks.insecure",
        kind: Kind::Boolean,
        default: "false",
        doc: "Whether callbacks may go over `http` as well as `https`.",
    },
    Key {
        name: "limits.connections",
        kind: Kind::Integer { min: 1, max: COUNT },
        default: "10000",
        doc: "Connections of clients at once. More are closed at once.",
    },
    Key {
        name: "limits.connections-per-address",
        kind: Kind::Integer { min: 1, max: COUNT },
        default: "5000",
        doc: "Connections of clients at once from one IP address. More are closed at once.",
    },
    Key {
        name: "limits.blob-size-error",
        kind: Kind::Bytes,
        default: "2MiB",
        doc: "The largest payload of one field. Larger ones are refused.",
    },
    Key {
        name: "limits.memo-size-error",
        kind: Kind::Bytes,
        default: "2MiB",
        doc: "The largest memo of a workflow. Larger ones are refused.",
    },
    Key {
        name: "limits.history-count-error",
        kind: Kind::Integer { min: 1, max: COUNT },
        default: "51200",
        doc: "The most events of one run. A run that reaches it is terminated.",
    },
    Key {
        name: "limits.history-size-error",
        kind: Kind::Bytes,
        default: "50MiB",
        doc: "The largest history of one run. A run that reaches it is terminated.",
    },
    Key {
        name: "telemetry.log-filter",
        kind: Kind::Text,
        default: "warn",
        doc: "Which log messages to show: `debug`, `info`, `warn`, `error`, `never`, or a filter such as `info,cluster=debug`.",
    },
    Key {
        name: "telemetry.log-format",
        kind: Kind::Choice(LOG_FORMATS),
        default: "text",
        doc: "The form of log lines on stderr.",
    },
];

impl Key {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// `PERPETUO_SECTION__KEY`.
    pub(crate) fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.replace('.', "__").replace('-', "_").to_uppercase())
    }
}

pub(crate) const VARIABLE_PREFIX: &str = "PERPETUO_";

/// Longer than any name that somebody meant.
const NAME_BYTES_MAX: usize = 64;

/// The one of `known` that was probably meant.
pub(crate) fn closest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if unknown.len() > NAME_BYTES_MAX {
        return None;
    }
    let allowed = (unknown.chars().count() / 3).clamp(1, 4);
    known
        .map(|name| (distance(unknown, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein's, counting a swap of two neighbours as one.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let change = usize::from(left[i - 1] != right[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        for key in KEYS {
            let section = key.name.rsplit_once('.').expect("a section").0;
            assert!(SECTIONS.iter().any(|(name, _)| *name == section), "{}: its section is not described", key.name);
            if !key.default.is_empty() {
                key.kind.parse(key.default).unwrap_or_else(|problem| panic!("{}: {problem}", key.name));
            }
            assert!(key.doc.ends_with('.'), "{}: not a sentence", key.name);
            assert_eq!(KEYS.iter().filter(|other| other.name == key.name).count(), 1, "{} twice", key.name);
        }
    }

    #[test]
    fn typing_errors_are_understood() {
        let names = || KEYS.iter().map(|key| key.name);
        for (unknown, meant) in [
            ("listen.grcp", Some("listen.grpc")),
            ("node.datadir", Some("node.data-dir")),
            ("cluster.member", Some("cluster.members")),
            ("coffee.strength", None),
        ] {
            assert_eq!(closest(unknown, names()), meant);
        }
    }
}
