// Resets: a run is undone from a workflow task on, and done again.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { scenario } from '../harness.mjs';

async function reset(env, workflowId, runId, eventId, more = {}) {
  const answer = await env.client.workflowService.resetWorkflowExecution({
    namespace: 'default',
    workflowExecution: { workflowId, runId },
    reason: 'a scenario',
    requestId: randomUUID(),
    workflowTaskFinishEventId: eventId,
    ...more,
  });
  env.watch(workflowId, runId);
  env.watch(workflowId, answer.runId);
  return env.client.workflow.getHandle(workflowId, answer.runId);
}

async function tasks(handle) {
  const { events } = await handle.fetchHistory();
  return events.filter((event) => event.workflowTaskCompletedEventAttributes).map((event) => Number(event.eventId));
}

scenario('reset-to-the-middle', async (env) => {
  const handle = await env.start('resettable');
  await env.until(async () => (await tasks(handle)).length >= 2, 'the first activity');
  await handle.signal('add', 'a');
  await handle.signal('add', 'b');
  const before = await handle.result();
  assert.deepEqual(before.told, ['a', 'b']);
  const again = await reset(env, handle.workflowId, handle.firstExecutionRunId, (await tasks(handle))[1]);
  // The first activity is in the part that stays; the signals are told again; the second activity runs again.
  const after = await again.result();
  assert.deepEqual(after.told, ['a', 'b']);
  assert.equal(after.first, before.first);
  assert.notEqual(after.second, before.second);
});

scenario('reset-of-a-running-one', async (env) => {
  const handle = await env.start('resettable');
  await env.until(async () => (await tasks(handle)).length >= 2, 'the first activity');
  await handle.signal('add', 'a');
  const again = await reset(env, handle.workflowId, handle.firstExecutionRunId, (await tasks(handle))[0]);
  await again.signal('add', 'b');
  const after = await again.result();
  assert.deepEqual(after.told, ['a', 'b']);
  const base = env.client.workflow.getHandle(handle.workflowId, handle.firstExecutionRunId);
  assert.equal((await base.describe()).status.name, 'TERMINATED');
});

scenario('reset-without-signals', async (env) => {
  const handle = await env.start('resettable');
  await env.until(async () => (await tasks(handle)).length >= 2, 'the first activity');
  await handle.signal('add', 'a');
  await handle.signal('add', 'b');
  await handle.result();
  const more = { resetReapplyExcludeTypes: [1] };
  const again = await reset(env, handle.workflowId, handle.firstExecutionRunId, (await tasks(handle))[1], more);
  await again.signal('add', 'c');
  await again.signal('add', 'd');
  assert.deepEqual((await again.result()).told, ['c', 'd']);
});
