// The activities of all scenarios.
import { setTimeout as delay } from 'node:timers/promises';
import { ApplicationFailure, CancelledFailure, CompleteAsyncError, Context, activityInfo, heartbeat, sleep } from '@temporalio/activity';

/** Tokens of activities that somebody else completes, by name. */
export const tokens = new Map();
/** What was done, by workflow run and name. */
export const calls = new Map();

export const activities = {
  async echo(value) {
    return value;
  },

  async double(value) {
    return value * 2;
  },

  async failUntil(attempt, type) {
    if (activityInfo().attempt < attempt) {
      throw ApplicationFailure.create({ message: `attempt ${activityInfo().attempt}`, type, details: [activityInfo().attempt] });
    }
    return activityInfo().attempt;
  },

  async failForGood() {
    throw ApplicationFailure.create({ message: 'for good', type: 'ForGood', nonRetryable: true, cause: new RangeError('the root') });
  },

  async failWithDelay(ms) {
    if (activityInfo().attempt === 1) throw ApplicationFailure.create({ message: 'soon', nextRetryDelay: ms });
    return activityInfo().attempt;
  },

  async beLate(beats) {
    if (beats) heartbeat('a sign of life');
    await delay(6000);
  },

  /** Goes on where the attempt before it stopped. */
  async resume(upTo) {
    const from = activityInfo().heartbeatDetails ?? 0;
    for (let at = from + 1; at <= upTo; at++) {
      heartbeat(at);
      if (at === 3 && from === 0) throw new Error('interrupted');
    }
    return { from, upTo };
  },

  async waitForCancel(kind) {
    try {
      // Beats until it hears that it is cancelled. Nobody tells an abandoned one.
      for (let beat = 0; beat < (kind === 'ABANDON' ? 50 : 300); beat++) {
        heartbeat(beat);
        await sleep(100);
      }
    } catch (error) {
      if (!(error instanceof CancelledFailure)) throw error;
      if (kind === 'WAIT_CANCELLATION_COMPLETED') await delay(200);
      throw error;
    }
    return 'finished';
  },

  async completeElsewhere(name) {
    const { workflowExecution, activityId } = activityInfo();
    tokens.set(`${workflowExecution.workflowId} ${name}`, { token: activityInfo().taskToken, ...workflowExecution, activityId });
    throw new CompleteAsyncError();
  },

  /** Answers something new each time it is called. */
  async flaky(name) {
    const key = `${Context.current().info.workflowExecution.workflowId} ${name}`;
    calls.set(key, (calls.get(key) ?? 0) + 1);
    return `${name} ${calls.get(key)}`;
  },
};
