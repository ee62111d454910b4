// How runs begin, end and follow each other.
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { CancelledFailure, TerminatedFailure, TimeoutFailure } from '@temporalio/common';
import { scenario } from '../harness.mjs';

scenario('continue-as-new', async (env) => {
  const handle = await env.start('countdown', [3], { memo: { of: 'the first' } });
  await handle.signal('add', 'once');
  const result = await handle.result();
  assert.deepEqual(result.told, ['once']);
  assert.equal(result.continuedFrom, true);
  assert.deepEqual(result.memo, { of: 'the first' });
  // The first run by itself says that it went on.
  const first = env.client.workflow.getHandle(handle.workflowId, handle.firstExecutionRunId, { followRuns: false });
  assert.equal((await env.failure(first.result())).name, 'WorkflowExecutionContinuedAsNewError');
});

scenario('workflow-retry', async (env) => {
  const retry = { initialInterval: '50ms', backoffCoefficient: 1, maximumAttempts: 3 };
  assert.equal(await env.run('failsUntilAttempt', [3], { retry }), 3);
  const error = await env.failure(env.run('failsUntilAttempt', [9], { retry }));
  assert.equal(error.cause.type, 'NotYet');
  assert.equal(error.retryState, 'MAXIMUM_ATTEMPTS_REACHED');
  const picky = { ...retry, nonRetryableErrorTypes: ['NotYet'] };
  assert.equal((await env.failure(env.run('failsUntilAttempt', [2], { retry: picky }))).retryState, 'NON_RETRYABLE_FAILURE');
});

scenario('cron', async (env) => {
  const handle = await env.start('tick', [], { cronSchedule: '@every 1s' });
  const current = env.client.workflow.getHandle(handle.workflowId);
  const third = await env.until(async () => {
    const started = (await current.fetchHistory()).events[0].workflowExecutionStartedEventAttributes;
    return started.lastCompletionResult?.payloads && started;
  }, 'a run after another');
  assert.equal(third.initiator, 3, 'by the cron');
  assert.equal(third.cronSchedule, '@every 1s');
  assert(third.continuedExecutionRunId);
  await env.terminate(current, 'enough');
});

scenario('start-delay', async (env) => {
  const begun = Date.now();
  const handle = await env.start('collector', [], { startDelay: '1500ms' });
  await handle.signal('add', 'early');
  await handle.signal('release');
  assert.deepEqual(await handle.result(), ['early']);
  assert(Date.now() - begun >= 1400, 'a signal does not shorten the delay');
  const never = await env.start('collector', [], { startDelay: '1h' });
  await env.terminate(never, 'before it began');
  assert((await env.failure(never.result())).cause instanceof TerminatedFailure);
});

scenario('id-policies', async (env) => {
  const workflowId = env.id();
  const first = await env.start('waits', [], { workflowId });
  const start = (options) => env.client.workflow.start('waits', { taskQueue: env.queue, workflowId, ...options });
  const taken = await env.failure(start({}));
  assert.equal(taken.name, 'WorkflowExecutionAlreadyStartedError');
  const same = await start({ workflowIdConflictPolicy: 'USE_EXISTING' });
  assert.equal(same.firstExecutionRunId, first.firstExecutionRunId);
  const next = await start({ workflowIdConflictPolicy: 'TERMINATE_EXISTING' });
  assert.notEqual(next.firstExecutionRunId, first.firstExecutionRunId);
  const ended = env.client.workflow.getHandle(workflowId, first.firstExecutionRunId, { followRuns: false });
  assert((await env.failure(ended.result())).cause instanceof TerminatedFailure);
  await next.signal('release');
  assert.equal(await next.result(), next.firstExecutionRunId);
  for (const workflowIdReusePolicy of ['REJECT_DUPLICATE', 'ALLOW_DUPLICATE_FAILED_ONLY']) {
    assert.equal((await env.failure(start({ workflowIdReusePolicy }))).name, 'WorkflowExecutionAlreadyStartedError');
  }
  const third = await start({ workflowIdReusePolicy: 'ALLOW_DUPLICATE' });
  await env.terminate(third);
  const fourth = await start({ workflowIdReusePolicy: 'ALLOW_DUPLICATE_FAILED_ONLY' });
  await fourth.signal('release');
  await fourth.result();
  for (const handle of [first, next, third, fourth]) env.watch(workflowId, handle.firstExecutionRunId);
});

scenario('workflow-timeouts', async (env) => {
  const [run, execution] = await Promise.all([
    env.start('waits', [], { workflowRunTimeout: '700ms' }),
    env.start('waits', [], { workflowExecutionTimeout: '700ms', retry: { initialInterval: '100ms', maximumAttempts: 5 } }),
  ]);
  for (const handle of [run, execution]) {
    assert((await env.failure(handle.result())).cause instanceof TimeoutFailure);
    assert.equal((await handle.describe()).status.name, 'TIMED_OUT');
  }
});

scenario('terminate', async (env) => {
  const handle = await env.start('waits');
  await env.terminate(handle, 'no more');
  const error = await env.failure(handle.result());
  assert(error.cause instanceof TerminatedFailure && error.cause.message === 'no more');
  assert.equal((await env.failure(handle.terminate())).name, 'WorkflowNotFoundError');
  const nobody = await env.failure(env.client.workflow.getHandle(env.id('nobody')).terminate());
  assert.equal(nobody.name, 'WorkflowNotFoundError');
});

scenario('cancel', async (env) => {
  const [gone, kept] = await Promise.all([env.start('tidy', [false]), env.start('tidy', [true])]);
  for (const handle of [gone, kept]) {
    await env.until(async () => (await env.query(handle, 'list')) === 'begun');
    await handle.cancel();
    await handle.cancel();
  }
  const error = await env.failure(gone.result());
  assert(error.cause instanceof CancelledFailure);
  assert.equal((await gone.describe()).status.name, 'CANCELLED');
  assert.equal(await kept.result(), 'cleaned');
  assert.equal((await kept.describe()).status.name, 'COMPLETED');
  await kept.cancel();
});

scenario('cancellation-scopes', async (env) => {
  const found = await env.run('scopes');
  assert.deepEqual(found, { timeout: true, nested: ['shielded', 'cancelled'], trigger: 'triggered', race: 'timer', early: true });
  assert.deepEqual(await env.run('timers', [40]), { fired: 20, cancelled: 20 });
});

scenario('memo-and-search-attributes', async (env) => {
  await searchAttribute(env);
  const handle = await env.start('noted', [4], { memo: { from: 'the start' }, searchAttributes: { E2eKeyword: ['at start'] } });
  assert.deepEqual(await handle.result(), { from: 'the start', step: 4, done: true });
  const description = await handle.describe();
  assert.deepEqual(description.memo, { from: 'the start', step: 4, done: true });
  assert.deepEqual(description.searchAttributes.E2eKeyword, ['step 4']);
});

/** Makes the search attribute of the scenarios where a server wants to know it beforehand. */
async function searchAttribute(env) {
  try {
    await env.client.connection.operatorService.addSearchAttributes({ namespace: 'default', searchAttributes: { E2eKeyword: 2 } });
  } catch (error) {
    if (![6, 12].includes(error.code)) throw error;
    return;
  }
  await env.until(async () => {
    const { customAttributes } = await env.client.connection.operatorService.listSearchAttributes({ namespace: 'default' });
    return customAttributes.E2eKeyword;
  });
}

scenario('patches', async (env) => {
  const handles = await Promise.all([0, 1, 2].map((generation) => env.start('migrated', [generation])));
  assert.deepEqual(await Promise.all(handles.map((handle) => handle.result())), ['old', 'new', 'newest']);
  const { events } = await handles[1].fetchHistory();
  assert.equal(events.filter((event) => event.markerRecordedEventAttributes).length, 2, 'a marker for each patch');
});

scenario('chance', async (env) => {
  assert.deepEqual(await env.run('chance'), [0, 1, 2].flatMap(() => ['string', 'number', 'number']));
});

scenario('workflow-task-failure', async (env) => {
  const handle = await env.start('buggy');
  assert.equal(await handle.result(), 'mended');
  // A node may die with the failure; then the task times out.
  if (!env.calm) return;
  const failed = (await handle.fetchHistory()).events.find((event) => event.workflowTaskFailedEventAttributes);
  assert.equal(failed.workflowTaskFailedEventAttributes.failure.message, 'a bug');
});

scenario('worker-restart', async (env) => {
  const taskQueue = `${env.queue}-restart`;
  const first = await env.worker({ taskQueue });
  const begun = first.run();
  const handle = await env.start('collector', [], { taskQueue });
  await handle.signal('add', 'first worker');
  assert.deepEqual(await env.query(handle, 'list'), ['first worker']);
  first.shutdown();
  await begun;
  await handle.signal('add', 'no worker');
  const second = await env.worker({ taskQueue });
  await second.runUntil(async () => {
    // The sticky queue of the first is dead; the second one gets it all.
    assert.deepEqual(await env.query(handle, 'list'), ['first worker', 'no worker']);
    await handle.signal('release');
    assert.deepEqual(await handle.result(), ['first worker', 'no worker']);
  });
});

scenario('no-cache', async (env) => {
  const taskQueue = `${env.queue}-forgetful`;
  const worker = await env.worker({ taskQueue, maxCachedWorkflows: 0 });
  await worker.runUntil(async () => {
    const [long, told] = await Promise.all([
      // Several pages of history at each of the later tasks.
      env.start('long', [10, env.calm ? 40 : 10], { taskQueue }),
      env.start('collector', [], { taskQueue }),
    ]);
    for (let index = 0; index < 5; index++) {
      await told.signal('add', index);
      assert.equal((await env.query(told, 'list')).length, index + 1);
      await delay(20);
    }
    await told.signal('release');
    await told.result();
    assert.equal(await long.result(), 10);
    assert.equal(await env.query(long, 'list'), 10);
  });
});
