//! `docs/config.md`, made from the table of keys.

use std::fmt::Write as _;

use super::keys::{KEYS, Key, SECTIONS};

const INTRODUCTION: &str = "# Configuration

<!-- Generated from crates/server/src/config/keys.rs: UPDATE_EXPECT=1 cargo test -p server --lib config -->

`perpetuo server run --config FILE` reads a TOML file. Every setting can also come from the environment
(`PERPETUO_SECTION__KEY`) or be a flag (`--section.key VALUE`), where a list is separated by commas:

    flags  >  environment  >  file  >  default

A key, a section or a variable that is not listed here is an error that names its file and line: nothing is ignored.
`perpetuo config check FILE` says what is wrong with a file without starting anything; `perpetuo config show --origin`
takes the arguments of `server run` and prints what would be in force, and where each value comes from.

A node of three, in full:

```toml
";

/// Also read by a test: an example that does not work would be worse than none.
pub(crate) const EXAMPLE: &str = "[node]
id       = 1
data-dir = \"/var/lib/perpetuo\"

[cluster]
name    = \"prod\"
members = [\"1=n1.example:7234\", \"2=n2.example:7234\", \"3=n3.example:7234\"]

[listen]
grpc = \"0.0.0.0:7233\"
peer = \"0.0.0.0:7234\"

[tls.peer]
cert = \"/etc/perpetuo/n1.crt\"
key  = \"/etc/perpetuo/n1.key\"
ca   = [\"/etc/perpetuo/ca.crt\"]
";

pub(crate) fn markdown() -> String {
    let mut text = format!("{INTRODUCTION}{EXAMPLE}```\n");
    for (section, about) in SECTIONS {
        let _ = write!(text, "\n## [{section}]\n\n{about}\n\n| key | value | default | |\n|---|---|---|---|\n");
        for key in KEYS.iter().filter(|key| section_of(key) == *section) {
            let name = key.name.rsplit('.').next().unwrap_or_default();
            let default = match key.default {
                "" => "–".to_owned(),
                default => format!("`{default}`"),
            };
            let doc = key.doc.replace('|', "\\|");
            let _ = writeln!(text, "| `{name}` | {} | {default} | {doc} |", key.kind.describe());
        }
    }
    text
}

fn section_of(key: &Key) -> &str {
    key.name.rsplit_once('.').map_or("", |(section, _)| section)
}
