// The workflow of the hello test: an activity that fails once, a timer, a signal and a query.
import { condition, defineQuery, defineSignal, proxyActivities, setHandler, sleep } from '@temporalio/workflow';

const { greet } = proxyActivities({ startToCloseTimeout: '10s', retry: { initialInterval: '100ms' } });

export const approve = defineSignal('approve');
export const stage = defineQuery('stage');

export async function hello(name) {
  let approved = false;
  let current = 'greeting';
  setHandler(approve, () => {
    approved = true;
  });
  setHandler(stage, () => current);
  const greeting = await greet(name);
  current = 'sleeping';
  await sleep('200ms');
  current = 'approval';
  await condition(() => approved);
  current = 'done';
  return greeting;
}
