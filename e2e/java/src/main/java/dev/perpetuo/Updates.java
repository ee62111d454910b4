// Updates: with validators, by id, at once, and together with a start.
package dev.perpetuo;

import io.temporal.api.enums.v1.WorkflowIdConflictPolicy;
import io.temporal.client.UpdateOptions;
import io.temporal.client.WorkflowNotFoundException;
import io.temporal.client.WorkflowStub;
import io.temporal.client.WorkflowUpdateException;
import io.temporal.client.WorkflowUpdateHandle;
import io.temporal.client.WorkflowUpdateStage;
import io.temporal.failure.ApplicationFailure;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

final class Updates {
  private static final Object[] NONE = {};

  private Updates() {}

  static void list(Map<String, Run.Scenario> all) {
    all.put("updates", Updates::updates);
    all.put("updates-at-once", Updates::atOnce);
    all.put("update-with-start", Updates::withStart);
  }

  private static UpdateOptions.Builder<Integer> options(String name, WorkflowUpdateStage stage) {
    return UpdateOptions.newBuilder(Integer.class).setUpdateName(name).setWaitForStage(stage);
  }

  private static void updates(Env env) throws Exception {
    WorkflowStub stub = env.start("Account");
    Laws.equal(5, stub.update("deposit", Integer.class, 5), "a deposit");
    var refused = Env.failure(WorkflowUpdateException.class, () -> stub.update("deposit", Integer.class, -1));
    Laws.require(Workflows.causes(refused).toString().contains("only positive amounts"), "refused: " + refused.getCause());
    var failed = Env.failure(WorkflowUpdateException.class, () -> stub.update("slowly", Integer.class, 2000));
    Laws.equal("TooMuch", ((ApplicationFailure) failed.getCause()).getType(), "failed by the handler");
    var unknown = Env.failure(WorkflowUpdateException.class, () -> stub.update("unheardOf", Integer.class, 1));
    Laws.require(unknown.getCause().toString().contains("unheardOf"), "unknown: " + unknown.getCause());
    UpdateOptions<Integer> slow = options("slowly", WorkflowUpdateStage.ACCEPTED).setUpdateId("slow-one").build();
    WorkflowUpdateHandle<Integer> handle = stub.startUpdate(slow, 10);
    Laws.equal("slow-one", handle.getId(), "its id");
    Laws.equal(15, handle.getResultAsync().get(), "accepted, then completed");
    Laws.equal(15, stub.startUpdate(slow, 10).getResultAsync().get(), "the same id is the same update");
    Laws.equal(15, stub.getUpdateHandle("slow-one", Integer.class).getResultAsync().get(), "for whoever asks");
    Laws.equal(15, stub.query("balance", Integer.class), "the balance");
    stub.signal("release");
    Laws.equal(15, stub.getResult(Integer.class), "the result");
    Laws.equal(3L, env.count(stub, "WORKFLOW_EXECUTION_UPDATE_ACCEPTED"), "refused updates leave nothing");
    Env.failure(WorkflowNotFoundException.class, () -> stub.update("deposit", Integer.class, 1));
  }

  private static void atOnce(Env env) throws Exception {
    WorkflowStub stub = env.start("Account");
    List<CompletableFuture<Integer>> all = new ArrayList<>();
    for (int amount = 1; amount <= 8; amount++) {
      all.add(stub.startUpdate("slowly", WorkflowUpdateStage.ACCEPTED, Integer.class, amount).getResultAsync());
    }
    for (CompletableFuture<Integer> one : all) {
      one.get();
    }
    stub.signal("release");
    Laws.equal(36, stub.getResult(Integer.class), "the sum");
  }

  private static void withStart(Env env) {
    String id = env.id();
    UpdateOptions<Integer> deposit = options("deposit", WorkflowUpdateStage.COMPLETED).build();
    WorkflowStub first = account(env, id, WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING);
    Laws.equal(7, first.executeUpdateWithStart(deposit, new Object[] {7}, NONE), "with a start");
    WorkflowStub second = account(env, id, WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING);
    Laws.equal(8, second.executeUpdateWithStart(deposit, new Object[] {1}, NONE), "with the one that runs");
    WorkflowStub third = account(env, id, WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_FAIL);
    Env.failure(RuntimeException.class, () -> third.executeUpdateWithStart(deposit, new Object[] {1}, NONE));
    first.signal("release");
    Laws.equal(8, first.getResult(Integer.class), "the result");
  }

  private static WorkflowStub account(Env env, String id, WorkflowIdConflictPolicy policy) {
    return env.client.newUntypedWorkflowStub("Account", env.options(id).setWorkflowIdConflictPolicy(policy).build());
  }
}
