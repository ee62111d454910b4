// Workflows that deal with others: children, signals and cancellations between workflows.
package dev.perpetuo;

import io.temporal.client.WorkflowFailedException;
import io.temporal.client.WorkflowStub;
import io.temporal.failure.CanceledFailure;
import io.temporal.failure.TerminatedFailure;
import java.util.List;
import java.util.Map;

final class Relations {
  private Relations() {}

  static void list(Map<String, Run.Scenario> all) {
    all.put("children", Relations::children);
    all.put("parent-close-policies", Relations::policies);
    all.put("child-cancellation", Relations::cancellation);
    all.put("meddling", Relations::meddling);
  }

  @SuppressWarnings("unchecked")
  private static void children(Env env) {
    WorkflowStub taken = env.start("Tidy", true);
    Map<String, Object> found = env.start("Family", taken.getExecution().getWorkflowId()).getResult(Map.class);
    Laws.equal(2, found.get("retried"), "retried");
    Laws.equal(List.of("seed"), found.get("continued"), "continued");
    List<String> failed = (List<String>) found.get("failed");
    Laws.equal("ChildWorkflowFailure", failed.get(0), "a child's failure");
    Laws.equal("ApplicationFailure Outer: outer", failed.get(1), "its cause");
    Laws.equal("ActivityFailure NON_RETRYABLE_FAILURE", failed.get(2), "the cause of that");
    Laws.equal(List.of("ChildWorkflowFailure", "TimeoutFailure START_TO_CLOSE"), found.get("late"), "late");
    Laws.require(found.get("taken").toString().contains("AlreadyStarted"), "an id that is taken: " + found.get("taken"));
    taken.terminate("done");
  }

  private static void policies(Env env) {
    List<String> ids = List.of(env.id(), env.id(), env.id());
    Laws.equal("gone", env.start("LeavesBehind", ids).getResult(String.class), "the parent");
    List<WorkflowStub> children = ids.stream().map(env.client::newUntypedWorkflowStub).toList();
    Laws.require(failureOf(children.get(0)) instanceof TerminatedFailure, "terminated");
    Laws.require(failureOf(children.get(1)) instanceof CanceledFailure, "cancelled");
    Laws.equal("WORKFLOW_EXECUTION_STATUS_RUNNING", children.get(2).describe().getStatus().name(), "abandoned");
    children.get(2).terminate("done");
  }

  private static void cancellation(Env env) {
    for (String kind : List.of("TRY_CANCEL", "WAIT_CANCELLATION_REQUESTED", "WAIT_CANCELLATION_COMPLETED", "ABANDON")) {
      WorkflowStub stub = env.start("CancelledChild", kind);
      List<?> causes = stub.getResult(List.class);
      Laws.equal("CanceledFailure", causes.get(causes.size() - 1), kind);
      long asked = env.count(stub, "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED");
      Laws.equal(kind.equals("ABANDON") ? 0L : 1L, asked, "requests of " + kind);
    }
  }

  private static void meddling(Env env) {
    WorkflowStub told = env.start("Collector");
    WorkflowStub cancelled = env.start("Tidy", false);
    WorkflowStub meddler =
        env.start("Meddler", told.getExecution().getWorkflowId(), cancelled.getExecution().getWorkflowId(), env.id() + "-nobody");
    List<?> failures = meddler.getResult(List.class);
    Laws.require(failures.get(0).toString().contains("EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND"), "no signal: " + failures);
    Laws.equal("CancelExternalWorkflowException", failures.get(1), "no cancellation");
    Laws.equal(List.of("from a stranger"), told.getResult(List.class), "told");
    Laws.require(failureOf(cancelled) instanceof CanceledFailure, "cancelled");
  }

  private static Throwable failureOf(WorkflowStub stub) {
    return Env.failure(WorkflowFailedException.class, () -> stub.getResult(Object.class)).getCause();
  }
}
