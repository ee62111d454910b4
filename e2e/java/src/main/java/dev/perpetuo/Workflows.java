// The workflows of all scenarios.
package dev.perpetuo;

import io.temporal.activity.ActivityCancellationType;
import io.temporal.activity.ActivityOptions;
import io.temporal.activity.LocalActivityOptions;
import io.temporal.common.RetryOptions;
import io.temporal.common.SearchAttributeKey;
import io.temporal.failure.ActivityFailure;
import io.temporal.failure.ApplicationFailure;
import io.temporal.failure.CanceledFailure;
import io.temporal.failure.TimeoutFailure;
import io.temporal.worker.Worker;
import io.temporal.workflow.Async;
import io.temporal.workflow.CancellationScope;
import io.temporal.workflow.ContinueAsNewOptions;
import io.temporal.workflow.Promise;
import io.temporal.workflow.QueryMethod;
import io.temporal.workflow.SignalMethod;
import io.temporal.workflow.UpdateMethod;
import io.temporal.workflow.UpdateValidatorMethod;
import io.temporal.workflow.Workflow;
import io.temporal.workflow.WorkflowInterface;
import io.temporal.workflow.WorkflowMethod;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

final class Workflows {
  static final Class<?>[] IMPLEMENTATIONS = {
    Retries.Impl.class, Timeouts.Impl.class, Progress.Impl.class, CancelledActivity.Impl.class, Elsewhere.Impl.class,
    Locals.Impl.class, Many.Impl.class, FailsDeeply.Impl.class, Collector.Impl.class, Account.Impl.class,
    Countdown.Impl.class, FailsUntil.Impl.class, Tick.Impl.class, Tidy.Impl.class, Scopes.Impl.class, Noted.Impl.class,
    Versions.Impl.class, SideEffects.Impl.class, Buggy.Impl.class, Long.Impl.class, Resettable.Impl.class,
    Others.Family.Impl.class, Others.LeavesBehind.Impl.class, Others.Meddler.Impl.class, Others.CancelledChild.Impl.class,
  };

  private Workflows() {}

  static void register(Worker worker) {
    worker.registerWorkflowImplementationTypes(IMPLEMENTATIONS);
    worker.registerActivitiesImplementations(new Work.Impl());
  }

  static RetryOptions retry(int attempts) {
    return RetryOptions.newBuilder()
        .setInitialInterval(Duration.ofMillis(50))
        .setBackoffCoefficient(1)
        .setMaximumAttempts(attempts)
        .build();
  }

  static ActivityOptions.Builder patient(int attempts) {
    return ActivityOptions.newBuilder().setStartToCloseTimeout(Duration.ofSeconds(30)).setRetryOptions(retry(attempts));
  }

  static Work work(ActivityOptions.Builder options) {
    return Workflow.newActivityStub(Work.class, options.build());
  }

  /** Says what went wrong, cause by cause. */
  static List<String> causes(Throwable failure) {
    List<String> chain = new ArrayList<>();
    for (Throwable one = failure; one != null; one = one.getCause()) {
      String detail = "";
      if (one instanceof ApplicationFailure application) {
        detail = " " + application.getType() + ": " + application.getOriginalMessage();
      } else if (one instanceof TimeoutFailure timeout) {
        detail = " " + timeout.getTimeoutType().name().replaceFirst("TIMEOUT_TYPE_", "");
      } else if (one instanceof ActivityFailure activity) {
        detail = " " + activity.getRetryState().name().replaceFirst("RETRY_STATE_", "");
      }
      chain.add(one.getClass().getSimpleName() + detail);
    }
    return chain;
  }

  static List<String> causesOf(Runnable action) {
    try {
      action.run();
      return List.of();
    } catch (RuntimeException failure) {
      return causes(failure);
    }
  }

  @WorkflowInterface
  public interface Retries {
    @WorkflowMethod(name = "Retries")
    Map<String, Object> run();

    final class Impl implements Retries {
      @Override
      public Map<String, Object> run() {
        Map<String, Object> found = new LinkedHashMap<>();
        found.put("third", work(patient(0)).failUntil(3, "Temporary"));
        RetryOptions picky = RetryOptions.newBuilder(retry(0)).setDoNotRetry("Fatal").build();
        Work pickily = work(patient(0).setRetryOptions(picky));
        found.put("fatal", causesOf(() -> pickily.failUntil(100, "Fatal")));
        found.put("marked", causesOf(() -> work(patient(0)).failForGood()));
        found.put("exhausted", causesOf(() -> work(patient(2)).failUntil(100, "Temporary")));
        RetryOptions slow = RetryOptions.newBuilder().setInitialInterval(Duration.ofMinutes(10)).build();
        found.put("delayed", work(patient(0).setRetryOptions(slow)).failWithDelay(100));
        return found;
      }
    }
  }

  @WorkflowInterface
  public interface Timeouts {
    @WorkflowMethod(name = "Timeouts")
    List<List<String>> run();

    final class Impl implements Timeouts {
      @Override
      public List<List<String>> run() {
        Duration short_ = Duration.ofMillis(400);
        List<Promise<Void>> tries =
            List.of(
                Async.procedure(work(patient(1).setStartToCloseTimeout(short_))::beLate, false),
                Async.procedure(work(patient(1).setHeartbeatTimeout(Duration.ofMillis(1500)))::beLate, true),
                Async.procedure(work(patient(1).setTaskQueue("nobody").setScheduleToStartTimeout(short_))::beLate, false),
                Async.procedure(
                    work(patient(0).setStartToCloseTimeout(Duration.ofSeconds(30)).setScheduleToCloseTimeout(short_))::beLate, false));
        List<List<String>> found = new ArrayList<>();
        for (Promise<Void> one : tries) {
          found.add(causesOf(one::get));
        }
        return found;
      }
    }
  }

  @WorkflowInterface
  public interface Progress {
    @WorkflowMethod(name = "Progress")
    List<Integer> run();

    final class Impl implements Progress {
      @Override
      public List<Integer> run() {
        return work(patient(0).setHeartbeatTimeout(Duration.ofSeconds(20))).resume(5);
      }
    }
  }

  @WorkflowInterface
  public interface CancelledActivity {
    @WorkflowMethod(name = "CancelledActivity")
    List<String> run(String kind);

    final class Impl implements CancelledActivity {
      @Override
      public List<String> run(String kind) {
        Work waiting =
            work(
                patient(1)
                    .setHeartbeatTimeout(Duration.ofSeconds(20))
                    .setCancellationType(ActivityCancellationType.valueOf(kind)));
        List<Promise<String>> running = new ArrayList<>();
        CancellationScope scope =
            Workflow.newCancellationScope(() -> running.add(Async.function(waiting::waitForCancel, kind)));
        scope.run();
        Workflow.sleep(Duration.ofMillis(500));
        scope.cancel();
        return causesOf(() -> running.get(0).get());
      }
    }
  }

  @WorkflowInterface
  public interface Elsewhere {
    @WorkflowMethod(name = "Elsewhere")
    List<String> run(List<String> names);

    final class Impl implements Elsewhere {
      @Override
      public List<String> run(List<String> names) {
        Work elsewhere = work(patient(1));
        List<Promise<String>> all = new ArrayList<>();
        for (String name : names) {
          all.add(Async.function(elsewhere::completeElsewhere, name).exceptionally(failure -> causes(failure).get(1)));
        }
        return all.stream().map(Promise::get).toList();
      }
    }
  }

  @WorkflowInterface
  public interface Locals {
    @WorkflowMethod(name = "Locals")
    List<Object> run();

    final class Impl implements Locals {
      @Override
      public List<Object> run() {
        LocalActivityOptions.Builder options =
            LocalActivityOptions.newBuilder().setStartToCloseTimeout(Duration.ofSeconds(10)).setRetryOptions(retry(5));
        Work local = Workflow.newLocalActivityStub(Work.class, options.build());
        List<Object> found = new ArrayList<>();
        Promise<String> first = Async.function(local::echo, "a");
        Promise<String> second = Async.function(local::echo, "b");
        found.add(first.get() + second.get());
        found.add(local.failUntil(3, "Temporary"));
        // A backoff longer than the threshold becomes a timer in history.
        RetryOptions slow = RetryOptions.newBuilder(retry(5)).setInitialInterval(Duration.ofMillis(300)).build();
        options.setRetryOptions(slow).setLocalRetryThreshold(Duration.ofMillis(100));
        found.add(Workflow.newLocalActivityStub(Work.class, options.build()).failUntil(2, "Temporary"));
        Work once = Workflow.newLocalActivityStub(Work.class, options.setRetryOptions(retry(1)).build());
        found.add(causesOf(() -> once.failUntil(100, "Temporary")));
        for (int index = 0; index < 3; index++) {
          found.add(local.echo("local") + work(patient(0)).echo(" remote"));
          Workflow.sleep(Duration.ofMillis(1));
        }
        return found;
      }
    }
  }

  @WorkflowInterface
  public interface Many {
    @WorkflowMethod(name = "Many")
    int run(int count, int atOnce);

    final class Impl implements Many {
      @Override
      public int run(int count, int atOnce) {
        Work work = work(patient(0));
        int sum = 0;
        for (int begun = 0; begun < count; begun += atOnce) {
          List<Promise<Integer>> batch = new ArrayList<>();
          for (int index = begun; index < Math.min(begun + atOnce, count); index++) {
            batch.add(Async.function(work::twice, index));
          }
          Promise.allOf(batch).get();
          sum += batch.stream().mapToInt(Promise::get).sum();
        }
        return sum;
      }
    }
  }

  @WorkflowInterface
  public interface FailsDeeply {
    @WorkflowMethod(name = "FailsDeeply")
    void run();

    final class Impl implements FailsDeeply {
      @Override
      public void run() {
        try {
          work(patient(0)).failForGood();
        } catch (ActivityFailure failure) {
          throw ApplicationFailure.newNonRetryableFailureWithCause("outer", "Outer", failure, 1, "two");
        }
      }
    }
  }

  @WorkflowInterface
  public interface Collector {
    @WorkflowMethod(name = "Collector")
    List<String> run();

    @SignalMethod
    void add(String item);

    @SignalMethod
    void release();

    @QueryMethod
    List<String> list(int from);

    @QueryMethod
    String broken();

    final class Impl implements Collector {
      private final List<String> items = new ArrayList<>();
      private boolean released;

      @Override
      public List<String> run() {
        Workflow.await(() -> released);
        return items;
      }

      @Override
      public void add(String item) {
        items.add(item);
      }

      @Override
      public void release() {
        released = true;
      }

      @Override
      public List<String> list(int from) {
        return items.subList(from, items.size());
      }

      @Override
      public String broken() {
        throw new IllegalStateException("this query always fails");
      }
    }
  }

  @WorkflowInterface
  public interface Account {
    @WorkflowMethod(name = "Account")
    int run();

    @SignalMethod
    void release();

    @QueryMethod
    int balance();

    @UpdateMethod
    int deposit(int amount);

    @UpdateValidatorMethod(updateName = "deposit")
    void checkDeposit(int amount);

    @UpdateMethod
    int slowly(int amount);

    final class Impl implements Account {
      private int balance;
      private boolean released;

      @Override
      public int run() {
        Workflow.await(() -> released && Workflow.isEveryHandlerFinished());
        return balance;
      }

      @Override
      public void release() {
        released = true;
      }

      @Override
      public int balance() {
        return balance;
      }

      @Override
      public int deposit(int amount) {
        return balance += amount;
      }

      @Override
      public void checkDeposit(int amount) {
        if (amount <= 0) {
          throw ApplicationFailure.newNonRetryableFailure("only positive amounts", "BadAmount", amount);
        }
      }

      @Override
      public int slowly(int amount) {
        work(patient(0)).echo("slowly");
        Workflow.sleep(Duration.ofMillis(100));
        if (amount > 1000) {
          throw ApplicationFailure.newNonRetryableFailure("too much", "TooMuch");
        }
        return balance += amount;
      }
    }
  }

  @WorkflowInterface
  public interface Countdown {
    @WorkflowMethod(name = "Countdown")
    List<String> run(int from, List<String> told);

    @SignalMethod
    void add(String item);

    final class Impl implements Countdown {
      private final List<String> told = new ArrayList<>();

      @Override
      public List<String> run(int from, List<String> before) {
        told.addAll(0, before);
        Workflow.sleep(Duration.ofMillis(20));
        work(patient(0)).echo("at " + from);
        if (from > 0) {
          Workflow.continueAsNew(ContinueAsNewOptions.newBuilder().build(), from - 1, told);
        }
        Laws.require(Workflow.getInfo().getContinuedExecutionRunId().isPresent(), "it is not the first");
        return told;
      }

      @Override
      public void add(String item) {
        told.add(item);
      }
    }
  }

  @WorkflowInterface
  public interface FailsUntil {
    @WorkflowMethod(name = "FailsUntil")
    int run(int attempt);

    final class Impl implements FailsUntil {
      @Override
      public int run(int attempt) {
        if (Workflow.getInfo().getAttempt() < attempt) {
          throw ApplicationFailure.newFailure("not yet", "NotYet");
        }
        return Workflow.getInfo().getAttempt();
      }
    }
  }

  @WorkflowInterface
  public interface Tick {
    @WorkflowMethod(name = "Tick")
    int run();

    final class Impl implements Tick {
      @Override
      public int run() {
        Integer last = Workflow.getLastCompletionResult(Integer.class);
        if (last != null && last == 1) {
          throw ApplicationFailure.newFailure("the second one fails", "Second");
        }
        return last == null ? 1 : last + 1;
      }
    }
  }

  @WorkflowInterface
  public interface Tidy {
    @WorkflowMethod(name = "Tidy")
    String run(boolean swallow);

    @QueryMethod
    String stage();

    final class Impl implements Tidy {
      private String stage = "begun";

      @Override
      public String run(boolean swallow) {
        try {
          Workflow.sleep(Duration.ofHours(1));
        } catch (CanceledFailure cancelled) {
          Workflow.newDetachedCancellationScope(() -> work(patient(0)).echo("cleaned up")).run();
          stage = "cleaned";
          if (!swallow) {
            throw cancelled;
          }
        }
        return stage;
      }

      @Override
      public String stage() {
        return stage;
      }
    }
  }

  @WorkflowInterface
  public interface Scopes {
    @WorkflowMethod(name = "Scopes")
    List<Object> run();

    final class Impl implements Scopes {
      private int fired;
      private int cancelled;

      @Override
      public List<Object> run() {
        List<Object> found = new ArrayList<>();
        found.add(Workflow.await(Duration.ofMillis(100), () -> false));
        List<Promise<Void>> timers = new ArrayList<>();
        for (int index = 0; index < 40; index++) {
          boolean doomed = index % 2 == 1;
          CancellationScope scope =
              Workflow.newCancellationScope(
                  () -> timers.add(Workflow.newTimer(doomed ? Duration.ofHours(1) : Duration.ofMillis(50)).handle(this::count)));
          scope.run();
          if (doomed) {
            Workflow.newTimer(Duration.ofMillis(10)).thenApply(
                nothing -> {
                  scope.cancel();
                  return nothing;
                });
          }
        }
        Promise.allOf(timers).get();
        found.add(fired);
        found.add(cancelled);
        return found;
      }

      private Void count(Void nothing, RuntimeException failure) {
        if (failure == null) {
          fired++;
        } else {
          cancelled++;
        }
        return null;
      }
    }
  }

  @WorkflowInterface
  public interface Noted {
    SearchAttributeKey<String> KEYWORD = SearchAttributeKey.forKeyword("E2eKeyword");

    @WorkflowMethod(name = "Noted")
    String run(int step);

    final class Impl implements Noted {
      @Override
      public String run(int step) {
        Workflow.upsertMemo(Map.of("step", step, "gone", "soon"));
        Workflow.upsertTypedSearchAttributes(KEYWORD.valueSet("step " + step));
        Workflow.sleep(Duration.ofMillis(1));
        Map<String, Object> last = new LinkedHashMap<>();
        last.put("gone", null);
        last.put("done", true);
        Workflow.upsertMemo(last);
        return Workflow.getTypedSearchAttributes().get(KEYWORD);
      }
    }
  }

  @WorkflowInterface
  public interface Versions {
    @WorkflowMethod(name = "Versions")
    List<Integer> run();

    final class Impl implements Versions {
      @Override
      public List<Integer> run() {
        List<Integer> found = new ArrayList<>();
        found.add(Workflow.getVersion("first", Workflow.DEFAULT_VERSION, 2));
        Workflow.sleep(Duration.ofMillis(10));
        found.add(Workflow.getVersion("first", Workflow.DEFAULT_VERSION, 2));
        found.add(Workflow.getVersion("second", 1, 3));
        found.add(Workflow.getVersion("third", Workflow.DEFAULT_VERSION, 1));
        work(patient(0)).echo("versioned");
        found.add(Workflow.getVersion("second", 1, 3));
        return found;
      }
    }
  }

  @WorkflowInterface
  public interface SideEffects {
    @WorkflowMethod(name = "SideEffects")
    boolean run();

    final class Impl implements SideEffects {
      @Override
      public boolean run() {
        String first = Workflow.sideEffect(String.class, () -> java.util.UUID.randomUUID().toString());
        int changes = 0;
        Integer before = null;
        for (int round = 0; round < 6; round++) {
          int half = round / 2;
          Integer now = Workflow.mutableSideEffect("half", Integer.class, (left, right) -> !left.equals(right), () -> half);
          changes += now.equals(before) ? 0 : 1;
          before = now;
          Workflow.sleep(Duration.ofMillis(1 + Workflow.newRandom().nextInt(20)));
        }
        Workflow.randomUUID();
        return first.length() == 36 && changes == 3 && Workflow.currentTimeMillis() > 0;
      }
    }
  }

  @WorkflowInterface
  public interface Buggy {
    @WorkflowMethod(name = "Buggy")
    String run();

    final class Impl implements Buggy {
      @Override
      public String run() {
        // A bug that is mended is no result: the task fails and is tried again.
        if (Workflow.getInfo().getHistoryLength() < 4) {
          throw new Error("a bug");
        }
        Workflow.sleep(Duration.ofMillis(1));
        return "mended";
      }
    }
  }

  /** Enough events for several pages of history. */
  @WorkflowInterface
  public interface Long {
    @WorkflowMethod(name = "Long")
    int run(int rounds, int width);

    @QueryMethod
    int at();

    final class Impl implements Long {
      private int at;

      @Override
      public int run(int rounds, int width) {
        for (; at < rounds; at++) {
          List<Promise<Void>> timers = new ArrayList<>();
          for (int index = 0; index < width; index++) {
            timers.add(Workflow.newTimer(Duration.ofMillis(1)));
          }
          Promise.allOf(timers).get();
        }
        return at;
      }

      @Override
      public int at() {
        return at;
      }
    }
  }

  /** The first part may be undone by a reset, the second is done again. */
  @WorkflowInterface
  public interface Resettable {
    @WorkflowMethod(name = "Resettable")
    List<String> run();

    @SignalMethod
    void add(String item);

    final class Impl implements Resettable {
      private final List<String> told = new ArrayList<>();

      @Override
      public List<String> run() {
        String first = work(patient(0)).countCalls("first");
        Workflow.await(() -> told.size() >= 2);
        String second = work(patient(0)).countCalls("second");
        return List.of(first, second, String.join("", told));
      }

      @Override
      public void add(String item) {
        told.add(item);
      }
    }
  }
}
