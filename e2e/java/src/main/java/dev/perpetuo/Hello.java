// An unmodified Java worker and client against the real binary.
package dev.perpetuo;

import io.temporal.activity.Activity;
import io.temporal.activity.ActivityInterface;
import io.temporal.activity.ActivityOptions;
import io.temporal.client.WorkflowClient;
import io.temporal.client.WorkflowOptions;
import io.temporal.client.WorkflowStub;
import io.temporal.common.RetryOptions;
import io.temporal.serviceclient.WorkflowServiceStubs;
import io.temporal.serviceclient.WorkflowServiceStubsOptions;
import io.temporal.testing.WorkflowReplayer;
import io.temporal.worker.WorkerFactory;
import io.temporal.workflow.QueryMethod;
import io.temporal.workflow.SignalMethod;
import io.temporal.workflow.Workflow;
import io.temporal.workflow.WorkflowInterface;
import io.temporal.workflow.WorkflowMethod;
import java.io.File;
import java.net.ServerSocket;
import java.time.Duration;

public final class Hello {
  private static final String QUEUE = "hello";

  @ActivityInterface
  public interface Greeter {
    String greet(String name);
  }

  public static final class GreeterImpl implements Greeter {
    @Override
    public String greet(String name) {
      if (Activity.getExecutionContext().getInfo().getAttempt() == 1) {
        throw new IllegalStateException("the first attempt always fails");
      }
      return "Hello, " + name + "!";
    }
  }

  @WorkflowInterface
  public interface HelloWorkflow {
    @WorkflowMethod
    String run(String name);

    @SignalMethod
    void approve();

    @QueryMethod
    String stage();
  }

  public static final class HelloWorkflowImpl implements HelloWorkflow {
    private final Greeter greeter =
        Workflow.newActivityStub(
            Greeter.class,
            ActivityOptions.newBuilder()
                .setStartToCloseTimeout(Duration.ofSeconds(10))
                .setRetryOptions(
                    RetryOptions.newBuilder().setInitialInterval(Duration.ofMillis(100)).build())
                .build());
    private boolean approved;
    private String stage = "greeting";

    @Override
    public String run(String name) {
      String greeting = greeter.greet(name);
      stage = "sleeping";
      Workflow.sleep(Duration.ofMillis(200));
      stage = "approval";
      Workflow.await(() -> approved);
      stage = "done";
      return greeting;
    }

    @Override
    public void approve() {
      approved = true;
    }

    @Override
    public String stage() {
      return stage;
    }
  }

  public static void main(String[] args) throws Exception {
    int port;
    try (ServerSocket probe = new ServerSocket(0)) {
      port = probe.getLocalPort();
    }
    Process server =
        new ProcessBuilder(args[0], "server", "start-dev", "--port", "" + port, "--headless")
            .redirectOutput(new File("/dev/null"))
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    int code = 1;
    try {
      hello("127.0.0.1:" + port);
      System.out.println("java: hello with retry, timer, signal and query, replayed: ok");
      code = 0;
    } catch (Throwable failure) {
      failure.printStackTrace();
    } finally {
      server.destroy();
      server.waitFor();
    }
    System.exit(code);
  }

  private static void hello(String address) throws Exception {
    WorkflowServiceStubs service =
        WorkflowServiceStubs.newServiceStubs(
            WorkflowServiceStubsOptions.newBuilder().setTarget(address).build());
    service.connect(Duration.ofSeconds(30));
    WorkflowClient client = WorkflowClient.newInstance(service);
    WorkerFactory factory = WorkerFactory.newInstance(client);
    io.temporal.worker.Worker worker = factory.newWorker(QUEUE);
    worker.registerWorkflowImplementationTypes(HelloWorkflowImpl.class);
    worker.registerActivitiesImplementations(new GreeterImpl());
    factory.start();
    HelloWorkflow workflow =
        client.newWorkflowStub(
            HelloWorkflow.class,
            WorkflowOptions.newBuilder().setWorkflowId("hello-java").setTaskQueue(QUEUE).build());
    WorkflowClient.start(workflow::run, "Java");
    while (!workflow.stage().equals("approval")) {
      Thread.sleep(20);
    }
    workflow.approve();
    String result = WorkflowStub.fromTyped(workflow).getResult(String.class);
    if (!result.equals("Hello, Java!")) {
      throw new AssertionError("unexpected result " + result);
    }
    WorkflowReplayer.replayWorkflowExecution(
        client.fetchHistory("hello-java"), HelloWorkflowImpl.class);
    factory.shutdown();
    service.shutdownNow();
  }
}
