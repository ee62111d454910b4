// Workflows that deal with others: children, signals and cancellations between workflows.
import assert from 'node:assert/strict';
import { CancelledFailure, TerminatedFailure } from '@temporalio/common';
import { check } from '../laws.mjs';
import { scenario } from '../harness.mjs';

scenario('children', async (env) => {
  const { returned, retried, continued, failed, late } = await env.run('family');
  assert.deepEqual(returned, { name: 'plain', hasParent: true, memo: { from: 'parent' } });
  assert.equal(retried, 2);
  assert.deepEqual([continued.name, continued.hasParent], ['again', true]);
  assert.deepEqual(
    failed.map(([kind, detail]) => [kind, detail]).slice(0, 4),
    [['ChildWorkflowFailure', 'failsDeeply'], ['ApplicationFailure', 'Outer'], ['ActivityFailure', 'failForGood'], ['ApplicationFailure', 'ForGood']],
  );
  assert.deepEqual(late.map(([kind, detail]) => [kind, detail]), [['ChildWorkflowFailure', 'waits'], ['TimeoutFailure', 'START_TO_CLOSE']]);
});

scenario('child-id-taken', async (env) => {
  assert.deepEqual(await env.run('twins', [env.id('twin')]), ['WorkflowExecutionAlreadyStartedError', true]);
});

scenario('parent-close-policies', async (env) => {
  const ids = { TERMINATE: env.id('t'), REQUEST_CANCEL: env.id('c'), ABANDON: env.id('a') };
  assert.equal(await env.run('leavesBehind', [ids]), 'gone');
  const handle = (policy) => env.client.workflow.getHandle(ids[policy]);
  assert((await env.failure(handle('TERMINATE').result())).cause instanceof TerminatedFailure);
  assert((await env.failure(handle('REQUEST_CANCEL').result())).cause instanceof CancelledFailure);
  assert.equal((await handle('ABANDON').describe()).status.name, 'RUNNING');
  await handle('ABANDON').terminate();
});

scenario('child-cancellation', async (env) => {
  const kinds = ['TRY_CANCEL', 'WAIT_CANCELLATION_COMPLETED', 'WAIT_CANCELLATION_REQUESTED', 'ABANDON'];
  const handles = await Promise.all(kinds.map((kind) => env.start('cancelledChild', [kind])));
  for (const [index, handle] of handles.entries()) {
    assert.equal(await handle.result(), 'cancelled', kinds[index]);
    const seen = check(await handle.fetchHistory(), handle.workflowId);
    assert.equal(seen.includes('requestCancelExternalWorkflowExecutionInitiated'), kinds[index] !== 'ABANDON', kinds[index]);
    if (kinds[index] === 'WAIT_CANCELLATION_COMPLETED') assert(seen.includes('childWorkflowExecutionCanceled'));
  }
});

scenario('meddling', async (env) => {
  const [told, cancelled] = await Promise.all([env.start('collector'), env.start('tidy', [false])]);
  const failures = await env.run('meddler', [told.workflowId, cancelled.workflowId, env.id('nobody')]);
  assert.equal(failures.length, 2);
  assert.deepEqual(await told.result(), ['from a stranger']);
  assert((await env.failure(cancelled.result())).cause instanceof CancelledFailure);
});

scenario('ping-pong', async (env) => {
  const ids = [env.id('ping'), env.id('pong')];
  const pong = await env.start('ball', [8, ids[0], false], { workflowId: ids[1] });
  const ping = await env.start('ball', [8, ids[1], true], { workflowId: ids[0] });
  assert.deepEqual([await ping.result(), await pong.result()], [8, 8]);
});
