// What is true of every history, whatever the workflow did. The same laws as in `e2e/python/laws.py`, in short.
import assert from 'node:assert/strict';

const CLOSING = /^workflowExecution(Completed|Failed|TimedOut|Canceled|Terminated|ContinuedAsNew)EventAttributes$/;
const ENDS = [
  [/^workflowTask(Completed|Failed|TimedOut)$/, 'workflowTaskScheduled', 'scheduledEventId'],
  [/^activityTask(Completed|Failed|TimedOut|Canceled)$/, 'activityTaskScheduled', 'scheduledEventId'],
  [/^timer(Fired|Canceled)$/, 'timerStarted', 'startedEventId'],
  [/^(startChildWorkflowExecutionFailed|childWorkflowExecution(?!Started).*)$/, 'startChildWorkflowExecutionInitiated', 'initiatedEventId'],
  [/^(signalExternalWorkflowExecutionFailed|externalWorkflowExecutionSignaled)$/, 'signalExternalWorkflowExecutionInitiated', 'initiatedEventId'],
  [/^(requestCancelExternalWorkflowExecutionFailed|externalWorkflowExecutionCancelRequested)$/, 'requestCancelExternalWorkflowExecutionInitiated', 'initiatedEventId'],
];

/** The field of an event that holds its attributes. */
export function kind(event) {
  return Object.keys(event).find((key) => key.endsWith('EventAttributes') && event[key] != null);
}

export function isClosed(history) {
  return CLOSING.test(kind(history.events.at(-1)));
}

export function check(history, name) {
  const kinds = history.events.map((event) => kind(event).replace(/EventAttributes$/, ''));
  const ended = new Set();
  let task = null;
  history.events.forEach((event, index) => {
    const about = `${name}: event ${index + 1} ${kinds[index]} of ${kinds}`;
    assert.equal(Number(event.eventId), index + 1, `ids have gaps: ${about}`);
    assert.equal(kinds[index] === 'workflowExecutionStarted', index === 0, `one start, first: ${about}`);
    assert(index === history.events.length - 1 || !CLOSING.test(`${kinds[index]}EventAttributes`), `after the close: ${about}`);
    const attributes = event[`${kinds[index]}EventAttributes`];
    for (const [ends, begin, field] of ENDS) {
      if (!ends.test(kinds[index])) continue;
      const named = Number(attributes[field]);
      assert.equal(kinds[named - 1], begin, `no beginning: ${about}`);
      assert(named <= index && !ended.has(named), `it had ended: ${about}`);
      ended.add(named);
    }
    if (kinds[index] === 'workflowTaskScheduled') {
      assert.equal(task, null, `a second workflow task: ${about}`);
      task = index + 1;
    } else if (/^workflowTask(Completed|Failed|TimedOut)$/.test(kinds[index])) {
      task = null;
    } else if (kinds[index - 1] === 'workflowTaskStarted') {
      assert.match(`${kinds[index]}EventAttributes`, CLOSING, `written while a worker held the task: ${about}`);
    }
    const source = Number(attributes.workflowTaskCompletedEventId ?? 0);
    if (source) assert(source <= index && kinds[source - 1] === 'workflowTaskCompleted', `no such completion: ${about}`);
  });
  return kinds;
}
