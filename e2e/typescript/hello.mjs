// An unmodified TypeScript worker and client against the real binary.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { activityInfo } from '@temporalio/activity';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Runtime, Worker } from '@temporalio/worker';

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

async function connect(address) {
  const deadline = Date.now() + 30_000;
  for (;;) {
    try {
      return await Connection.connect({ address });
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await delay(50);
    }
  }
}

const activities = {
  async greet(name) {
    if (activityInfo().attempt === 1) throw new Error('the first attempt always fails');
    return `Hello, ${name}!`;
  },
};

const port = await freePort();
const address = `127.0.0.1:${port}`;
const server = spawn(process.argv[2], ['server', 'start-dev', '--port', String(port), '--headless'], { stdio: ['ignore', 'ignore', 'inherit'] });
try {
  Runtime.install({ logger: { log() {}, trace() {}, debug() {}, info() {}, warn: console.warn, error: console.error } });
  const client = new Client({ connection: await connect(address) });
  const worker = await Worker.create({
    connection: await NativeConnection.connect({ address }),
    taskQueue: 'hello',
    workflowsPath: fileURLToPath(new URL('./workflows.mjs', import.meta.url)),
    activities,
  });
  const result = await worker.runUntil(async () => {
    const handle = await client.workflow.start('hello', { taskQueue: 'hello', workflowId: 'hello-ts', args: ['TypeScript'] });
    while ((await handle.query('stage')) !== 'approval') await delay(20);
    await handle.signal('approve');
    const result = await handle.result();
    const history = await handle.fetchHistory();
    await Worker.runReplayHistory({ workflowsPath: fileURLToPath(new URL('./workflows.mjs', import.meta.url)) }, history);
    return result;
  });
  assert.equal(result, 'Hello, TypeScript!');
  console.log('typescript: hello with retry, timer, signal and query, replayed: ok');
} finally {
  server.kill('SIGTERM');
  await once(server, 'exit');
}
process.exit(0);
