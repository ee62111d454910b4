// Activities: retries, timeouts, heartbeats, cancellation, completion from elsewhere, local ones, many of them.
package dev.perpetuo;

import io.temporal.activity.ActivityInfo;
import io.temporal.client.ActivityCompletionClient;
import io.temporal.client.ActivityNotExistsException;
import io.temporal.client.WorkflowFailedException;
import io.temporal.client.WorkflowStub;
import io.temporal.failure.ActivityFailure;
import io.temporal.failure.ApplicationFailure;
import java.util.List;
import java.util.Map;
import java.util.Optional;

final class Activities {
  private Activities() {}

  static void list(Map<String, Run.Scenario> all) {
    all.put("activity-retries", Activities::retries);
    all.put("activity-timeouts", Activities::timeouts);
    all.put("activity-progress", Activities::progress);
    all.put("activity-cancellation", Activities::cancellation);
    all.put("activity-completed-elsewhere", Activities::elsewhere);
    all.put("activity-local", Activities::local);
    all.put("activity-many", Activities::many);
    all.put("failure-causes", Activities::causes);
  }

  @SuppressWarnings("unchecked")
  private static void retries(Env env) {
    WorkflowStub stub = env.start("Retries");
    Map<String, Object> found = stub.getResult(Map.class);
    Laws.require((int) found.get("third") >= 3 && (int) found.get("delayed") >= 2, "attempts are counted: " + found);
    Laws.equal(
        List.of("ActivityFailure NON_RETRYABLE_FAILURE", "ApplicationFailure Fatal: attempt 1"), found.get("fatal"), "fatal");
    Laws.equal(
        List.of(
            "ActivityFailure NON_RETRYABLE_FAILURE",
            "ApplicationFailure ForGood: for good",
            "ApplicationFailure java.lang.IllegalStateException: the root"),
        found.get("marked"),
        "marked");
    Laws.equal(
        "ActivityFailure MAXIMUM_ATTEMPTS_REACHED", ((List<String>) found.get("exhausted")).get(0), "exhausted");
    Laws.equal(5L, env.count(stub, "ACTIVITY_TASK_STARTED"), "attempts that fail leave no events");
  }

  @SuppressWarnings("unchecked")
  private static void timeouts(Env env) {
    List<List<String>> found = env.start("Timeouts").getResult(List.class);
    Laws.equal(List.of("ActivityFailure MAXIMUM_ATTEMPTS_REACHED", "TimeoutFailure START_TO_CLOSE"), found.get(0), "start to close");
    Laws.equal(List.of("ActivityFailure MAXIMUM_ATTEMPTS_REACHED", "TimeoutFailure HEARTBEAT"), found.get(1), "heartbeat");
    Laws.equal(List.of("ActivityFailure TIMEOUT", "TimeoutFailure SCHEDULE_TO_START"), found.get(2).subList(0, 2), "schedule to start");
    Laws.equal("TimeoutFailure SCHEDULE_TO_CLOSE", found.get(3).get(1), "schedule to close");
  }

  private static void progress(Env env) {
    List<?> found = env.start("Progress").getResult(List.class);
    Laws.equal(5, found.get(1), "the end");
    if (env.calm) {
      Laws.equal(3, found.get(0), "the second attempt begins where the first stopped");
    }
  }

  private static void cancellation(Env env) {
    List<String> kinds = List.of("TRY_CANCEL", "WAIT_CANCELLATION_COMPLETED", "ABANDON");
    List<WorkflowStub> stubs = kinds.stream().map(kind -> env.start("CancelledActivity", kind)).toList();
    for (int index = 0; index < kinds.size(); index++) {
      List<?> causes = stubs.get(index).getResult(List.class);
      String last = (String) causes.get(causes.size() - 1);
      if (!env.calm) {
        // A task that was lost with a node times out, and nobody is there any more to be cancelled.
        continue;
      }
      Laws.equal("CanceledFailure", last, kinds.get(index));
      long asked = env.count(stubs.get(index), "ACTIVITY_TASK_CANCEL_REQUESTED");
      Laws.equal(index == 2 ? 0L : 1L, asked, "requests of " + kinds.get(index));
    }
    if (env.calm) {
      Laws.equal(1L, env.count(stubs.get(1), "ACTIVITY_TASK_CANCELED"), "it waited");
    }
  }

  private static void elsewhere(Env env) throws Exception {
    List<String> names = List.of("by-token", "by-id", "failed");
    WorkflowStub stub = env.start("Elsewhere", names);
    ActivityCompletionClient completion = env.client.newActivityCompletionClient();
    ActivityInfo byToken = waiting(env, stub, names.get(0));
    completion.heartbeat(byToken.getTaskToken(), "half");
    completion.complete(byToken.getTaskToken(), "with a token");
    ActivityInfo byId = waiting(env, stub, names.get(1));
    Optional<String> runId = Optional.of(byId.getRunId());
    completion.complete(byId.getWorkflowId(), runId, byId.getActivityId(), "with ids");
    byte[] failed = waiting(env, stub, names.get(2)).getTaskToken();
    completion.completeExceptionally(failed, ApplicationFailure.newFailure("no", "No"));
    Laws.equal(List.of("with a token", "with ids", "ApplicationFailure No: no"), stub.getResult(List.class), "results");
    Env.failure(ActivityNotExistsException.class, () -> completion.complete(byToken.getTaskToken(), "again"));
  }

  private static ActivityInfo waiting(Env env, WorkflowStub stub, String name) throws Exception {
    String key = stub.getExecution().getWorkflowId() + " " + name;
    return env.until(() -> Work.Impl.WAITING.get(key), "the start of " + name);
  }

  private static void local(Env env) {
    WorkflowStub stub = env.start("Locals");
    List<?> found = stub.getResult(List.class);
    Laws.equal(List.of("ab", 3, 2), found.subList(0, 3), "local activities");
    Laws.require(found.get(3).toString().contains("Temporary: attempt 1"), "a failure: " + found.get(3));
    Laws.equal(List.of("local remote", "local remote", "local remote"), found.subList(4, 7), "mixed");
    Laws.equal(3L, env.count(stub, "ACTIVITY_TASK_SCHEDULED"), "only the remote ones are scheduled");
    Laws.require(env.count(stub, "MARKER_RECORDED") >= 7, "the local ones are markers");
  }

  private static void many(Env env) {
    int count = env.calm ? 200 : 60;
    Laws.equal(count * (count - 1), env.start("Many", count, 50).getResult(Integer.class), "the sum");
  }

  private static void causes(Env env) {
    WorkflowStub stub = env.start("FailsDeeply");
    WorkflowFailedException failed = Env.failure(WorkflowFailedException.class, () -> stub.getResult(Void.class));
    ApplicationFailure outer = (ApplicationFailure) failed.getCause();
    Laws.equal("Outer", outer.getType(), "the outer type");
    Laws.require(outer.isNonRetryable(), "it is not retried");
    Laws.equal(1, outer.getDetails().get(0, Integer.class), "the first detail");
    Laws.equal("two", outer.getDetails().get(1, String.class), "the second detail");
    ActivityFailure middle = (ActivityFailure) outer.getCause();
    Laws.equal("FailForGood", middle.getActivityType(), "the activity");
    ApplicationFailure inner = (ApplicationFailure) middle.getCause();
    Laws.equal("ForGood", inner.getType(), "the inner type");
    Laws.equal("the root", ((ApplicationFailure) inner.getCause()).getOriginalMessage(), "the root");
  }
}
