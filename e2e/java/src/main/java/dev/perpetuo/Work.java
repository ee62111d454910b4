// The activities of all scenarios.
package dev.perpetuo;

import io.temporal.activity.Activity;
import io.temporal.activity.ActivityExecutionContext;
import io.temporal.activity.ActivityInfo;
import io.temporal.activity.ActivityInterface;
import io.temporal.client.ActivityCanceledException;
import io.temporal.failure.ApplicationFailure;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

@ActivityInterface
public interface Work {
  String echo(String value);

  int twice(int value);

  int failUntil(int attempt, String type);

  void failForGood();

  int failWithDelay(int millis);

  void beLate(boolean beats);

  List<Integer> resume(int upTo);

  String waitForCancel(String kind);

  String completeElsewhere(String name);

  String countCalls(String name);

  final class Impl implements Work {
    /** Activities that somebody else completes, by workflow and name. */
    static final Map<String, ActivityInfo> WAITING = new ConcurrentHashMap<>();

    private static final Map<String, Integer> CALLS = new ConcurrentHashMap<>();

    private static ActivityExecutionContext context() {
      return Activity.getExecutionContext();
    }

    private static int attempt() {
      return context().getInfo().getAttempt();
    }

    @Override
    public String echo(String value) {
      return value;
    }

    @Override
    public int twice(int value) {
      return value * 2;
    }

    @Override
    public int failUntil(int attempt, String type) {
      if (attempt() < attempt) {
        throw ApplicationFailure.newFailure("attempt " + attempt(), type, attempt());
      }
      return attempt();
    }

    @Override
    public void failForGood() {
      throw ApplicationFailure.newNonRetryableFailureWithCause("for good", "ForGood", new IllegalStateException("the root"));
    }

    @Override
    public int failWithDelay(int millis) {
      if (attempt() == 1) {
        throw ApplicationFailure.newBuilder()
            .setMessage("soon")
            .setType("Soon")
            .setNextRetryDelay(Duration.ofMillis(millis))
            .build();
      }
      return attempt();
    }

    @Override
    public void beLate(boolean beats) {
      if (beats) {
        context().heartbeat("a sign of life");
      }
      pause(4000);
    }

    @Override
    public List<Integer> resume(int upTo) {
      int from = context().getHeartbeatDetails(Integer.class).orElse(0);
      for (int at = from + 1; at <= upTo; at++) {
        context().heartbeat(at);
        if (at == 3 && from == 0) {
          throw new IllegalStateException("interrupted");
        }
      }
      return List.of(from, upTo);
    }

    /** Beats until it hears that it is cancelled. Nobody tells an abandoned one. */
    @Override
    public String waitForCancel(String kind) {
      for (int beat = 0; beat < (kind.equals("ABANDON") ? 20 : 300); beat++) {
        try {
          context().heartbeat(beat);
        } catch (ActivityCanceledException cancelled) {
          pause(kind.equals("WAIT_CANCELLATION_COMPLETED") ? 200 : 0);
          throw cancelled;
        }
        pause(100);
      }
      return "finished";
    }

    @Override
    public String completeElsewhere(String name) {
      WAITING.put(context().getInfo().getWorkflowId() + " " + name, context().getInfo());
      context().doNotCompleteOnReturn();
      return "ignored";
    }

    @Override
    public String countCalls(String name) {
      return name + " " + CALLS.merge(context().getInfo().getWorkflowId() + " " + name, 1, Integer::sum);
    }

    private static void pause(long millis) {
      try {
        Thread.sleep(millis);
      } catch (InterruptedException shutdown) {
        throw Activity.wrap(shutdown);
      }
    }
  }
}
