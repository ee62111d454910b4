// Updates: with validators, by id, at once, and together with a start.
import assert from 'node:assert/strict';
import { WithStartWorkflowOperation } from '@temporalio/client';
import { scenario } from '../harness.mjs';

scenario('updates', async (env) => {
  const handle = await env.start('account');
  assert.equal(await handle.executeUpdate('deposit', { args: [5] }), 5);
  const refused = await env.failure(handle.executeUpdate('deposit', { args: [-1] }));
  assert.equal(refused.name, 'WorkflowUpdateFailedError');
  assert.equal(refused.cause.type, 'BadAmount');
  const failed = await env.failure(handle.executeUpdate('slowly', { args: [2000] }));
  assert.equal(failed.cause.type, 'TooMuch');
  const unknown = await env.failure(handle.executeUpdate('unheard-of'));
  assert.equal(unknown.name, 'WorkflowUpdateFailedError');
  assert.match(unknown.cause.message, /unheard-of/);
  const accepted = await handle.startUpdate('slowly', { args: [10], waitForStage: 'ACCEPTED', updateId: 'slow-one' });
  assert.equal(accepted.updateId, 'slow-one');
  assert.equal(await accepted.result(), 15);
  // The same id is the same update, whoever asks and how often.
  assert.equal(await handle.executeUpdate('slowly', { args: [10], updateId: 'slow-one' }), 15);
  assert.equal(await handle.getUpdateHandle('slow-one').result(), 15);
  assert.deepEqual((await Promise.all([1, 1, 1].map((amount) => handle.executeUpdate('deposit', { args: [amount] })))).sort(), [16, 17, 18]);
  assert.equal(await env.query(handle, 'list'), 18);
  await handle.signal('release');
  assert.equal(await handle.result(), 18);
  const { events } = await handle.fetchHistory();
  const accepts = events.filter((event) => event.workflowExecutionUpdateAcceptedEventAttributes);
  assert.equal(accepts.length, 6, 'refused updates leave nothing');
  const late = await env.failure(handle.executeUpdate('deposit', { args: [1] }));
  assert.match(`${late} ${late.cause}`, /not found|completed/i);
});

scenario('updates-at-once', async (env) => {
  const handle = await env.start('account');
  const amounts = [1, 2, 3, 4, 5, 6, 7, 8];
  await Promise.all(amounts.map((amount) => handle.executeUpdate('slowly', { args: [amount] })));
  await handle.signal('release');
  assert.equal(await handle.result(), 36);
});

scenario('update-with-start', async (env) => {
  const workflowId = env.id();
  const operation = (policy) =>
    new WithStartWorkflowOperation('account', { workflowId, taskQueue: env.queue, workflowIdConflictPolicy: policy });
  const start = operation('USE_EXISTING');
  assert.equal(await env.client.workflow.executeUpdateWithStart('deposit', { args: [7], startWorkflowOperation: start }), 7);
  env.watch(workflowId);
  const handle = await start.workflowHandle();
  assert.equal(await env.client.workflow.executeUpdateWithStart('deposit', { args: [1], startWorkflowOperation: operation('USE_EXISTING') }), 8);
  const taken = operation('FAIL');
  const refused = await env.failure(env.client.workflow.executeUpdateWithStart('deposit', { args: [1], startWorkflowOperation: taken }));
  taken.workflowHandle().catch(() => {});
  assert.match(`${refused.name} ${refused.message} ${refused.cause?.message}`, /already/i);
  await handle.signal('release');
  assert.equal(await handle.result(), 8);
});
