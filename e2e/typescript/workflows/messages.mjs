// Workflows that are talked to: signals, queries, updates.
import {
  ApplicationFailure,
  allHandlersFinished,
  condition,
  defineQuery,
  defineSignal,
  defineUpdate,
  proxyActivities,
  setDefaultSignalHandler,
  setHandler,
  sleep,
} from '@temporalio/workflow';

export const add = defineSignal('add');
export const release = defineSignal('release');
export const list = defineQuery('list');
export const broken = defineQuery('broken');
export const deposit = defineUpdate('deposit');
export const slowly = defineUpdate('slowly');

const { echo } = proxyActivities({ startToCloseTimeout: '30s', retry: { initialInterval: '50ms' } });

/** Collects what it is told, until it is released. */
export async function collector(wait = '1ms') {
  const items = [];
  let released = false;
  setHandler(add, (item) => void items.push(item));
  setHandler(release, () => {
    released = true;
  });
  setHandler(list, (from = 0) => items.slice(from));
  setHandler(broken, () => {
    throw new Error('this query always fails');
  });
  await sleep(wait);
  await condition(() => released);
  return items;
}

/** Signals of any name, and an answer that goes through an activity. */
export async function postbox(count) {
  const letters = [];
  setDefaultSignalHandler((name, ...args) => void letters.push([name, ...args]));
  await condition(() => letters.length >= count);
  return await Promise.all(letters.map(([name, value]) => echo(`${name}=${value}`)));
}

/** Gives up waiting after a time, unless it is told in time. */
export async function impatient() {
  let told = false;
  setHandler(release, () => {
    told = true;
  });
  const first = await condition(() => told, '200ms');
  const second = await condition(() => told, '30s');
  return [first, second];
}

/** An account: deposits are updates with a validator, one of them takes its time. */
export async function account() {
  let balance = 0;
  let released = false;
  setHandler(release, () => {
    released = true;
  });
  setHandler(list, () => balance);
  setHandler(
    deposit,
    (amount) => {
      balance += amount;
      return balance;
    },
    {
      validator: (amount) => {
        if (amount <= 0) throw ApplicationFailure.nonRetryable('only positive amounts', 'BadAmount', amount);
      },
    },
  );
  setHandler(slowly, async (amount) => {
    await echo('slowly');
    await sleep('100ms');
    if (amount > 1000) throw ApplicationFailure.nonRetryable('too much', 'TooMuch');
    balance += amount;
    return balance;
  });
  await condition(() => released && allHandlersFinished());
  return balance;
}
