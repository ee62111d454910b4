// What every scenario is given: a client, a worker that runs all workflows, and checks of all histories at the end.
import { setTimeout as delay } from 'node:timers/promises';
import { NativeConnection, Worker } from '@temporalio/worker';
import * as laws from './laws.mjs';

export const REGISTRY = new Map();

export function scenario(name, run) {
  REGISTRY.set(name, run);
}

export class Env {
  constructor(name, stage) {
    this.name = name;
    this.stage = stage;
    this.client = stage.client;
    /** No node is being killed: what is tried once happens once. */
    this.calm = stage.calm;
    this.queue = stage.queue;
    this.ids = 0;
    this.seen = new Set();
    this.histories = [];
  }

  id(suffix = ++this.ids) {
    return `${this.stage.queue}/${this.name}/${suffix}`;
  }

  async start(workflow, args = [], options = {}) {
    const workflowId = options.workflowId ?? this.id();
    const handle = await this.client.workflow.start(workflow, { taskQueue: this.queue, args, ...options, workflowId });
    this.watch(workflowId);
    return handle;
  }

  async run(workflow, args = [], options = {}) {
    return await (await this.start(workflow, args, options)).result();
  }

  /** Its latest chain of runs is checked and replayed at the end. */
  watch(workflowId, runId) {
    this.seen.add(JSON.stringify([workflowId, runId]));
  }

  /** What `attempt` returns, as soon as that is something. */
  async until(attempt, what = 'it') {
    const deadline = Date.now() + (this.calm ? 60_000 : 90_000);
    for (;;) {
      const value = await attempt();
      if (value) return value;
      if (Date.now() > deadline) throw new Error(`${what} did not happen`);
      await delay(50);
    }
  }

  async failure(promise) {
    try {
      await promise;
    } catch (error) {
      return error;
    }
    throw new Error('it should have failed');
  }

  /** The SDK gives up a query after 10 s, which a busy machine may need to elect a leader. It is to wait for longer. */
  async query(handle, name, ...args) {
    return await this.client.withDeadline(Date.now() + 60_000, () => handle.query(name, ...args));
  }

  /** What is repeated after an answer that was lost with its node finds the workflow closed. */
  async terminate(handle, reason) {
    try {
      await handle.terminate(reason);
    } catch (error) {
      if (this.calm || error.name !== 'WorkflowNotFoundError') throw error;
    }
  }

  /** A worker of its own: to be restarted, or with other options. */
  async worker(options) {
    return await Worker.create({
      connection: await NativeConnection.connect({ address: this.stage.address }),
      workflowBundle: this.stage.bundle,
      activities: this.stage.activities,
      taskQueue: this.queue,
      shutdownGraceTime: '10s',
      ...options,
    });
  }

  async history(workflowId, runId) {
    return await this.client.workflow.getHandle(workflowId, runId).fetchHistory();
  }

  /** Laws for each run; returns the histories, for the replayer. */
  async check() {
    const queue = [...this.seen].map((one) => JSON.parse(one));
    const runs = new Map();
    while (queue.length) {
      const [workflowId, wanted] = queue.pop();
      const history = await this.history(workflowId, wanted);
      const started = history.events[0].workflowExecutionStartedEventAttributes;
      const runId = started.originalExecutionRunId;
      if (runs.has(runId)) continue;
      laws.check(history, `${workflowId} ${runId}`);
      runs.set(runId, { workflowId, history });
      if (started.continuedExecutionRunId) queue.push([workflowId, started.continuedExecutionRunId]);
      for (const event of history.events) {
        const child = event.childWorkflowExecutionStartedEventAttributes?.workflowExecution;
        if (child) queue.push([child.workflowId, child.runId]);
      }
    }
    this.histories = [...runs.values()].filter(({ history }) => laws.isClosed(history));
    return this.histories;
  }
}
