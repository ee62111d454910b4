// How runs begin, end and follow each other.
package dev.perpetuo;

import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.temporal.api.enums.v1.ContinueAsNewInitiator;
import io.temporal.api.enums.v1.IndexedValueType;
import io.temporal.api.enums.v1.RetryState;
import io.temporal.api.enums.v1.WorkflowIdConflictPolicy;
import io.temporal.api.enums.v1.WorkflowIdReusePolicy;
import io.temporal.api.history.v1.HistoryEvent;
import io.temporal.api.history.v1.WorkflowExecutionStartedEventAttributes;
import io.temporal.api.operatorservice.v1.AddSearchAttributesRequest;
import io.temporal.api.operatorservice.v1.ListSearchAttributesRequest;
import io.temporal.api.operatorservice.v1.OperatorServiceGrpc;
import io.temporal.client.WorkflowExecutionAlreadyStarted;
import io.temporal.client.WorkflowFailedException;
import io.temporal.client.WorkflowNotFoundException;
import io.temporal.client.WorkflowOptions;
import io.temporal.client.WorkflowStub;
import io.temporal.common.RetryOptions;
import io.temporal.common.SearchAttributes;
import io.temporal.failure.ApplicationFailure;
import io.temporal.failure.CanceledFailure;
import io.temporal.failure.TerminatedFailure;
import io.temporal.failure.TimeoutFailure;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.UnaryOperator;

final class Runs {
  private Runs() {}

  static void list(Map<String, Run.Scenario> all) {
    all.put("continue-as-new", Runs::continueAsNew);
    all.put("workflow-retry", Runs::retry);
    all.put("cron", Runs::cron);
    all.put("start-delay", Runs::delay);
    all.put("id-policies", Runs::policies);
    all.put("workflow-timeouts", Runs::timeouts);
    all.put("terminate", Runs::terminate);
    all.put("cancel", Runs::cancel);
    all.put("cancellation-scopes", Runs::scopes);
    all.put("memo-and-search-attributes", Runs::noted);
    all.put("versions", Runs::versions);
    all.put("side-effects", env -> Laws.equal(true, env.start("SideEffects").getResult(Boolean.class), "side effects"));
    all.put("workflow-task-failure", Runs::buggy);
  }

  private static Throwable failureOf(WorkflowStub stub) {
    return Env.failure(WorkflowFailedException.class, () -> stub.getResult(Object.class)).getCause();
  }

  private static void continueAsNew(Env env) {
    WorkflowStub stub = env.start("Countdown", 3, List.of());
    stub.signal("add", "once");
    Laws.equal(List.of("once"), stub.getResult(List.class), "what it was told goes along");
    String id = stub.getExecution().getWorkflowId();
    List<HistoryEvent> first = env.client.fetchHistory(id, stub.getExecution().getRunId()).getEvents();
    Laws.equal("WORKFLOW_EXECUTION_CONTINUED_AS_NEW", Laws.kind(first.get(first.size() - 1)), "how the first run ended");
  }

  private static void retry(Env env) {
    RetryOptions retry = Workflows.retry(3);
    WorkflowStub good = env.stub("FailsUntil", options -> options.setRetryOptions(retry));
    good.start(3);
    Laws.equal(3, good.getResult(Integer.class), "the third attempt");
    WorkflowStub bad = env.stub("FailsUntil", options -> options.setRetryOptions(retry));
    bad.start(9);
    WorkflowFailedException failed = Env.failure(WorkflowFailedException.class, () -> bad.getResult(Integer.class));
    Laws.equal(RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED, failed.getRetryState(), "no attempt is left");
    RetryOptions picky = RetryOptions.newBuilder(retry).setDoNotRetry("NotYet").build();
    WorkflowStub fatal = env.stub("FailsUntil", options -> options.setRetryOptions(picky));
    fatal.start(2);
    WorkflowFailedException once = Env.failure(WorkflowFailedException.class, () -> fatal.getResult(Integer.class));
    Laws.equal(RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE, once.getRetryState(), "not retried");
    Laws.equal("NotYet", ((ApplicationFailure) once.getCause()).getType(), "why");
  }

  private static void cron(Env env) throws Exception {
    WorkflowStub stub = env.stub("Tick", options -> options.setCronSchedule("@every 1s"));
    stub.start();
    WorkflowStub current = env.client.newUntypedWorkflowStub(stub.getExecution().getWorkflowId());
    // The second run fails: the third is told of that, and of the result of the first.
    WorkflowExecutionStartedEventAttributes third =
        env.until(
            () -> {
              var started = env.events(current).get(0).getWorkflowExecutionStartedEventAttributes();
              return started.hasContinuedFailure() ? started : null;
            },
            "a run after a failure");
    Laws.equal(ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE, third.getInitiator(), "the initiator");
    Laws.equal("1", third.getLastCompletionResult().getPayloads(0).getData().toStringUtf8(), "the last result");
    Laws.equal("@every 1s", third.getCronSchedule(), "the schedule");
    env.terminate(current, "enough");
  }

  private static void delay(Env env) {
    long begun = System.nanoTime();
    WorkflowStub stub = env.stub("Collector", options -> options.setStartDelay(Duration.ofMillis(1500)));
    stub.start();
    stub.signal("add", "early");
    stub.signal("release");
    Laws.equal(List.of("early"), stub.getResult(List.class), "signals wait");
    Laws.require(System.nanoTime() - begun > 1_400_000_000L, "a signal does not shorten the delay");
    WorkflowStub never = env.stub("Collector", options -> options.setStartDelay(Duration.ofHours(1)));
    never.start();
    env.terminate(never, "before it began");
    Laws.require(failureOf(never) instanceof TerminatedFailure, "terminated");
  }

  private static void policies(Env env) {
    String id = env.id();
    WorkflowStub first = started(env, id, options -> options);
    String firstRun = first.getExecution().getRunId();
    Env.failure(WorkflowExecutionAlreadyStarted.class, () -> started(env, id, options -> options));
    WorkflowStub same = started(env, id, conflict(WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING));
    Laws.equal(firstRun, same.getExecution().getRunId(), "the one that runs");
    WorkflowStub next = started(env, id, conflict(WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING));
    Laws.require(!next.getExecution().getRunId().equals(firstRun), "another run");
    WorkflowStub ended = env.client.newUntypedWorkflowStub(id, Optional.of(firstRun), Optional.empty());
    Laws.require(failureOf(ended) instanceof TerminatedFailure, "the first one was terminated");
    next.signal("release");
    next.getResult(List.class);
    for (String policy : List.of("REJECT_DUPLICATE", "ALLOW_DUPLICATE_FAILED_ONLY")) {
      Env.failure(WorkflowExecutionAlreadyStarted.class, () -> started(env, id, reuse(policy)));
    }
    WorkflowStub third = started(env, id, reuse("ALLOW_DUPLICATE"));
    env.terminate(third, "so that it has failed");
    WorkflowStub fourth = started(env, id, reuse("ALLOW_DUPLICATE_FAILED_ONLY"));
    fourth.signal("release");
    fourth.getResult(List.class);
    List.of(first, next, third).forEach(one -> env.watch(id, one.getExecution().getRunId()));
  }

  private static WorkflowStub started(Env env, String id, UnaryOperator<WorkflowOptions.Builder> more) {
    WorkflowStub stub = env.client.newUntypedWorkflowStub("Collector", more.apply(env.options(id)).build());
    stub.start();
    return stub;
  }

  private static UnaryOperator<WorkflowOptions.Builder> conflict(WorkflowIdConflictPolicy policy) {
    return options -> options.setWorkflowIdConflictPolicy(policy);
  }

  private static UnaryOperator<WorkflowOptions.Builder> reuse(String policy) {
    return options -> options.setWorkflowIdReusePolicy(WorkflowIdReusePolicy.valueOf("WORKFLOW_ID_REUSE_POLICY_" + policy));
  }

  private static void timeouts(Env env) {
    Duration short_ = Duration.ofMillis(700);
    WorkflowStub run = env.stub("Collector", options -> options.setWorkflowRunTimeout(short_));
    WorkflowStub execution =
        env.stub("Collector", options -> options.setWorkflowExecutionTimeout(short_).setRetryOptions(Workflows.retry(5)));
    run.start();
    execution.start();
    Laws.require(failureOf(run) instanceof TimeoutFailure, "the run");
    Laws.require(failureOf(execution) instanceof TimeoutFailure, "the execution");
  }

  private static void terminate(Env env) throws Exception {
    WorkflowStub stub = env.start("Collector");
    env.until(() -> env.count(stub, "WORKFLOW_TASK_COMPLETED") == 1, "its first task");
    env.terminate(stub, "no more");
    Laws.equal("no more", ((TerminatedFailure) failureOf(stub)).getOriginalMessage(), "the reason");
    Env.failure(WorkflowNotFoundException.class, () -> stub.terminate("again"));
    Env.failure(WorkflowNotFoundException.class, () -> env.client.newUntypedWorkflowStub(env.id()).terminate("nobody"));
  }

  private static void cancel(Env env) throws Exception {
    WorkflowStub stub = env.start("Tidy", false);
    env.until(() -> stub.query("stage", String.class).equals("begun"), "its begin");
    stub.cancel("a reason");
    stub.cancel();
    Laws.require(failureOf(stub) instanceof CanceledFailure, "cancelled");
    Laws.equal("cleaned", stub.query("stage", String.class), "after cleaning up");
    Laws.equal(1L, env.count(stub, "WORKFLOW_EXECUTION_CANCEL_REQUESTED"), "asked once");
    stub.cancel();
  }

  private static void scopes(Env env) {
    Laws.equal(List.of(false, 20, 20), env.start("Scopes").getResult(List.class), "timed out, fired, cancelled");
  }

  private static void noted(Env env) throws Exception {
    searchAttribute(env);
    SearchAttributes attributes = SearchAttributes.newBuilder().set(Workflows.Noted.KEYWORD, "at start").build();
    WorkflowStub stub =
        env.stub("Noted", options -> options.setMemo(Map.of("from", "the start")).setTypedSearchAttributes(attributes));
    stub.start(4);
    Laws.equal("step 4", stub.getResult(String.class), "as the workflow sees it");
    var description = stub.describe();
    Laws.equal("the start", description.getMemo("from", String.class), "kept");
    Laws.equal(4, description.getMemo("step", Integer.class), "added");
    Laws.equal("step 4", description.getTypedSearchAttributes().get(Workflows.Noted.KEYWORD), "changed");
    Laws.equal(3, description.getWorkflowExecutionInfo().getMemo().getFieldsCount(), "one key is gone");
  }

  /** Makes the search attribute of this suite where a server wants to know it beforehand. */
  private static void searchAttribute(Env env) throws Exception {
    var operator = OperatorServiceGrpc.newBlockingStub(env.service.getRawChannel());
    try {
      operator.addSearchAttributes(
          AddSearchAttributesRequest.newBuilder()
              .setNamespace("default")
              .putSearchAttributes("E2eKeyword", IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
              .build());
    } catch (StatusRuntimeException failure) {
      Status.Code code = failure.getStatus().getCode();
      if (code == Status.Code.UNIMPLEMENTED) {
        return;
      }
      Laws.equal(Status.Code.ALREADY_EXISTS, code, "adding it");
    }
    var list = ListSearchAttributesRequest.newBuilder().setNamespace("default").build();
    env.until(() -> operator.listSearchAttributes(list).containsCustomAttributes("E2eKeyword"), "the attribute");
  }

  private static void versions(Env env) {
    WorkflowStub stub = env.start("Versions");
    Laws.equal(List.of(2, 2, 3, 1, 3), stub.getResult(List.class), "versions");
    Laws.equal(3L, env.count(stub, "MARKER_RECORDED"), "each is recorded once");
  }

  private static void buggy(Env env) {
    WorkflowStub stub = env.start("Buggy");
    Laws.equal("mended", stub.getResult(String.class), "the second attempt");
    // A node may die with the failure; then the task times out.
    Laws.require(!env.calm || env.count(stub, "WORKFLOW_TASK_FAILED") >= 1, "the first one failed");
  }
}
