// Workflows that deal with other workflows: children and strangers.
import {
  ApplicationFailure,
  CancellationScope,
  ChildWorkflowCancellationType,
  ParentClosePolicy,
  condition,
  continueAsNew,
  executeChild,
  getExternalWorkflowHandle,
  isCancellation,
  setHandler,
  sleep,
  startChild,
  workflowInfo,
} from '@temporalio/workflow';
import { causes } from './activities.mjs';
import { list, release } from './messages.mjs';

/** Children that return, fail, time out, are retried, and go on as new. */
export async function family() {
  const quick = { initialInterval: '50ms', maximumAttempts: 3 };
  const failure = (promise) => promise.then(() => 'no failure', causes);
  const [returned, retried, continued, failed, late] = await Promise.all([
    executeChild('leaf', { args: ['plain'], memo: { from: 'parent' } }),
    executeChild('failsUntilAttempt', { args: [2], retry: quick }),
    executeChild('leaf', { args: ['again', 2] }),
    failure(executeChild('failsDeeply')),
    failure(executeChild('waits', { workflowRunTimeout: '300ms' })),
  ]);
  return { returned, retried, continued, failed, late };
}

export async function leaf(name, rounds = 0) {
  await sleep(5);
  if (rounds > 0) await continueAsNew(name, rounds - 1);
  const { parent, memo } = workflowInfo();
  return { name, hasParent: parent !== undefined, memo: memo ?? {} };
}

/** An id that is taken is a failure that a parent can handle. */
export async function twins(childId) {
  const first = await startChild('waits', { workflowId: childId });
  let second;
  try {
    await startChild('waits', { workflowId: childId });
  } catch (error) {
    second = error.constructor.name;
  }
  await first.signal(release);
  return [second, (await first.result()) === first.firstExecutionRunId];
}

/** Leaves three children behind, each with another policy. */
export async function leavesBehind(ids) {
  for (const [policy, workflowId] of Object.entries(ids)) {
    await startChild('tidy', { workflowId, args: [false], parentClosePolicy: ParentClosePolicy[policy] });
  }
  return 'gone';
}

export async function cancelledChild(kind) {
  const scope = new CancellationScope();
  const child = await scope.run(() =>
    startChild('tidy', {
      args: [false],
      cancellationType: ChildWorkflowCancellationType[kind],
      parentClosePolicy: ParentClosePolicy.ABANDON,
    }),
  );
  const result = child.result();
  await sleep(20);
  scope.cancel();
  try {
    await result;
    return 'finished';
  } catch (error) {
    return isCancellation(error) ? 'cancelled' : `other: ${error}`;
  }
}

/** Signals one stranger, cancels another, and learns that a third does not exist. */
export async function meddler(told, cancelled, nobody) {
  await getExternalWorkflowHandle(told).signal('add', 'from a stranger');
  await getExternalWorkflowHandle(told).signal('release');
  await getExternalWorkflowHandle(cancelled).cancel();
  const failures = [];
  for (const act of [(handle) => handle.signal('add', 1), (handle) => handle.cancel()]) {
    try {
      await act(getExternalWorkflowHandle(nobody));
    } catch (error) {
      if (!(error instanceof ApplicationFailure || error.name)) throw error;
      failures.push(error.message);
    }
  }
  return failures;
}

/** Two who talk to each other by signals. */
export async function ball(rounds, other, serves) {
  let touched = 0;
  setHandler(list, () => touched);
  setHandler(release, () => void touched++);
  const handle = getExternalWorkflowHandle(other);
  for (let round = 1; round <= rounds; round++) {
    if (serves) await handle.signal(release);
    await condition(() => touched >= round);
    if (!serves) await handle.signal(release);
  }
  return touched;
}
