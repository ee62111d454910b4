//! Rules of the code base that no compiler knows: who may import whom, how long a file
//! may be, and that the core stays pure. Exceptions are listed here and may only shrink.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;

/// Crate -> our crates it may depend on (style A).
const IMPORTS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("api", &["base"]),
    ("execution", &["base"]),
    ("storage", &["base"]),
    ("consensus", &["base", "storage"]),
    ("cluster", &["base", "api", "storage", "consensus"]),
    ("history", &["base", "api", "execution", "storage", "consensus", "cluster"]),
    ("matching", &["base", "api", "cluster"]),
    ("visibility", &["base", "api", "storage", "cluster"]),
    ("frontend", &["base", "api", "cluster"]),
    ("server", BELOW_SERVER),
    ("sim", PRODUCT),
    ("xtask", &[]),
];

/// All crates that the product is made of.
const PRODUCT: &[&str] = &[
    "base",
    "api",
    "execution",
    "storage",
    "consensus",
    "cluster",
    "history",
    "matching",
    "visibility",
    "frontend",
    "server",
];

/// All but the last.
const BELOW_SERVER: &[&str] = PRODUCT.split_at(PRODUCT.len() - 1).0;

/// All that the pure core may depend on.
const PURE: (&str, &[&str]) = (
    "execution",
    &[
        "base",
        "bytes",
        "jiff",
        "prost",
        "prost-types",
        "prost-wkt-types",
        "rpds",
        "serde_json",
        "temporalio-protos",
        "thiserror",
    ],
);

/// A third-party engine is named in exactly one crate (sim and tests of others never).
const ENGINES: &[(&str, &str)] = &[("openraft", "consensus"), ("fjall", "storage"), ("sled", "storage")];

/// The most lines of a source file; tests and generated code aside.
const LINES_MAX: usize = 800;

/// Longer than the rule allows today. Each number may only go down.
const LONG_FILES: &[(&str, usize)] = &[];

/// The longest README that is still read.
const README_LINES_MAX: usize = 150;

pub(crate) fn tidy() -> Result<()> {
    let mut problems = Vec::new();
    imports(&mut problems)?;
    lengths(&mut problems)?;
    if problems.is_empty() {
        shell::say("tidy: ok");
        return Ok(());
    }
    for problem in &problems {
        shell::say(&format!("tidy: {problem}"));
    }
    bail!("tidy found {} problems", problems.len())
}

fn imports(problems: &mut Vec<String>) -> Result<()> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(shell::root())
        .output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let allowed: BTreeMap<_, _> = IMPORTS.iter().copied().collect();
    for package in metadata["packages"].as_array().context("packages")? {
        let name = package["name"].as_str().context("name")?;
        let Some(may_import) = allowed.get(name) else {
            problems.push(format!("crate {name} is not in the import table; a new crate needs an RFD"));
            continue;
        };
        for dependency in package["dependencies"].as_array().context("dependencies")? {
            let import = dependency["name"].as_str().context("dependency name")?;
            let normal = dependency["kind"].is_null();
            if allowed.contains_key(import) && !may_import.contains(&import) {
                problems.push(format!("{name} imports {import}, which the import table forbids"));
            }
            if let Some((_, owner)) = ENGINES.iter().find(|(engine, owner)| *engine == import && *owner != name) {
                problems.push(format!("{name} names {import}, which belongs to {owner} alone"));
            }
            if normal && name == PURE.0 && !PURE.1.contains(&import) {
                problems.push(format!("{name} is pure and may not depend on {import}"));
            }
        }
    }
    Ok(())
}

fn lengths(problems: &mut Vec<String>) -> Result<()> {
    let root = shell::root();
    let mut files = Vec::new();
    rust_files(&root.join("crates"), &mut files)?;
    for file in files {
        let relative = file.strip_prefix(&root)?.to_string_lossy().into_owned();
        let text = fs::read_to_string(&file)?;
        let lines = text.lines().count();
        let most = LONG_FILES.iter().find(|(path, _)| *path == relative).map_or(LINES_MAX, |(_, most)| *most);
        let is_test = relative.contains("/tests/") || relative.ends_with("/tests.rs");
        if lines > most && !is_test {
            problems.push(format!("{relative} has {lines} lines; {most} is the most"));
        }
        if !text.starts_with("//!") && !text.starts_with("#![") {
            problems.push(format!("{relative} does not open with a //! that says what it is"));
        }
        if file.file_name().is_some_and(|name| name == "mod.rs") {
            problems.push(format!("{relative}: use foo.rs beside foo/, not mod.rs"));
        }
    }
    let readme = fs::read_to_string(root.join("README.md")).context("README.md")?;
    if readme.lines().count() > README_LINES_MAX {
        problems.push(format!("README.md has more than {README_LINES_MAX} lines"));
    }
    Ok(())
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries: Vec<_> = fs::read_dir(directory)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
