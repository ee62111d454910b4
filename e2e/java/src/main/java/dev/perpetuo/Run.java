// Runs the scenarios, all at once, against the server that listens at an address.
//
//     Run 127.0.0.1:7233                 what a developer's server says
//     Run ADDRESS --rough --seconds 60   nodes are being killed meanwhile; begin anew until so much time is over
//     Run ADDRESS cron updates           some scenarios only
//
// Any server will do, the official one too: that is how the scenarios themselves are checked.
package dev.perpetuo;

import io.grpc.StatusRuntimeException;
import io.temporal.client.WorkflowClient;
import io.temporal.common.WorkflowExecutionHistory;
import io.temporal.serviceclient.WorkflowServiceStubs;
import io.temporal.serviceclient.WorkflowServiceStubsOptions;
import io.temporal.testing.WorkflowReplayer;
import io.temporal.worker.Worker;
import io.temporal.worker.WorkerFactory;
import io.temporal.worker.WorkerOptions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

public final class Run {
  interface Scenario {
    void run(Env env) throws Exception;
  }

  private static final int AT_ONCE = 16;
  private static final int CONNECT_ATTEMPTS = 10;

  /** Waits until a node answers; on a busy machine that takes more than one attempt. */
  private static void connect(WorkflowServiceStubs service) {
    for (int attempt = 1; ; attempt++) {
      try {
        service.connect(Duration.ofSeconds(30));
        return;
      } catch (StatusRuntimeException failure) {
        if (attempt == CONNECT_ATTEMPTS) {
          throw failure;
        }
      }
    }
  }

  public static void main(String[] args) throws Exception {
    long begun = System.nanoTime();
    Map<String, Scenario> all = new LinkedHashMap<>();
    Activities.list(all);
    Messages.list(all);
    Runs.list(all);
    Updates.list(all);
    Relations.list(all);
    Resets.list(all);
    boolean rough = false;
    long seconds = 0;
    List<String> names = new ArrayList<>();
    for (int index = 1; index < args.length; index++) {
      switch (args[index]) {
        case "--rough" -> rough = true;
        case "--seconds" -> seconds = Long.parseLong(args[++index]);
        default -> names.add(args[index]);
      }
    }
    Laws.require(all.keySet().containsAll(names), "there are " + all.keySet());
    if (names.isEmpty()) {
      names.addAll(all.keySet());
    }
    WorkflowServiceStubs service =
        WorkflowServiceStubs.newServiceStubs(WorkflowServiceStubsOptions.newBuilder().setTarget(args[0]).build());
    connect(service);
    WorkflowClient client = WorkflowClient.newInstance(service);
    String queue = "java-" + ProcessHandle.current().pid() + "-" + System.currentTimeMillis();
    WorkerFactory factory = WorkerFactory.newInstance(client);
    Duration often = Duration.ofMillis(200);
    WorkerOptions options =
        WorkerOptions.newBuilder().setMaxHeartbeatThrottleInterval(often).setDefaultHeartbeatThrottleInterval(often).build();
    Worker worker = factory.newWorker(queue, options);
    Workflows.register(worker);
    factory.start();
    TreeSet<String> failed = new TreeSet<>();
    int passes = 0;
    int replayed = 0;
    do {
      List<WorkflowExecutionHistory> histories = new ArrayList<>();
      ExecutorService room = Executors.newFixedThreadPool(AT_ONCE);
      Map<String, Future<List<WorkflowExecutionHistory>>> running = new LinkedHashMap<>();
      for (String name : names) {
        Env env = new Env(service, client, queue, name + "-" + passes, !rough);
        running.put(
            name,
            room.submit(
                () -> {
                  all.get(name).run(env);
                  return env.check();
                }));
      }
      for (var one : running.entrySet()) {
        try {
          histories.addAll(one.getValue().get(rough ? 180 : 90, TimeUnit.SECONDS));
        } catch (Exception failure) {
          failed.add(one.getKey());
          System.err.println("java: scenario " + one.getKey() + " failed:");
          failure.printStackTrace();
        }
      }
      room.shutdownNow();
      var results = WorkflowReplayer.replayWorkflowExecutions(histories, false, Workflows.IMPLEMENTATIONS);
      for (var error : results.allErrors()) {
        failed.add("replay of " + error.workflowId);
        error.exception.printStackTrace();
      }
      replayed += histories.size();
      passes++;
    } while (failed.isEmpty() && System.nanoTime() - begun < Duration.ofSeconds(seconds).toNanos());
    long took = Duration.ofNanos(System.nanoTime() - begun).toSeconds();
    if (failed.isEmpty()) {
      System.out.printf("java: %d scenarios, %d passes, %d runs replayed, %d s: ok%n", names.size(), passes, replayed, took);
    } else {
      System.out.printf("java: %d of %d scenarios failed: %s%n", failed.size(), names.size(), failed);
    }
    System.exit(failed.isEmpty() ? 0 : 1);
  }
}
