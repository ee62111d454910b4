// Runs the scenarios, all at once, against the server that listens at an address.
//
//     node run.mjs 127.0.0.1:7233                 what a developer's server says
//     node run.mjs ADDRESS --rough --seconds 60   nodes are being killed meanwhile; begin anew until so much time is over
//     node run.mjs ADDRESS cron updates           some scenarios only
//
// Any server will do, the official one too: that is how the scenarios themselves are checked.
import { readdirSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker, bundleWorkflowCode } from '@temporalio/worker';
import { activities } from './activities.mjs';
import { Env, REGISTRY } from './harness.mjs';

for (const file of readdirSync(new URL('./scenarios/', import.meta.url)).sort()) await import(`./scenarios/${file}`);

const AT_ONCE = 16;
const PATIENCE_MS = { true: 90_000, false: 150_000 };

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { rough: { type: 'boolean' }, seconds: { type: 'string', default: '0' }, verbose: { type: 'boolean' } },
});
const [address, ...wanted] = positionals;
const names = wanted.length ? wanted : [...REGISTRY.keys()];
const unknown = names.filter((name) => !REGISTRY.has(name));
if (!address || unknown.length) throw new Error(`usage: run.mjs ADDRESS [SCENARIO...]; no scenario ${unknown}; there are ${[...REGISTRY.keys()]}`);

// What the scenarios do on purpose is not news.
const logger = new DefaultLogger('ERROR', () => {});
Runtime.install({ logger, telemetryOptions: { logging: { filter: 'OFF' } } });

async function onePass(stage, pass) {
  const failed = [];
  const histories = [];
  const waiting = [...names];
  async function lane() {
    for (let name = waiting.shift(); name; name = waiting.shift()) {
      const env = new Env(`${name}-${pass}`, stage);
      const begun = Date.now();
      try {
        await withPatience(REGISTRY.get(name)(env), PATIENCE_MS[stage.calm]);
        await env.check();
        histories.push(...env.histories);
        if (options.verbose) console.log(`  ${name}: ${env.histories.length} runs, ${((Date.now() - begun) / 1000).toFixed(1)} s`);
      } catch (error) {
        failed.push(name);
        console.error(`typescript: scenario ${name} failed:`, error);
      }
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return { failed, histories };
}

function withPatience(promise, ms) {
  let timer;
  const patience = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${ms} ms`)), ms);
  });
  return Promise.race([promise, patience]).finally(() => clearTimeout(timer));
}

async function replay(bundle, histories) {
  const failed = [];
  for await (const { error, workflowId } of Worker.runReplayHistories({ workflowBundle: bundle }, histories)) {
    if (!error) continue;
    failed.push(workflowId);
    console.error(`typescript: ${workflowId} cannot be replayed:`, error);
  }
  return failed;
}

const begun = Date.now();
const bundle = await bundleWorkflowCode({ workflowsPath: fileURLToPath(new URL('./workflows/index.mjs', import.meta.url)), logger });
const stage = {
  address,
  bundle,
  activities,
  calm: !options.rough,
  queue: `typescript-${process.pid}-${begun}`,
  client: new Client({ connection: await Connection.connect({ address }) }),
};
const worker = await Worker.create({
  connection: await NativeConnection.connect({ address }),
  workflowBundle: bundle,
  activities,
  taskQueue: stage.queue,
  maxHeartbeatThrottleInterval: '200ms',
  defaultHeartbeatThrottleInterval: '200ms',
});
let passes = 0;
let replayed = 0;
const failed = await worker.runUntil(async () => {
  do {
    const { failed, histories } = await onePass(stage, passes++);
    failed.push(...(await replay(bundle, histories)));
    replayed += histories.length;
    if (failed.length) return failed;
  } while (Date.now() - begun < Number(options.seconds) * 1000);
  return [];
});
const took = Math.round((Date.now() - begun) / 1000);
if (failed.length) console.log(`typescript: ${failed.length} of ${names.length} scenarios failed: ${failed.join(' ')}`);
else console.log(`typescript: ${names.length} scenarios, ${passes} passes, ${replayed} runs replayed, ${took} s: ok`);
process.exit(failed.length ? 1 : 0);
