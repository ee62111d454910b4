//! Operators' commands: what a node knows of its cluster, as a table, JSON or lines of
//! JSON, with an exit code that scripts can trust.
//!
//! ```text
//! 0 ok · 1 error · 2 usage · 3 the cluster is not healthy · 4 refused, since it would do harm
//! ```

mod health;

use serde_json::{Value, json};

use crate::admin;
use crate::exit::Verdict;
use crate::output;
use crate::target::Target;
use health::health;

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Form {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document per line and row.
    Jsonl,
}

/// Arguments that all of these commands have.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// The form of the answer.
    #[arg(long, short = 'o', value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(clap::Args, Debug)]
pub(crate) struct CanStopArgs {
    /// The id of the node to be stopped.
    node: u64,
    #[command(flatten)]
    args: Args,
}

/// `perpetuo cluster status`.
pub(crate) async fn status(args: Args) -> anyhow::Result<()> {
    let status = admin::status(&args.target).await?;
    let health = health(&status);
    let document = json!({
        "verdict": health.word(),
        "reason": health.sentence(),
        "asked_node": status.node_id,
        "nodes": rows_of_nodes(&status),
        "shards": { "total": health.shards, "without_leader": health.leaderless, "under_replicated": health.under_replicated },
    });
    match args.output {
        Form::Table => {
            table(
                &["NODE", "ADDRESS", "STATE", "LEADS"],
                &rows_of_nodes(&status),
                &["node", "address", "state", "leads"],
            );
            output::line("");
            output::line(&format!("{} (as node {} sees it): {}", health.word(), status.node_id, health.sentence()));
        }
        Form::Json => output::line(&format!("{document:#}")),
        Form::Jsonl => output::line(&document.to_string()),
    }
    if health.is_good() { Ok(()) } else { Err(Verdict::Unhealthy.into()) }
}

/// `perpetuo cluster can-stop NODE`.
pub(crate) async fn can_stop(args: CanStopArgs) -> anyhow::Result<()> {
    let status = admin::status(&args.args.target).await?;
    let reason = health::harm_of_stopping(&status, args.node);
    let document = json!({ "node": args.node, "can_stop": reason.is_none(), "reason": reason });
    match args.args.output {
        Form::Table => output::line(&match &reason {
            None => format!("yes: without node {} every shard keeps a majority", args.node),
            Some(reason) => format!("no: {reason}"),
        }),
        Form::Json => output::line(&format!("{document:#}")),
        Form::Jsonl => output::line(&document.to_string()),
    }
    if reason.is_none() { Ok(()) } else { Err(Verdict::Unsafe.into()) }
}

/// `perpetuo node list`.
pub(crate) async fn nodes(args: Args) -> anyhow::Result<()> {
    let status = admin::status(&args.target).await?;
    rows(
        args.output,
        &["NODE", "ADDRESS", "STATE", "LEADS"],
        &rows_of_nodes(&status),
        &["node", "address", "state", "leads"],
    );
    Ok(())
}

/// `perpetuo shard list`.
pub(crate) async fn shards(args: Args) -> anyhow::Result<()> {
    let status = admin::status(&args.target).await?;
    let shards: Vec<_> = status
        .shards
        .iter()
        .map(|shard| {
            json!({
                "shard": shard.shard, "leader": shard.leader, "term": shard.term, "role": shard.role,
                "committed": shard.committed_index, "applied": shard.applied_index, "last": shard.last_log_index,
            })
        })
        .collect();
    rows(
        args.output,
        &["SHARD", "LEADER", "TERM", "HERE", "COMMITTED", "APPLIED", "LAST"],
        &shards,
        &["shard", "leader", "term", "role", "committed", "applied", "last"],
    );
    Ok(())
}

fn rows_of_nodes(status: &admin::proto::GetStatusResponse) -> Vec<Value> {
    let row = |node: &admin::proto::NodeStatus| {
        let leads = status.shards.iter().filter(|shard| shard.leader == node.id).count();
        let state = if node.alive { "alive" } else { "dead" };
        json!({ "node": node.id, "address": node.peer_address, "state": state, "leads": leads })
    };
    status.nodes.iter().map(row).collect()
}

fn rows(form: Form, titles: &[&str], rows: &[Value], keys: &[&str]) {
    match form {
        Form::Table => table(titles, rows, keys),
        Form::Json => output::line(&format!("{:#}", Value::from(rows.to_vec()))),
        Form::Jsonl => rows.iter().for_each(|row| output::line(&row.to_string())),
    }
}

/// Columns as wide as their widest cell.
fn table(titles: &[&str], rows: &[Value], keys: &[&str]) {
    let cell = |row: &Value, key: &str| match &row[key] {
        Value::String(text) => text.clone(),
        Value::Number(number) if key == "leader" && number.as_u64() == Some(0) => "none".to_owned(),
        other => other.to_string(),
    };
    let mut lines: Vec<Vec<String>> = vec![titles.iter().map(|&title| title.to_owned()).collect()];
    lines.extend(rows.iter().map(|row| keys.iter().map(|key| cell(row, key)).collect()));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..titles.len()).map(width).collect();
    for line in &lines {
        let padded: Vec<_> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        output::line(padded.join("  ").trim_end());
    }
}
