//! `config check`, `config show` and the complaints of `server run`.

use crate::process::{command, path, run, text};

#[test]
fn a_file_is_checked_without_starting_anything() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("n1.toml");
    std::fs::write(&file, "[node]\nid = 1\ndata-dir = \"d\"\n[cluster]\nmembers = [\"1=a:1\"]\n").unwrap();
    let checked = run(&["config", "check", path(&file)]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let expected = format!("{} is valid: node 1 of cluster \"perpetuo\", 1 member(s), 64 shards\n", file.display());
    assert_eq!(text(&checked.stdout), expected);
    assert!(!dir.path().join("d").exists());

    std::fs::write(&file, "[node]\nid = 1\n[listen]\ngprc = \"a:1\"\n").unwrap();
    for args in [&["config", "check", path(&file)][..], &["server", "run", "--config", path(&file)]] {
        let refused = run(args);
        assert_eq!(refused.status.code(), Some(1));
        let expected =
            format!("Error: {}:4: unknown key \"listen.gprc\"; did you mean \"listen.grpc\"?\n", file.display());
        assert_eq!(text(&refused.stderr), expected);
    }
}

#[test]
fn what_is_in_force_is_shown_with_its_origin() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("n1.toml");
    std::fs::write(&file, "[cluster]\nname = \"file\"\nshards = 3\n[listen]\ngrpc = \"file:1\"\n").unwrap();
    let args = ["config", "show", "--origin", "--config", path(&file), "--listen.grpc", "flag:1"];
    let shown = command(&args).env("PERPETUO_CLUSTER__SHARDS", "5").output().unwrap();
    let shown = text(&shown.stdout);
    for (setting, origin) in [
        ("name = \"file\"", format!("{}:2", file.display())),
        ("shards = 5", "PERPETUO_CLUSTER__SHARDS".to_owned()),
        ("grpc = \"flag:1\"", "--listen.grpc".to_owned()),
    ] {
        assert!(shown.contains(&format!("{setting:<40} # from {origin}\n")), "{setting}: {shown}");
    }
    assert!(shown.contains(&format!("{:<40} # default\n", "engine = \"fjall\"")), "{shown}");
    let usage = run(&["server", "run", "--listen.grcp", "a:1"]);
    assert_eq!(usage.status.code(), Some(2));
    assert!(text(&usage.stderr).contains("--listen.grpc"), "{}", text(&usage.stderr));
}
