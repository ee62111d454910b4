// Workflows that deal with other workflows: children and strangers.
package dev.perpetuo;

import io.temporal.api.common.v1.WorkflowExecution;
import io.temporal.api.enums.v1.ParentClosePolicy;
import io.temporal.workflow.Async;
import io.temporal.workflow.CancellationScope;
import io.temporal.workflow.ChildWorkflowCancellationType;
import io.temporal.workflow.ChildWorkflowOptions;
import io.temporal.workflow.ExternalWorkflowStub;
import io.temporal.workflow.Promise;
import io.temporal.workflow.Workflow;
import io.temporal.workflow.WorkflowInterface;
import io.temporal.workflow.WorkflowMethod;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

final class Others {
  private Others() {}

  private static ChildWorkflowOptions.Builder options() {
    return ChildWorkflowOptions.newBuilder();
  }

  @WorkflowInterface
  public interface Family {
    @WorkflowMethod(name = "Family")
    Map<String, Object> run(String takenId);

    final class Impl implements Family {
      @Override
      public Map<String, Object> run(String takenId) {
        Map<String, Object> found = new LinkedHashMap<>();
        var retried = Workflow.newChildWorkflowStub(Workflows.FailsUntil.class, options().setRetryOptions(Workflows.retry(3)).build());
        Promise<Integer> second = Async.function(retried::run, 2);
        var continued = Workflow.newChildWorkflowStub(Workflows.Countdown.class, options().build());
        Promise<List<String>> last = Async.function(continued::run, 2, List.of("seed"));
        found.put("failed", Workflows.causesOf(Workflow.newChildWorkflowStub(Workflows.FailsDeeply.class)::run));
        var late =
            Workflow.newUntypedChildWorkflowStub("Tidy", options().setWorkflowRunTimeout(Duration.ofMillis(300)).build());
        found.put("late", Workflows.causesOf(() -> late.execute(String.class, true)));
        var taken = Workflow.newUntypedChildWorkflowStub("Tidy", options().setWorkflowId(takenId).build());
        found.put("taken", Workflows.causesOf(() -> taken.execute(String.class, true)));
        found.put("retried", second.get());
        found.put("continued", last.get());
        return found;
      }
    }
  }

  @WorkflowInterface
  public interface LeavesBehind {
    @WorkflowMethod(name = "LeavesBehind")
    String run(List<String> ids);

    final class Impl implements LeavesBehind {
      @Override
      public String run(List<String> ids) {
        ParentClosePolicy[] policies = {
          ParentClosePolicy.PARENT_CLOSE_POLICY_TERMINATE,
          ParentClosePolicy.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
          ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON
        };
        List<Promise<WorkflowExecution>> started = new ArrayList<>();
        for (int index = 0; index < policies.length; index++) {
          var child =
              Workflow.newUntypedChildWorkflowStub(
                  "Tidy", options().setWorkflowId(ids.get(index)).setParentClosePolicy(policies[index]).build());
          child.executeAsync(String.class, false);
          started.add(child.getExecution());
        }
        Promise.allOf(started).get();
        return "gone";
      }
    }
  }

  @WorkflowInterface
  public interface CancelledChild {
    @WorkflowMethod(name = "CancelledChild")
    List<String> run(String kind);

    final class Impl implements CancelledChild {
      @Override
      public List<String> run(String kind) {
        var child =
            Workflow.newUntypedChildWorkflowStub(
                "Tidy",
                options()
                    .setCancellationType(ChildWorkflowCancellationType.valueOf(kind))
                    .setParentClosePolicy(ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON)
                    .build());
        List<Promise<String>> result = new ArrayList<>();
        CancellationScope scope = Workflow.newCancellationScope(() -> result.add(child.executeAsync(String.class, false)));
        scope.run();
        child.getExecution().get();
        scope.cancel();
        return Workflows.causesOf(() -> result.get(0).get());
      }
    }
  }

  @WorkflowInterface
  public interface Meddler {
    @WorkflowMethod(name = "Meddler")
    List<String> run(String told, String cancelled, String nobody);

    final class Impl implements Meddler {
      @Override
      public List<String> run(String told, String cancelled, String nobody) {
        ExternalWorkflowStub first = Workflow.newUntypedExternalWorkflowStub(told);
        first.signal("add", "from a stranger");
        first.signal("release");
        Workflow.newUntypedExternalWorkflowStub(cancelled).cancel();
        ExternalWorkflowStub nowhere = Workflow.newUntypedExternalWorkflowStub(nobody);
        List<String> failures = new ArrayList<>();
        failures.add(Workflows.causesOf(() -> nowhere.signal("add", "x")).get(0));
        failures.add(Workflows.causesOf(nowhere::cancel).get(0));
        return failures;
      }
    }
  }
}
