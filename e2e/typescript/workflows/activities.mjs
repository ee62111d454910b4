// Workflows that call activities in every way.
import {
  ActivityCancellationType,
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  TimeoutFailure,
  isCancellation,
  proxyActivities,
  proxyLocalActivities,
  setHandler,
  sleep,
} from '@temporalio/workflow';
import { release } from './messages.mjs';

const quick = { initialInterval: '50ms', backoffCoefficient: 1 };
const patient = proxyActivities({ startToCloseTimeout: '30s', retry: quick });

/** Says what went wrong, cause by cause. */
export function causes(error) {
  const chain = [];
  for (let one = error; one; one = one.cause) {
    const kind = one.constructor.name;
    const detail = one.type ?? one.timeoutType ?? one.activityType ?? one.workflowType ?? '';
    chain.push([kind, String(detail), one.message]);
  }
  return chain;
}

export async function retries() {
  const second = await patient.failUntil(3, 'Temporary');
  const named = proxyActivities({ startToCloseTimeout: '30s', retry: { ...quick, nonRetryableErrorTypes: ['Fatal'] } });
  const fatal = await named.failUntil(100, 'Fatal').catch(causes);
  const marked = await patient.failForGood().catch(causes);
  const few = proxyActivities({ startToCloseTimeout: '30s', retry: { ...quick, maximumAttempts: 2 } });
  let exhausted;
  try {
    await few.failUntil(100, 'Temporary');
  } catch (error) {
    exhausted = [error.retryState, error.cause.details];
  }
  return { second, fatal, marked, exhausted };
}

export async function nextDelay() {
  const slow = proxyActivities({ startToCloseTimeout: '30s', retry: { initialInterval: '10m' } });
  return await slow.failWithDelay(100);
}

export async function timeouts() {
  const once = { maximumAttempts: 1 };
  const tries = {
    startToClose: proxyActivities({ startToCloseTimeout: '300ms', retry: once }).beLate(false),
    heartbeat: proxyActivities({ startToCloseTimeout: '30s', heartbeatTimeout: '3s', retry: once }).beLate(true),
    scheduleToStart: proxyActivities({ taskQueue: 'nobody', scheduleToStartTimeout: '300ms', startToCloseTimeout: '30s' }).beLate(false),
    scheduleToClose: proxyActivities({ scheduleToCloseTimeout: '400ms', retry: { initialInterval: '50ms', backoffCoefficient: 1 } }).beLate(false),
  };
  const found = {};
  for (const [name, attempt] of Object.entries(tries)) {
    try {
      await attempt;
    } catch (error) {
      if (!(error instanceof ActivityFailure && error.cause instanceof TimeoutFailure)) throw error;
      found[name] = [error.cause.timeoutType, error.retryState, error.cause.lastHeartbeatDetails ?? null];
    }
  }
  return found;
}

export async function progress() {
  return await proxyActivities({ startToCloseTimeout: '30s', heartbeatTimeout: '10s', retry: quick }).resume(5);
}

export async function cancelledActivity(kind) {
  const { waitForCancel } = proxyActivities({
    startToCloseTimeout: '30s',
    heartbeatTimeout: '20s',
    cancellationType: ActivityCancellationType[kind],
    retry: { maximumAttempts: 1 },
  });
  const scope = new CancellationScope();
  const running = scope.run(() => waitForCancel(kind));
  await sleep('500ms');
  scope.cancel();
  try {
    return await running;
  } catch (error) {
    return isCancellation(error) ? `cancelled: ${error.constructor.name}` : `other: ${error}`;
  }
}

export async function elsewhere(names) {
  const { completeElsewhere } = proxyActivities({ startToCloseTimeout: '60s', retry: { maximumAttempts: 1 } });
  return await Promise.all(names.map((name) => completeElsewhere(name).catch((error) => causes(error).map(([kind]) => kind))));
}

export async function locals() {
  const local = proxyLocalActivities({ startToCloseTimeout: '10s', retry: { initialInterval: '10ms', maximumAttempts: 5 } });
  const quickly = await Promise.all([local.echo('a'), local.echo('b'), local.failUntil(3, 'Temporary')]);
  // A backoff longer than the threshold becomes a timer in history.
  const slow = proxyLocalActivities({
    startToCloseTimeout: '10s',
    localRetryThreshold: '100ms',
    retry: { initialInterval: '300ms', backoffCoefficient: 1 },
  });
  const slowly = await slow.failUntil(2, 'Temporary');
  const failed = await proxyLocalActivities({ startToCloseTimeout: '10s', retry: { maximumAttempts: 1 } })
    .failUntil(100, 'Temporary')
    .catch(causes);
  const mixed = [];
  for (let index = 0; index < 3; index++) {
    mixed.push(await local.echo(`local ${index}`));
    mixed.push(await patient.echo(`remote ${index}`));
    await sleep(1);
  }
  return { quickly, slowly, failed, mixed };
}

export async function manyActivities(count, atOnce) {
  let sum = 0;
  for (let begun = 0; begun < count; begun += atOnce) {
    const batch = Array.from({ length: Math.min(atOnce, count - begun) }, (_, index) => patient.double(begun + index));
    for (const value of await Promise.all(batch)) sum += value;
  }
  return sum;
}

export async function described() {
  let released = false;
  setHandler(release, () => {
    released = true;
  });
  const slow = proxyActivities({ startToCloseTimeout: '30s', heartbeatTimeout: '20s', retry: { initialInterval: '10m' } });
  const scope = new CancellationScope();
  const all = scope.run(() => Promise.all([slow.waitForCancel('described'), slow.failUntil(100, 'Temporary')]));
  while (!released) await sleep('100ms');
  scope.cancel();
  await all.catch((error) => {
    if (!isCancellation(error)) throw error;
  });
  return 'done';
}

export async function failsDeeply() {
  try {
    await patient.failForGood();
  } catch (error) {
    throw ApplicationFailure.create({ message: 'outer', type: 'Outer', nonRetryable: true, details: [1, { two: 2 }], cause: error });
  }
}
