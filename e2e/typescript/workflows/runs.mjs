// Workflows whose point is how runs begin, end and follow each other.
import {
  ApplicationFailure,
  continueAsNew,
  condition,
  deprecatePatch,
  patched,
  proxyActivities,
  setHandler,
  sleep,
  upsertMemo,
  upsertSearchAttributes,
  uuid4,
  workflowInfo,
} from '@temporalio/workflow';
import { add, list, release } from './messages.mjs';

const { echo, flaky } = proxyActivities({ startToCloseTimeout: '30s', retry: { initialInterval: '50ms' } });

/** Counts down over several runs; what it was told goes along. */
export async function countdown(from, told = []) {
  setHandler(add, (item) => void told.push(item));
  await sleep(20);
  await echo(`at ${from}`);
  if (from > 0) await continueAsNew(from - 1, told);
  return { told, continuedFrom: workflowInfo().continuedFromExecutionRunId !== undefined, memo: workflowInfo().memo ?? {} };
}

export async function failsUntilAttempt(attempt) {
  if (workflowInfo().attempt < attempt) throw ApplicationFailure.create({ message: 'not yet', type: 'NotYet' });
  return workflowInfo().attempt;
}

/** One tick of a cron: counts what the run before it returned. */
export async function tick() {
  return (workflowInfo().lastResult ?? 0) + 1;
}

export async function waits() {
  let released = false;
  setHandler(release, () => {
    released = true;
  });
  await condition(() => released);
  return workflowInfo().runId;
}

export async function noted(step) {
  upsertMemo({ step, gone: 'soon' });
  upsertSearchAttributes({ E2eKeyword: [`step ${step}`] });
  await sleep(1);
  upsertMemo({ gone: null, done: true });
  return workflowInfo().memo;
}

/** The code as it was, as it is while both must work, and as it ends. */
export async function migrated(generation) {
  let path = 'old';
  if (generation === 1 && patched('new-way')) path = 'new';
  if (generation === 2) {
    deprecatePatch('new-way');
    path = 'newest';
  }
  await (path === 'old' ? echo(path) : sleep(10));
  // Within a loop a patch is asked again and again, and recorded once.
  for (let index = 0; index < 3; index++) {
    if (generation === 1 && patched('in-loop')) await sleep(1);
  }
  return path;
}

/** Randomness and time are the same whenever the history is replayed. */
export async function chance() {
  const seen = [];
  for (let index = 0; index < 3; index++) {
    seen.push(uuid4(), Math.random(), Date.now());
    await sleep(Math.ceil(Math.random() * 20));
  }
  return seen.map((one) => typeof one);
}

/** Its first workflow task fails with an ordinary error, which is a bug to be mended, not a result. */
export async function buggy() {
  if (workflowInfo().historyLength < 4) throw new Error('a bug');
  await sleep(1);
  return 'mended';
}

/** Enough events for several pages of history. */
export async function long(rounds, width) {
  let at = 0;
  setHandler(list, () => at);
  for (; at < rounds; at++) {
    await Promise.all(Array.from({ length: width }, () => sleep(1)));
  }
  return at;
}

/** The first part may be undone by a reset, the second is done again. */
export async function resettable() {
  const told = [];
  setHandler(add, (item) => void told.push(item));
  const first = await flaky('first');
  await condition(() => told.length >= 2);
  const second = await flaky('second');
  return { first, second, told };
}
