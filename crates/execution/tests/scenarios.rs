//! Runs every file below `testdata/workflow`: commands in, events, notes, tasks and replies
//! out. `UPDATE_EXPECT=1 cargo test -p execution --test scenarios` rewrites what comes out;
//! read the difference before you believe it.

#[path = "support/between.rs"]
mod between;
#[path = "support/operations.rs"]
mod operations;
#[path = "support/print.rs"]
mod print;
#[path = "support/requests.rs"]
mod requests;
#[path = "support/reset.rs"]
mod reset;
#[path = "support/runner.rs"]
mod runner;
#[path = "support/script.rs"]
mod script;
#[path = "support/update.rs"]
mod update;
#[path = "support/world.rs"]
mod world;

use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use runner::Runner;
use script::Item;

#[test]
fn scenarios() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let files = files_below(&root);
    assert!(!files.is_empty(), "no scenarios below {}", root.display());
    let failures: Vec<String> = files.iter().filter_map(|file| check(file).err()).collect();
    assert!(failures.is_empty(), "{} of {} files\n{}", failures.len(), files.len(), failures.join("\n"));
}

/// The only door to the API. Compares one file, or rewrites it.
fn check(file: &Path) -> Result<(), String> {
    let before = fs::read_to_string(file).expect("a scenario is a text file");
    let mut runner = Runner::new();
    let (mut after, mut differences) = (String::new(), String::new());
    for item in script::parse(&before) {
        match item {
            Item::Verbatim(line) => after += &(line + "\n"),
            Item::Command { line, text, call, more, expected } => {
                let output = catch_unwind(AssertUnwindSafe(|| runner.run(&call, &more)))
                    .map_err(|_| format!("{}:{line}: {} panicked, see above", file.display(), text.join("\n")))?;
                if output != expected {
                    let _ = write!(differences, "{}:{line}\n{}\n", file.display(), text.join("\n"));
                    let _ = write!(differences, "expected:\n{expected}actual:\n{output}\n");
                }
                after += &(text.join("\n") + "\n" + &output);
            }
        }
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        if before != after {
            fs::write(file, after).expect("a scenario can be rewritten");
        }
        return Ok(());
    }
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the scenarios are in the repository") {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
    files.sort();
    files
}
