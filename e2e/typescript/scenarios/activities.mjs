// Activities: retries, timeouts, heartbeats, cancellation, completion from elsewhere, local ones, many of them.
import assert from 'node:assert/strict';
import { ActivityFailure, ApplicationFailure } from '@temporalio/common';
import { AsyncCompletionClient } from '@temporalio/client';
import { tokens } from '../activities.mjs';
import { check, kind } from '../laws.mjs';
import { scenario } from '../harness.mjs';

scenario('activity-retries', async (env) => {
  const handle = await env.start('retries');
  const { second, fatal, marked, exhausted } = await handle.result();
  assert(env.calm ? second === 3 : second >= 3);
  assert.deepEqual(fatal.map(([kind, detail]) => [kind, detail]), [['ActivityFailure', 'failUntil'], ['ApplicationFailure', 'Fatal']]);
  assert.deepEqual(marked.map(([kind, , message]) => [kind, message]).slice(1), [['ApplicationFailure', 'for good'], ['TemporalFailure', 'the root']]);
  assert.equal(exhausted[0], 'MAXIMUM_ATTEMPTS_REACHED');
  if (env.calm) assert.deepEqual(exhausted[1], [2]);
  // Attempts that fail leave no events; the start that counts says how many there were.
  const started = (await handle.fetchHistory()).events.map((event) => event.activityTaskStartedEventAttributes).filter(Boolean);
  assert.equal(started.length, 4);
  if (env.calm) {
    assert.deepEqual(started.map(({ attempt }) => attempt), [3, 1, 1, 2]);
    assert.equal(started[0].lastFailure.message, 'attempt 2');
  }
});

scenario('activity-next-retry-delay', async (env) => {
  assert((await env.run('nextDelay')) >= 2);
});

scenario('activity-timeouts', async (env) => {
  const found = await env.run('timeouts');
  assert.deepEqual(found.startToClose, ['START_TO_CLOSE', 'MAXIMUM_ATTEMPTS_REACHED', null]);
  assert.deepEqual(found.heartbeat.slice(0, 2), ['HEARTBEAT', 'MAXIMUM_ATTEMPTS_REACHED']);
  assert.deepEqual(found.scheduleToStart.slice(0, 2), ['SCHEDULE_TO_START', 'TIMEOUT']);
  assert.equal(found.scheduleToClose[0], 'SCHEDULE_TO_CLOSE');
  if (env.calm) assert.equal(found.heartbeat[2], 'a sign of life');
});

scenario('activity-progress', async (env) => {
  const { from, upTo } = await env.run('progress');
  assert.equal(upTo, 5);
  if (env.calm) assert.equal(from, 3);
});

scenario('activity-cancellation', async (env) => {
  const kinds = ['TRY_CANCEL', 'WAIT_CANCELLATION_COMPLETED', 'ABANDON'];
  const handles = await Promise.all(kinds.map((kind) => env.start('cancelledActivity', [kind])));
  for (const [index, handle] of handles.entries()) {
    // A task that was lost with a node times out, and nobody is there any more to be cancelled.
    assert.match(await handle.result(), env.calm ? /^cancelled: / : /^cancelled: |timed out/, kinds[index]);
    const seen = check(await handle.fetchHistory(), handle.workflowId);
    if (env.calm) assert.equal(seen.includes('activityTaskCancelRequested'), kinds[index] !== 'ABANDON');
    if (env.calm) assert.equal(seen.includes('activityTaskCanceled'), kinds[index] === 'WAIT_CANCELLATION_COMPLETED', kinds[index]);
  }
});

scenario('activity-completed-elsewhere', async (env) => {
  const names = ['by-token', 'by-id', 'failed', 'cancelled'];
  const handle = await env.start('elsewhere', [names]);
  const { completion } = new Client(env);
  for (const name of names) await env.until(() => tokens.get(`${handle.workflowId} ${name}`), `the start of ${name}`);
  const token = (name) => tokens.get(`${handle.workflowId} ${name}`);
  await completion.heartbeat(token('by-token').token, 'half');
  await completion.complete(token('by-token').token, 'with a token');
  const { workflowId, activityId } = token('by-id');
  await completion.complete({ workflowId, activityId }, 'with ids');
  await completion.fail(token('failed').token, ApplicationFailure.create({ message: 'no', type: 'No' }));
  // Nobody asked for its cancellation, so it cannot be reported.
  const refused = await env.failure(completion.reportCancellation(token('cancelled').token));
  assert.match(`${refused} ${refused.cause}`, /cancel/i);
  await completion.complete(token('cancelled').token, 'after all');
  const [first, second, third, fourth] = await handle.result();
  assert.deepEqual([first, second, fourth], ['with a token', 'with ids', 'after all']);
  assert.deepEqual(third, ['ActivityFailure', 'ApplicationFailure']);
  const late = await env.failure(completion.complete(token('by-token').token, 'again'));
  assert.equal(late.name, 'ActivityNotFoundError');
});

class Client {
  constructor(env) {
    this.completion = new AsyncCompletionClient({ connection: env.client.connection });
  }
}

scenario('activity-local', async (env) => {
  const handle = await env.start('locals');
  const { quickly, slowly, failed, mixed } = await handle.result();
  assert.deepEqual(quickly, ['a', 'b', 3]);
  assert.equal(slowly, 2);
  assert.equal(failed.at(-1)[2], 'attempt 1');
  assert.deepEqual(mixed, [0, 1, 2].flatMap((index) => [`local ${index}`, `remote ${index}`]));
  const { events } = await handle.fetchHistory();
  const markers = events.filter((event) => event.markerRecordedEventAttributes);
  assert(markers.every((event) => event.markerRecordedEventAttributes.markerName === 'core_local_activity'));
  assert.equal(events.filter((event) => kind(event) === 'activityTaskScheduledEventAttributes').length, 3);
});

scenario('activity-many', async (env) => {
  const count = env.calm ? 200 : 60;
  assert.equal(await env.run('manyActivities', [count, 50]), count * (count - 1));
});

scenario('activity-described', async (env) => {
  const handle = await env.start('described');
  const pending = await env.until(async () => {
    const { raw } = await handle.describe();
    const [waiting, failing] = ['waitForCancel', 'failUntil'].map((name) => raw.pendingActivities?.find((one) => one.activityType.name === name));
    return waiting?.heartbeatDetails && failing?.lastFailure && { waiting, failing };
  });
  assert.equal(pending.waiting.state, 2, 'started');
  assert(pending.waiting.attempt >= 1 && pending.waiting.lastHeartbeatTime && pending.waiting.lastStartedTime);
  assert.equal(pending.failing.state, 1, 'scheduled again');
  assert.equal(pending.failing.attempt, 2);
  assert.equal(pending.failing.lastFailure.message, 'attempt 1');
  assert(pending.failing.currentRetryInterval && pending.failing.nextAttemptScheduleTime);
  await handle.signal('release');
  assert.equal(await handle.result(), 'done');
});

scenario('failure-causes', async (env) => {
  const handle = await env.start('failsDeeply');
  const error = await env.failure(handle.result());
  assert.equal(error.name, 'WorkflowFailedError');
  const outer = error.cause;
  assert(outer instanceof ApplicationFailure && outer.type === 'Outer' && outer.nonRetryable);
  assert.deepEqual(outer.details, [1, { two: 2 }]);
  assert(outer.cause instanceof ActivityFailure && outer.cause.activityType === 'failForGood');
  assert.equal(outer.cause.retryState, 'NON_RETRYABLE_FAILURE');
  assert(outer.cause.cause instanceof ApplicationFailure && outer.cause.cause.type === 'ForGood');
  assert.equal(outer.cause.cause.cause.message, 'the root');
  assert.equal((await handle.describe()).status.name, 'FAILED');
});
