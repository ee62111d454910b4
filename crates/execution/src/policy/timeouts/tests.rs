//! Which timeout fills and caps which.

use temporalio_protos::temporal::api::common::v1::ActivityType;

use super::*;

/// Seconds of schedule-to-close, schedule-to-start, start-to-close, heartbeat.
type Timeouts = (i64, i64, i64, i64);

fn seconds(seconds: i64) -> Option<Proto> {
    (seconds != 0).then_some(Proto { seconds, nanos: 0 })
}

fn command((to_close, to_start, start_to_close, heartbeat): Timeouts) -> ScheduleActivityTaskCommandAttributes {
    ScheduleActivityTaskCommandAttributes {
        activity_id: "a".into(),
        activity_type: Some(ActivityType { name: "t".into() }),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        schedule_to_close_timeout: seconds(to_close),
        schedule_to_start_timeout: seconds(to_start),
        start_to_close_timeout: seconds(start_to_close),
        heartbeat_timeout: seconds(heartbeat),
        ..Default::default()
    }
}

fn normalize(command: &mut ScheduleActivityTaskCommandAttributes) -> Result<(), String> {
    normalize_activity(command, None, "wq", &Limits::default()).map_err(|error| error.to_string())
}

fn refused(change: impl FnOnce(&mut ScheduleActivityTaskCommandAttributes)) -> String {
    let mut command = command((0, 0, 5, 0));
    change(&mut command);
    normalize(&mut command).unwrap_err()
}

fn effective(given: Timeouts, run: u64) -> Timeouts {
    let mut command = command(given);
    let run = (run != 0).then_some(Duration::from_secs(run));
    normalize_activity(&mut command, run, "wq", &Limits::default()).unwrap();
    let seconds = |timeout: Option<Proto>| timeout.unwrap().seconds;
    (
        seconds(command.schedule_to_close_timeout),
        seconds(command.schedule_to_start_timeout),
        seconds(command.start_to_close_timeout),
        seconds(command.heartbeat_timeout),
    )
}

#[test]
fn schedule_to_close_fills_and_caps_the_others() {
    assert_eq!(effective((10, 0, 0, 0), 0), (10, 10, 10, 0));
    assert_eq!(effective((10, 3, 4, 2), 0), (10, 3, 4, 2));
    assert_eq!(effective((10, 30, 40, 20), 0), (10, 10, 10, 10));
}

#[test]
fn start_to_close_alone_leaves_the_rest_to_the_run_timeout() {
    assert_eq!(effective((0, 0, 5, 0), 60), (60, 60, 5, 0));
    assert_eq!(effective((0, 7, 5, 0), 60), (60, 7, 5, 0));
    assert_eq!(effective((0, 0, 5, 0), 0), (0, 0, 5, 0));
    assert_eq!(effective((0, 7, 5, 0), 0), (0, 7, 5, 0));
}

#[test]
fn nothing_exceeds_the_run_timeout() {
    assert_eq!(effective((100, 90, 80, 70), 60), (60, 60, 60, 60));
    assert_eq!(effective((0, 90, 80, 0), 60), (60, 60, 60, 0));
}

#[test]
fn a_heartbeat_is_within_start_to_close() {
    assert_eq!(effective((0, 0, 5, 9), 0), (0, 0, 5, 5));
    assert_eq!(effective((0, 0, 5, 3), 0), (0, 0, 5, 3));
}

#[test]
fn one_of_the_close_timeouts_is_needed() {
    let needed = "a valid StartToCloseTimeout or ScheduleToCloseTimeout must be set on the activity. ActivityId=a ActivityType=t";
    assert_eq!(normalize(&mut command((0, 5, 0, 5))), Err(needed.into()));
    assert_eq!(normalize(&mut command((0, 0, 0, 0))), Err(needed.into()));
}

#[test]
fn bad_durations_name_their_field() {
    assert_eq!(normalize(&mut command((-1, 0, 5, 0))), Err("invalid ScheduleToCloseTimeout: negative duration".into()));
    assert_eq!(normalize(&mut command((0, -1, 5, 0))), Err("invalid ScheduleToStartTimeout: negative duration".into()));
    assert_eq!(normalize(&mut command((5, 0, -1, 0))), Err("invalid StartToCloseTimeout: negative duration".into()));
    assert_eq!(normalize(&mut command((5, 0, 0, -1))), Err("invalid HeartbeatTimeout: negative duration".into()));
    assert_eq!(effective((i64::MAX, 0, 5, 0), 0), (3_153_600_000, 3_153_600_000, 5, 0));
}

#[test]
fn ids_names_and_queues_are_checked() {
    assert_eq!(refused(|c| c.activity_id.clear()), "activityId is not set");
    assert_eq!(refused(|c| c.activity_type = None), "activityType is not set");
    assert_eq!(
        refused(|c| c.activity_id = "x".repeat(1001)),
        "activityId exceeds length limit. Length=1001 Limit=1000"
    );
    let long = Some(ActivityType { name: "x".repeat(1001) });
    assert_eq!(refused(|c| c.activity_type = long), "activityType exceeds length limit. Length=1001 Limit=1000");
    let queue = |name: &str| Some(TaskQueue { name: name.into(), ..Default::default() });
    assert_eq!(refused(|c| c.task_queue = None), "taskQueue is not set");
    assert_eq!(refused(|c| c.task_queue = queue("")), "missing task queue name");
    assert_eq!(refused(|c| c.task_queue = queue(&"x".repeat(1001))), "taskQueue length exceeds limit");
    assert_eq!(
        refused(|c| c.task_queue = queue("/_sys/q/1")),
        "task queue name cannot start with reserved prefix /_sys/"
    );
    assert_eq!(
        refused(|c| c.task_queue = queue("temporal-sys-per-ns-tq")),
        "cannot use internal per-namespace task queue:temporal-sys-per-ns-tq (in parent component task queue: wq)"
    );
}

#[test]
fn priorities_are_checked() {
    let priority = |key, fairness_key: &str, weight| {
        Some(Priority { priority_key: key, fairness_key: fairness_key.into(), fairness_weight: weight })
    };
    assert_eq!(refused(|c| c.priority = priority(-1, "", 0.0)), "invalid priorities: priority key can't be negative");
    assert_eq!(
        refused(|c| c.priority = priority(1, &"x".repeat(65), 0.0)),
        "invalid priorities: fairness key length exceeds limit"
    );
    assert_eq!(refused(|c| c.priority = priority(1, "", -1.0)), "invalid priorities: must be greater than zero");
}

#[test]
fn an_activity_gets_a_retry_policy_and_a_queue_kind() {
    let mut command = command((0, 0, 5, 0));
    assert_eq!(normalize(&mut command), Ok(()));
    assert_eq!(command.retry_policy.unwrap().maximum_interval, seconds(100));
    assert_eq!(command.task_queue.unwrap().kind(), TaskQueueKind::Normal);
}

/// Seconds of execution, run and task timeout.
fn workflow(execution: i64, run: i64, task: i64) -> Result<(i64, i64, i64), String> {
    let mut request = StartWorkflowExecutionRequest {
        workflow_execution_timeout: seconds(execution),
        workflow_run_timeout: seconds(run),
        workflow_task_timeout: seconds(task),
        ..Default::default()
    };
    normalize_workflow((&mut request).into(), &Limits::default()).map_err(|error| error.to_string())?;
    let seconds = |timeout: Option<Proto>| timeout.map_or(0, |timeout| timeout.seconds);
    Ok((
        seconds(request.workflow_execution_timeout),
        seconds(request.workflow_run_timeout),
        seconds(request.workflow_task_timeout),
    ))
}

#[test]
fn run_within_execution_and_task_within_run() {
    assert_eq!(workflow(0, 0, 0), Ok((0, 0, 10)));
    assert_eq!(workflow(100, 0, 0), Ok((100, 100, 10)));
    assert_eq!(workflow(100, 200, 0), Ok((100, 100, 10)));
    assert_eq!(workflow(0, 200, 0), Ok((0, 200, 10)));
    assert_eq!(workflow(0, 0, 500), Ok((0, 0, 120)));
    assert_eq!(workflow(0, 5, 0), Ok((0, 5, 5)));
    assert_eq!(workflow(3, 0, 60), Ok((3, 3, 3)));
}

#[test]
fn bad_workflow_timeouts_name_their_field() {
    let cause = "is set on request. cause: negative duration";
    assert_eq!(workflow(-1, 0, 0), Err(format!("An invalid WorkflowExecutionTimeoutSeconds {cause}")));
    assert_eq!(workflow(0, -1, 0), Err(format!("An invalid WorkflowRunTimeoutSeconds {cause}")));
    assert_eq!(workflow(0, 0, -1), Err(format!("An invalid WorkflowTaskTimeoutSeconds {cause}")));
}

#[test]
fn a_start_delay_does_not_go_with_cron() {
    let check = |cron: &str, mut delay: Option<Proto>| {
        normalize_start_delay(cron, &mut delay).map_err(|error| error.to_string())
    };
    assert_eq!(check("", seconds(5)), Ok(()));
    assert_eq!(check("* * * * *", None), Ok(()));
    let both = "CronSchedule and WorkflowStartDelay may not be used together.";
    assert_eq!(check("* * * * *", Some(Proto::default())), Err(both.into()));
    let negative = "An invalid WorkflowStartDelaySeconds is set on request. cause: negative duration";
    assert_eq!(check("", seconds(-5)), Err(negative.into()));
}
