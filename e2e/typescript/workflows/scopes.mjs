// Cancellation: of a whole workflow, and of parts of one.
import {
  CancellationScope,
  CancelledFailure,
  Trigger,
  condition,
  isCancellation,
  proxyActivities,
  setHandler,
  sleep,
} from '@temporalio/workflow';
import { list } from './messages.mjs';

const { echo } = proxyActivities({ startToCloseTimeout: '30s', retry: { initialInterval: '50ms' } });

/** Cleans up when it is cancelled, and says so or not. */
export async function tidy(swallow) {
  let stage = 'begun';
  setHandler(list, () => stage);
  try {
    await sleep('1h');
  } catch (error) {
    if (!isCancellation(error)) throw error;
    await CancellationScope.nonCancellable(() => echo('cleaned up'));
    stage = 'cleaned';
    if (!swallow) throw error;
  }
  return stage;
}

/** Scopes within scopes: each is cancelled for its own reason. */
export async function scopes() {
  const found = {};
  found.timeout = await CancellationScope.withTimeout('100ms', () => sleep('1h')).catch((error) => error instanceof CancelledFailure);
  const outer = new CancellationScope();
  const inner = outer.run(async () => {
    const shielded = CancellationScope.nonCancellable(async () => {
      await sleep('200ms');
      return 'shielded';
    });
    const plain = sleep('1h').then(
      () => 'slept',
      (error) => (isCancellation(error) ? 'cancelled' : 'failed'),
    );
    return await Promise.all([shielded, plain]);
  });
  await sleep(10);
  outer.cancel();
  found.nested = await inner;
  const trigger = new Trigger();
  void sleep('50ms').then(() => trigger.resolve('triggered'));
  found.trigger = await trigger;
  found.race = await Promise.race([sleep('20ms').then(() => 'timer'), condition(() => false)]);
  // Cancelled before it is run: nothing gets into history.
  const early = new CancellationScope();
  early.cancel();
  found.early = await early.run(() => sleep('1h')).catch((error) => isCancellation(error));
  return found;
}

/** Many timers; every other one is cancelled. */
export async function timers(count) {
  let fired = 0;
  let cancelled = 0;
  const all = [];
  for (let index = 0; index < count; index++) {
    const scope = new CancellationScope();
    all.push(scope.run(() => sleep(index % 2 ? '1h' : 50 + index)).then(() => fired++, () => cancelled++));
    if (index % 2) void sleep(10).then(() => scope.cancel());
  }
  await Promise.all(all);
  return { fired, cancelled };
}
