"""Runs the scenarios, all at once, against the server that listens at an address.

    python e2e/python/run.py 127.0.0.1:7233            what a developer's server says
    python e2e/python/run.py ADDRESS --rough            nodes are being killed meanwhile
    python e2e/python/run.py ADDRESS signals timers     some scenarios only

Any server will do, the official one too: that is how the scenarios themselves are checked. `stage.py` starts servers.
"""

import argparse
import asyncio
import logging
import sys
import time
import traceback

import scenarios
from harness import REGISTRY, Env
from temporalio.client import Client
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig
from temporalio.service import RetryConfig

CLIENTS = 3
AT_ONCE = 16
TOLD_MAX_CHARS = 3000
PATIENCE_SECONDS = {True: 90.0, False: 150.0}


async def run_one(name: str, clients: list[Client], index: int, calm: bool) -> tuple[int, float]:
    """How many runs were replayed, and how long it took."""
    # Client and worker come in through different connections: with several nodes, through different nodes.
    env = Env(name, clients[index % CLIENTS], clients[(index + 1) % CLIENTS], calm)
    begun = time.monotonic()

    async def all_of_it() -> int:
        try:
            await REGISTRY[name](env)
            return await env.check()
        except BaseException:
            await env.tell()
            raise

    return await asyncio.wait_for(all_of_it(), PATIENCE_SECONDS[calm]), time.monotonic() - begun


async def one_pass(names: list[str], clients: list[Client], calm: bool, verbose: bool) -> tuple[int, list[str]]:
    room = asyncio.Semaphore(AT_ONCE)
    failed: list[str] = []
    replayed = 0

    async def guarded(index: int, name: str) -> None:
        nonlocal replayed
        async with room:
            begun = time.monotonic()
            try:
                runs, took = await run_one(name, clients, index, calm)
                replayed += runs
                if verbose:
                    print(f"  {name}: {runs} runs, {took:.1f} s", flush=True)
            except Exception:
                failed.append(name)
                # The last frames and the end of the message say what was expected and seen.
                told = traceback.format_exc(limit=-3)[-TOLD_MAX_CHARS:]
                took = time.monotonic() - begun
                print(f"python: scenario {name} failed after {took:.1f} s:\n{told}", file=sys.stderr, flush=True)

    await asyncio.gather(*(guarded(index, name) for index, name in enumerate(names)))
    return replayed, failed


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("names", nargs="*", help="scenarios; without names: all")
    parser.add_argument("--rough", action="store_true", help="nodes are killed meanwhile: an attempt may be lost")
    parser.add_argument("--seconds", type=float, default=0, help="begin another pass until so much time is over")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    scenarios.load()
    if unknown := set(args.names) - set(REGISTRY):
        parser.error(f"no scenario {sorted(unknown)}; there are {sorted(REGISTRY)}")
    # Failures on purpose are what many scenarios are about; the SDK would print a traceback for each.
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)
    # But calls that are repeated again and again are worth to be seen.
    quiet = LoggingConfig(filter="error,temporalio_client=warn")
    runtime = Runtime(telemetry=TelemetryConfig(logging=quiet))
    # The SDK gives up after 10 s, which a busy machine may need to elect a leader. It is to repeat for longer.
    retries = RetryConfig(max_elapsed_time_millis=60_000, max_retries=100) if args.rough else None
    clients = [
        await Client.connect(args.address, runtime=runtime, retry_config=retries) for _ in range(CLIENTS)
    ]
    begun = time.monotonic()
    passes, replayed, failed = 0, 0, []
    while not failed and (passes == 0 or time.monotonic() - begun < args.seconds):
        runs, failed = await one_pass(args.names or list(REGISTRY), clients, not args.rough, args.verbose)
        passes, replayed = passes + 1, replayed + runs
    count, took = len(args.names or REGISTRY), time.monotonic() - begun
    if failed:
        print(f"python: {len(failed)} of {count} scenarios failed: {' '.join(sorted(failed))}")
        return 1
    print(f"python: {count} scenarios, {passes} passes, {replayed} runs replayed, {took:.0f} s: ok")
    # The SDK's threads end a moment after its workers; the interpreter must still be there then.
    await asyncio.sleep(0.2)
    return 0


sys.exit(asyncio.run(main()))
