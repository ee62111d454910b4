// Resets: a run is undone from a workflow task on, and done again.
package dev.perpetuo;

import io.temporal.api.common.v1.WorkflowExecution;
import io.temporal.api.enums.v1.ResetReapplyExcludeType;
import io.temporal.api.history.v1.HistoryEvent;
import io.temporal.api.workflowservice.v1.ResetWorkflowExecutionRequest;
import io.temporal.client.WorkflowStub;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;

final class Resets {
  private Resets() {}

  static void list(Map<String, Run.Scenario> all) {
    all.put("reset-to-the-middle", Resets::middle);
    all.put("reset-of-a-running-one", Resets::running);
    all.put("reset-without-signals", Resets::withoutSignals);
  }

  private static List<Long> tasks(Env env, WorkflowStub stub) {
    return env.events(stub).stream()
        .filter(event -> Laws.kind(event).equals("WORKFLOW_TASK_COMPLETED"))
        .map(HistoryEvent::getEventId)
        .toList();
  }

  private static WorkflowStub begun(Env env) throws Exception {
    WorkflowStub stub = env.start("Resettable");
    env.until(() -> tasks(env, stub).size() >= 2, "the first activity");
    stub.signal("add", "a");
    return stub;
  }

  private static WorkflowStub reset(Env env, WorkflowStub stub, int task, ResetReapplyExcludeType... excluded) {
    WorkflowExecution execution = stub.getExecution();
    var request =
        ResetWorkflowExecutionRequest.newBuilder()
            .setNamespace("default")
            .setWorkflowExecution(execution)
            .setReason("a scenario")
            .setRequestId(UUID.randomUUID().toString())
            .setWorkflowTaskFinishEventId(tasks(env, stub).get(task))
            .addAllResetReapplyExcludeTypes(List.of(excluded))
            .build();
    String runId = env.service.blockingStub().resetWorkflowExecution(request).getRunId();
    env.watch(execution.getWorkflowId(), execution.getRunId());
    return env.client.newUntypedWorkflowStub(execution.getWorkflowId(), Optional.of(runId), Optional.empty());
  }

  private static void middle(Env env) throws Exception {
    WorkflowStub stub = begun(env);
    stub.signal("add", "b");
    List<?> before = stub.getResult(List.class);
    List<?> after = reset(env, stub, 1).getResult(List.class);
    Laws.equal("ab", after.get(2), "the signals are told again");
    Laws.equal(before.get(0), after.get(0), "the first activity stays");
    Laws.require(!before.get(1).equals(after.get(1)), "the second is done again");
  }

  private static void running(Env env) throws Exception {
    WorkflowStub stub = begun(env);
    WorkflowStub again = reset(env, stub, 0);
    again.signal("add", "b");
    Laws.equal("ab", again.getResult(List.class).get(2), "signals before and after");
    WorkflowExecution base = stub.getExecution();
    var description =
        env.client.newUntypedWorkflowStub(base.getWorkflowId(), Optional.of(base.getRunId()), Optional.empty()).describe();
    Laws.equal("WORKFLOW_EXECUTION_STATUS_TERMINATED", description.getStatus().name(), "the base run");
  }

  private static void withoutSignals(Env env) throws Exception {
    WorkflowStub stub = begun(env);
    stub.signal("add", "b");
    stub.getResult(List.class);
    WorkflowStub again = reset(env, stub, 1, ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL);
    again.signal("add", "c");
    again.signal("add", "d");
    Laws.equal("cd", again.getResult(List.class).get(2), "only the new ones");
  }
}
