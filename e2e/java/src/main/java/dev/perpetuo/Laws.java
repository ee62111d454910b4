// What is true of every history, whatever the workflow did. The same laws as in e2e/python/laws.py, in short.
package dev.perpetuo;

import io.temporal.api.enums.v1.EventType;
import io.temporal.api.history.v1.HistoryEvent;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

final class Laws {
  private static final Set<String> CLOSING =
      Set.of("COMPLETED", "FAILED", "TIMED_OUT", "CANCELED", "TERMINATED", "CONTINUED_AS_NEW");

  private Laws() {}

  static String kind(HistoryEvent event) {
    return event.getEventType().name().replaceFirst("^EVENT_TYPE_", "");
  }

  static boolean isClosing(HistoryEvent event) {
    String kind = kind(event);
    return kind.startsWith("WORKFLOW_EXECUTION_")
        && CLOSING.contains(kind.substring("WORKFLOW_EXECUTION_".length()));
  }

  static boolean isClosed(List<HistoryEvent> events) {
    return isClosing(events.get(events.size() - 1));
  }

  static void check(List<HistoryEvent> events, String name) {
    boolean taskIsOpen = false;
    Set<Long> ended = new HashSet<>();
    for (int index = 0; index < events.size(); index++) {
      HistoryEvent event = events.get(index);
      String kind = kind(event);
      String about = name + ": event " + (index + 1) + " " + kind + " of " + events.stream().map(Laws::kind).toList();
      require(event.getEventId() == index + 1, "ids have gaps: " + about);
      require((event.getEventType() == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED) == (index == 0), "one start: " + about);
      require(!isClosing(event) || index == events.size() - 1, "after the close: " + about);
      String before = index == 0 ? "" : kind(events.get(index - 1));
      switch (kind) {
        case "WORKFLOW_TASK_SCHEDULED" -> {
          require(!taskIsOpen, "a second workflow task: " + about);
          taskIsOpen = true;
        }
        case "WORKFLOW_TASK_COMPLETED", "WORKFLOW_TASK_FAILED", "WORKFLOW_TASK_TIMED_OUT" -> taskIsOpen = false;
        default -> require(!before.equals("WORKFLOW_TASK_STARTED") || isClosing(event), "a worker held the task: " + about);
      }
      long begun = begun(event);
      if (begun > 0) {
        require(begun <= index, "no beginning: " + about);
        require(ended.add(begun), "it had ended: " + about);
      }
    }
  }

  /** The id of the event that this one ends, or 0. */
  private static long begun(HistoryEvent event) {
    return switch (kind(event)) {
      case "ACTIVITY_TASK_COMPLETED" -> event.getActivityTaskCompletedEventAttributes().getScheduledEventId();
      case "ACTIVITY_TASK_FAILED" -> event.getActivityTaskFailedEventAttributes().getScheduledEventId();
      case "ACTIVITY_TASK_TIMED_OUT" -> event.getActivityTaskTimedOutEventAttributes().getScheduledEventId();
      case "ACTIVITY_TASK_CANCELED" -> event.getActivityTaskCanceledEventAttributes().getScheduledEventId();
      case "TIMER_FIRED" -> event.getTimerFiredEventAttributes().getStartedEventId();
      case "TIMER_CANCELED" -> event.getTimerCanceledEventAttributes().getStartedEventId();
      case "CHILD_WORKFLOW_EXECUTION_COMPLETED" ->
          event.getChildWorkflowExecutionCompletedEventAttributes().getInitiatedEventId();
      case "CHILD_WORKFLOW_EXECUTION_FAILED" ->
          event.getChildWorkflowExecutionFailedEventAttributes().getInitiatedEventId();
      default -> 0;
    };
  }

  static void require(boolean condition, String what) {
    if (!condition) {
      throw new AssertionError(what);
    }
  }

  static void equal(Object expected, Object actual, String what) {
    require(expected.equals(actual), what + ": expected " + expected + ", was " + actual);
  }
}
