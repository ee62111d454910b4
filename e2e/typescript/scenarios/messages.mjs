// Signals and queries.
import assert from 'node:assert/strict';
import { scenario } from '../harness.mjs';

scenario('signals-in-order', async (env) => {
  const handle = await env.start('collector');
  const told = Array.from({ length: 30 }, (_, index) => index);
  for (const item of told) await handle.signal('add', item);
  await handle.signal('release');
  const items = await handle.result();
  // A client that loses its answer sends again; the server knows the request.
  assert.deepEqual(items, told);
  const late = await env.failure(handle.signal('add', 'too late'));
  assert.equal(late.name, 'WorkflowNotFoundError');
});

scenario('signals-of-any-name', async (env) => {
  const handle = await env.start('postbox', [3]);
  await Promise.all(['red', 'green', 'blue'].map((name, index) => handle.signal(name, index)));
  assert.deepEqual((await handle.result()).sort(), ['blue=2', 'green=1', 'red=0']);
});

scenario('signal-with-start', async (env) => {
  const workflowId = env.id();
  const options = { taskQueue: env.queue, workflowId, signal: 'add', args: ['1ms'] };
  const first = await env.client.workflow.signalWithStart('collector', { ...options, signalArgs: ['first'] });
  env.watch(workflowId);
  const second = await env.client.workflow.signalWithStart('collector', { ...options, signalArgs: ['second'] });
  assert.equal(second.signaledRunId, first.signaledRunId);
  await first.signal('release');
  assert.deepEqual(await first.result(), ['first', 'second']);
  // Once it is closed the same call begins a new run.
  const third = await env.client.workflow.signalWithStart('collector', { ...options, signalArgs: ['third'] });
  assert.notEqual(third.signaledRunId, first.signaledRunId);
  await third.signal('release');
  assert.deepEqual(await third.result(), ['third']);
  env.watch(workflowId, first.signaledRunId);
});

scenario('queries', async (env) => {
  const handle = await env.start('collector');
  for (let index = 0; index < 5; index++) {
    await handle.signal('add', index);
    // What was acknowledged is seen.
    assert.deepEqual(await env.query(handle, 'list'), Array.from({ length: index + 1 }, (_, one) => one));
  }
  assert.deepEqual(await env.query(handle, 'list', 3), [3, 4]);
  const failed = await env.failure(env.query(handle, 'broken'));
  assert.equal(failed.name, 'QueryNotRegisteredError', failed);
  assert.match(`${failed.message} ${failed.cause?.message}`, /this query always fails/);
  const unknown = await env.failure(env.query(handle, 'unheard-of'));
  assert.match(`${unknown.message} ${unknown.cause?.message}`, /unheard-of/);
  const many = await Promise.all(Array.from({ length: 20 }, () => env.query(handle, 'list', 4)));
  assert(many.every((answer) => answer.length === 1 && answer[0] === 4));
  assert.equal((await env.query(handle, '__stack_trace')).includes('collector'), true);
  await handle.signal('release');
  await handle.result();
  assert.equal((await env.query(handle, 'list')).length, 5, 'a closed workflow still answers');
});

scenario('query-rejected', async (env) => {
  const handle = await env.start('collector');
  await handle.signal('release');
  await handle.result();
  const client = env.client.workflow;
  const picky = new client.constructor({ connection: client.connection, queryRejectCondition: 'NOT_OPEN' });
  const rejected = await env.failure(picky.getHandle(handle.workflowId).query('list'));
  assert.equal(rejected.name, 'QueryRejectedError');
  assert.equal(rejected.status, 2, 'it says that the workflow is completed');
});

scenario('condition-timeouts', async (env) => {
  const handle = await env.start('impatient');
  // Only the second timer shows that the workflow has seen the first one fire.
  const timers = async () => (await handle.fetchHistory()).events.filter((event) => event.timerStartedEventAttributes);
  await env.until(async () => (await timers()).length === 2, 'the second timer');
  await handle.signal('release');
  assert.deepEqual(await handle.result(), [false, true]);
});
