// What every scenario is given: a client, a worker that runs all workflows, and checks of all histories at the end.
package dev.perpetuo;

import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.temporal.api.history.v1.History;
import io.temporal.api.history.v1.HistoryEvent;
import io.temporal.client.WorkflowClient;
import io.temporal.client.WorkflowNotFoundException;
import io.temporal.client.WorkflowOptions;
import io.temporal.client.WorkflowStub;
import io.temporal.common.WorkflowExecutionHistory;
import io.temporal.serviceclient.WorkflowServiceStubs;
import io.temporal.worker.WorkerFactory;
import io.temporal.worker.WorkerFactoryOptions;
import io.temporal.worker.WorkerOptions;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.function.UnaryOperator;

final class Env {
  record Run(String workflowId, String runId) {}

  final WorkflowServiceStubs service;
  final WorkflowClient client;
  final String queue;
  final String name;

  /** No node is being killed: what is tried once happens once. */
  final boolean calm;

  private static final int ATTEMPTS = 10;

  private int ids;
  private final Set<Run> seen = new LinkedHashSet<>();

  Env(WorkflowServiceStubs service, WorkflowClient client, String queue, String name, boolean calm) {
    this.service = service;
    this.client = client;
    this.queue = queue;
    this.name = name;
    this.calm = calm;
  }

  String id() {
    return queue + "/" + name + "/" + ++ids;
  }

  WorkflowOptions.Builder options(String workflowId) {
    watch(workflowId, "");
    return WorkflowOptions.newBuilder().setWorkflowId(workflowId).setTaskQueue(queue);
  }

  WorkflowStub stub(String type, UnaryOperator<WorkflowOptions.Builder> more) {
    return client.newUntypedWorkflowStub(type, more.apply(options(id())).build());
  }

  WorkflowStub start(String type, Object... arguments) {
    WorkflowStub stub = stub(type, options -> options);
    stub.start(arguments);
    return stub;
  }

  /** Its latest chain of runs, or the one that ends with `runId`, is checked and replayed at the end. */
  void watch(String workflowId, String runId) {
    seen.add(new Run(workflowId, runId));
  }

  <T> T until(Callable<T> attempt, String what) throws Exception {
    long deadline = System.nanoTime() + Duration.ofSeconds(calm ? 60 : 90).toNanos();
    for (; ; ) {
      T value = attempt.call();
      if (value != null && !Boolean.FALSE.equals(value)) {
        return value;
      }
      Laws.require(System.nanoTime() < deadline, what + " did not happen");
      Thread.sleep(50);
    }
  }

  interface Action {
    void run() throws Exception;
  }

  /** What an action that must fail throws. */
  static <T extends Throwable> T failure(Class<T> kind, Action action) {
    try {
      action.run();
    } catch (Throwable failure) {
      if (kind.isInstance(failure)) {
        return kind.cast(failure);
      }
      throw new AssertionError("expected " + kind + ", was " + failure, failure);
    }
    throw new AssertionError("expected " + kind + ", but nothing failed");
  }

  /** The first cause of a kind. */
  static <T extends Throwable> T cause(Class<T> kind, Throwable failure) {
    for (Throwable one = failure; one != null; one = one.getCause()) {
      if (kind.isInstance(one)) {
        return kind.cast(one);
      }
    }
    throw new AssertionError("no " + kind + " in " + failure, failure);
  }

  List<HistoryEvent> events(WorkflowStub stub) {
    return history(stub.getExecution().getWorkflowId(), "").getEvents();
  }

  /** Reads a history, of the latest run when none is named. The SDK does not repeat this call by itself. */
  private WorkflowExecutionHistory history(String workflowId, String runId) {
    for (int attempt = 1; ; attempt++) {
      try {
        return runId.isEmpty() ? client.fetchHistory(workflowId) : client.fetchHistory(workflowId, runId);
      } catch (StatusRuntimeException failure) {
        if (calm || attempt == ATTEMPTS || failure.getStatus().getCode() == Status.Code.NOT_FOUND) {
          throw failure;
        }
      }
    }
  }

  /** What is repeated after an answer that was lost with its node finds the workflow closed. */
  void terminate(WorkflowStub stub, String reason) {
    try {
      stub.terminate(reason, "a detail");
    } catch (WorkflowNotFoundException failure) {
      if (calm) {
        throw failure;
      }
    }
  }

  long count(WorkflowStub stub, String kind) {
    return events(stub).stream().filter(event -> Laws.kind(event).equals(kind)).count();
  }

  /** Workers of their own, to be ended and begun again. */
  WorkerFactory workers(String taskQueue, int cached) {
    WorkerFactoryOptions options = WorkerFactoryOptions.newBuilder().setWorkflowCacheSize(cached).build();
    // Of a client of its own: workers of one client share what they know of sticky queues.
    WorkerFactory factory = WorkerFactory.newInstance(WorkflowClient.newInstance(service), options);
    Workflows.register(factory.newWorker(taskQueue, WorkerOptions.newBuilder().build()));
    factory.start();
    return factory;
  }

  /** Laws for each run; returns the histories, for the replayer. */
  List<WorkflowExecutionHistory> check() {
    Deque<Run> queue = new ArrayDeque<>(seen);
    Map<String, WorkflowExecutionHistory> runs = new HashMap<>();
    while (!queue.isEmpty()) {
      Run run = queue.pop();
      WorkflowExecutionHistory history = history(run.workflowId, run.runId);
      List<HistoryEvent> events = history.getEvents();
      var started = events.get(0).getWorkflowExecutionStartedEventAttributes();
      if (runs.putIfAbsent(started.getOriginalExecutionRunId(), history) != null) {
        continue;
      }
      Laws.check(events, run.workflowId + " " + started.getOriginalExecutionRunId());
      if (!started.getContinuedExecutionRunId().isEmpty()) {
        queue.add(new Run(run.workflowId, started.getContinuedExecutionRunId()));
      }
      for (HistoryEvent event : events) {
        if (event.hasChildWorkflowExecutionStartedEventAttributes()) {
          var child = event.getChildWorkflowExecutionStartedEventAttributes().getWorkflowExecution();
          queue.add(new Run(child.getWorkflowId(), child.getRunId()));
        }
      }
    }
    List<WorkflowExecutionHistory> closed = new ArrayList<>(runs.values());
    // The replayer knows nothing of a run that no worker has seen.
    closed.removeIf(history -> !Laws.isClosed(history.getEvents()) || !wasSeen(history.getEvents()));
    closed.replaceAll(Env::replayable);
    return closed;
  }

  /** The replayer refuses an end that came from outside; it is given all that comes before it. */
  private static WorkflowExecutionHistory replayable(WorkflowExecutionHistory history) {
    List<HistoryEvent> events = history.getEvents();
    HistoryEvent last = events.get(events.size() - 1);
    if (!last.hasWorkflowExecutionTerminatedEventAttributes() && !last.hasWorkflowExecutionTimedOutEventAttributes()) {
      return history;
    }
    var before = History.newBuilder().addAllEvents(events.subList(0, events.size() - 1)).build();
    return new WorkflowExecutionHistory(before, history.getWorkflowExecution().getWorkflowId());
  }

  private static boolean wasSeen(List<HistoryEvent> events) {
    return events.stream().anyMatch(HistoryEvent::hasWorkflowTaskCompletedEventAttributes);
  }
}
