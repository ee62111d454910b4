// Signals and queries.
package dev.perpetuo;

import io.temporal.api.enums.v1.QueryRejectCondition;
import io.temporal.client.WorkflowClient;
import io.temporal.client.WorkflowClientOptions;
import io.temporal.client.WorkflowNotFoundException;
import io.temporal.client.WorkflowQueryConditionallyRejectedException;
import io.temporal.client.WorkflowQueryException;
import io.temporal.client.WorkflowStub;
import io.temporal.worker.WorkerFactory;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

final class Messages {
  private Messages() {}

  static void list(Map<String, Run.Scenario> all) {
    all.put("signals-in-order", Messages::signals);
    all.put("signal-with-start", Messages::signalWithStart);
    all.put("queries", Messages::queries);
    all.put("query-rejected", Messages::rejected);
    all.put("worker-restart", Messages::restart);
    all.put("no-cache", Messages::noCache);
  }

  private static void signals(Env env) {
    WorkflowStub stub = env.start("Collector");
    List<String> told = new ArrayList<>();
    for (int index = 0; index < 30; index++) {
      told.add("" + index);
      stub.signal("add", "" + index);
    }
    stub.signal("release");
    Laws.equal(told, stub.getResult(List.class), "each once, in order");
    Env.failure(WorkflowNotFoundException.class, () -> stub.signal("add", "too late"));
  }

  private static void signalWithStart(Env env) {
    String id = env.id();
    Object[] none = {};
    WorkflowStub first = env.client.newUntypedWorkflowStub("Collector", env.options(id).build());
    first.signalWithStart("add", new Object[] {"first"}, none);
    WorkflowStub second = env.client.newUntypedWorkflowStub("Collector", env.options(id).build());
    second.signalWithStart("add", new Object[] {"second"}, none);
    String runId = first.getExecution().getRunId();
    Laws.equal(runId, second.getExecution().getRunId(), "the same run");
    second.signal("release");
    Laws.equal(List.of("first", "second"), second.getResult(List.class), "both signals");
    // Once it is closed the same call begins a new run.
    WorkflowStub third = env.client.newUntypedWorkflowStub("Collector", env.options(id).build());
    third.signalWithStart("release", none, none);
    Laws.require(!third.getExecution().getRunId().equals(runId), "another run");
    Laws.equal(List.of(), third.getResult(List.class), "a fresh one");
    env.watch(id, runId);
  }

  private static void queries(Env env) {
    WorkflowStub stub = env.start("Collector");
    for (int index = 0; index < 5; index++) {
      stub.signal("add", "" + index);
      Laws.equal(index + 1, stub.query("list", List.class, 0).size(), "what was acknowledged is seen");
    }
    Laws.equal(List.of("3", "4"), stub.query("list", List.class, 3), "with an argument");
    WorkflowQueryException broken = Env.failure(WorkflowQueryException.class, () -> stub.query("broken", String.class));
    Laws.require(broken.getCause().toString().contains("this query always fails"), "why: " + broken.getCause());
    WorkflowQueryException unknown = Env.failure(WorkflowQueryException.class, () -> stub.query("unheardOf", String.class));
    Laws.require(unknown.getCause().toString().contains("unheardOf"), "what: " + unknown.getCause());
    Laws.require(stub.query("__stack_trace", String.class).contains("await"), "the stack");
    stub.signal("release");
    stub.getResult(List.class);
    Laws.equal(5, stub.query("list", List.class, 0).size(), "a closed workflow still answers");
  }

  private static void rejected(Env env) {
    WorkflowStub stub = env.start("Collector");
    stub.signal("release");
    stub.getResult(List.class);
    WorkflowClientOptions picky =
        WorkflowClientOptions.newBuilder().setQueryRejectCondition(QueryRejectCondition.QUERY_REJECT_CONDITION_NOT_OPEN).build();
    WorkflowStub again =
        WorkflowClient.newInstance(env.service, picky).newUntypedWorkflowStub(stub.getExecution().getWorkflowId());
    var failure = Env.failure(WorkflowQueryConditionallyRejectedException.class, () -> again.query("list", List.class, 0));
    Laws.equal("WORKFLOW_EXECUTION_STATUS_COMPLETED", failure.getWorkflowExecutionStatus().name(), "the status");
  }

  private static void restart(Env env) {
    String queue = env.queue + "-restart-" + env.name;
    WorkerFactory first = env.workers(queue, 600);
    WorkflowStub stub = env.stub("Collector", options -> options.setTaskQueue(queue));
    stub.start();
    stub.signal("add", "first worker");
    Laws.equal(List.of("first worker"), stub.query("list", List.class, 0), "the first worker");
    first.shutdown();
    first.awaitTermination(20, TimeUnit.SECONDS);
    stub.signal("add", "no worker");
    WorkerFactory second = env.workers(queue, 600);
    // The sticky queue of the first is dead; the second one gets it all.
    Laws.equal(List.of("first worker", "no worker"), stub.query("list", List.class, 0), "the second worker");
    stub.signal("release");
    Laws.equal(List.of("first worker", "no worker"), stub.getResult(List.class), "the result");
    second.shutdown();
  }

  private static void noCache(Env env) {
    String queue = env.queue + "-forgetful-" + env.name;
    WorkerFactory forgetful = env.workers(queue, 0);
    WorkflowStub slow = env.stub("Long", options -> options.setTaskQueue(queue));
    slow.start(10, env.calm ? 40 : 10);
    WorkflowStub told = env.stub("Collector", options -> options.setTaskQueue(queue));
    told.start();
    for (int index = 0; index < 5; index++) {
      told.signal("add", "" + index);
      Laws.equal(index + 1, told.query("list", List.class, 0).size(), "a query after each signal");
    }
    told.signal("release");
    told.getResult(List.class);
    Laws.equal(10, slow.getResult(Integer.class), "several pages of history");
    Laws.equal(10, slow.query("at", Integer.class), "and a query at their end");
    forgetful.shutdown();
  }
}
