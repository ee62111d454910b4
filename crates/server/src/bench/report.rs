//! The figures, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::Args;
use super::meter::Meter;
use super::process::Usage;
use super::remote::Remote;
use super::scenario::Scenario;
use super::verify::Verdict;

const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

pub(super) struct Report {
    json: Value,
    what: &'static str,
}

impl Report {
    pub(super) fn new(
        args: &Args,
        meter: &Meter,
        remote: &Remote,
        verdict: &Verdict,
        before: &Usage,
        after: &Usage,
    ) -> Self {
        let (completed, window) = meter.window();
        let per = |cpu: Duration| cpu.as_secs_f64() * 1000.0 / completed.max(1) as f64;
        let mut json = json!({
            "scenario": clap::ValueEnum::to_possible_value(&args.scenario).map(|value| value.get_name().to_owned()),
            "addresses": args.address,
            "concurrency": args.in_flight(),
            "window_seconds": window.as_secs_f64(),
            "completed": completed,
            "per_second": completed as f64 / window.as_secs_f64().max(f64::EPSILON),
            "latency_ms": percentiles(&meter.latency()),
            "bench_cpu_ms_each": per(after.own_cpu - before.own_cpu),
            "errors": remote.errors(),
            "verified": {
                "ok": verdict.problems.is_empty(),
                "problems": verdict.problems,
                "problems_more": verdict.problems_more,
                "failed_operations": verdict.failed_operations,
                "histories_checked": verdict.histories_checked,
                "workflow_task_failures": verdict.task_failures,
            },
        });
        if args.plan_has_activities() {
            json["activities"] = args.activities.into();
        }
        if args.scenario == Scenario::Timers {
            json["timer_fired_late_ms"] = percentiles(&meter.fired_late());
            json["timer_seen_late_ms"] = percentiles(&meter.seen_late());
        }
        if !args.server_pid.is_empty() {
            let cpu = after.server_cpu.saturating_sub(before.server_cpu);
            json["server_cpu_ms_each"] = per(cpu).into();
            json["server_cpu_cores"] = (cpu.as_secs_f64() / window.as_secs_f64().max(f64::EPSILON)).into();
            json["server_resident_bytes"] = after.server_resident_bytes.into();
        }
        let what = match args.scenario {
            Scenario::Signals => "signals",
            Scenario::Start => "starts",
            Scenario::Activities | Scenario::Timers | Scenario::OneAtATime => "workflows",
        };
        Self { json, what }
    }

    pub(super) fn json(&self) -> String {
        self.json.to_string()
    }

    pub(super) fn text(&self) -> String {
        let json = &self.json;
        let number = |name: &str| json[name].as_f64().unwrap_or_default();
        let mut text = format!(
            "{:.1} {}/s  ({} in {:.1} s, {} in flight)\n",
            number("per_second"),
            self.what,
            json["completed"],
            number("window_seconds"),
            json["concurrency"]
        );
        row(&mut text, "latency", &json["latency_ms"]);
        row(&mut text, "timers dated late", &json["timer_fired_late_ms"]);
        row(&mut text, "timers seen late", &json["timer_seen_late_ms"]);
        if json.get("server_cpu_ms_each").is_some() {
            let mib = number("server_resident_bytes") / 1_048_576.0;
            let (each, cores) = (number("server_cpu_ms_each"), number("server_cpu_cores"));
            let _ = writeln!(text, "server CPU         {each:.3} ms each, {cores:.2} cores, {mib:.0} MiB resident");
        }
        let _ = writeln!(text, "bench CPU          {:.3} ms each", number("bench_cpu_ms_each"));
        for (name, count) in json["errors"].as_object().into_iter().flatten() {
            let _ = writeln!(text, "error              {name} x {count}");
        }
        let verified = &json["verified"];
        let _ = write!(
            text,
            "verified           {}: {} whole histories, {} failed operations, {} workflow tasks repeated",
            if verified["ok"] == true { "yes" } else { "NO" },
            verified["histories_checked"],
            verified["failed_operations"],
            verified["workflow_task_failures"]
        );
        for problem in verified["problems"].as_array().into_iter().flatten() {
            let _ = write!(text, "\nproblem            {}", problem.as_str().unwrap_or_default());
        }
        text
    }
}

impl Args {
    fn plan_has_activities(&self) -> bool {
        matches!(self.scenario, Scenario::Activities | Scenario::OneAtATime)
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Value {
    let mut value = json!({ "count": histogram.len() });
    for (name, quantile) in PERCENTILES {
        value[name] = (histogram.value_at_quantile(quantile) as f64 / 1000.0).into();
    }
    value["max"] = (histogram.max() as f64 / 1000.0).into();
    value
}

/// One line of percentiles; none when they were not measured.
fn row(text: &mut String, name: &str, percentiles: &Value) {
    if percentiles.is_null() {
        return;
    }
    let _ = write!(text, "{name:<18}");
    for (percentile, _) in PERCENTILES {
        let _ = write!(text, " {percentile} {:.1} ms ", percentiles[percentile].as_f64().unwrap_or_default());
    }
    let _ = writeln!(text, " max {:.1} ms", percentiles["max"].as_f64().unwrap_or_default());
}
