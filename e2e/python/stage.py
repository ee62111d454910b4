"""Sets the stage for a suite: starts servers, runs one or more commands against them, and ends everything.

    python3 e2e/python/stage.py BINARY one -- COMMAND {address}
    python3 e2e/python/stage.py BINARY three -- COMMAND {address}
    python3 e2e/python/stage.py BINARY killing -- COMMAND {address} --rough

`one` is a node on its own, `three` a cluster, `killing` a cluster of which a leader is killed (SIGKILL) every 20 seconds
and started again before the next is. With several nodes `{address}` is a small TCP balancer in front of them, as any
production set-up has: it hands each new connection to the next node that accepts it. It retries nothing: a connection
whose node dies is cut, and what happens then is up to the SDK. Several commands, each after `--`, run side by side.
"""

import argparse
import itertools
import socket
import subprocess
import sys
import threading
import time

from servers import Cluster, DevServer

BUFFER_BYTES = 256 * 1024


class Balancer:
    """Forwards each connection to the next node that is alive. One thread; for tests on one machine."""

    def __init__(self, addresses: list[str]) -> None:
        self.targets = [(host, int(port)) for host, port in (address.rsplit(":", 1) for address in addresses)]
        self.turns = itertools.count()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            client, _ = self.listener.accept()
            node = self.connect()
            if node is None:
                client.close()
                continue
            for one in (client, node):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, sink in ((client, node), (node, client)):
                threading.Thread(target=forward, args=(source, sink), daemon=True).start()

    def connect(self) -> socket.socket | None:
        turn = next(self.turns)
        for offset in range(len(self.targets)):
            try:
                return socket.create_connection(self.targets[(turn + offset) % len(self.targets)], timeout=1)
            except OSError:
                continue
        return None


def forward(source: socket.socket, sink: socket.socket) -> None:
    source.settimeout(None)
    try:
        while data := source.recv(BUFFER_BYTES):
            sink.sendall(data)
    except OSError:
        pass
    # A cut on one side is a cut on the other.
    for one in (source, sink):
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Killer:
    """Kills the leader of some shard, starts it again, and so on."""

    def __init__(self, cluster: Cluster, every_seconds: float, down_seconds: float = 4) -> None:
        self.cluster = cluster
        self.every_seconds = every_seconds
        self.down_seconds = down_seconds
        self.commands = {node["id"]: cluster.command_of(node["id"]) for node in cluster.description["nodes"]}
        self.kills = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        # The first leader falls early, so that even a short suite sees one fall.
        wait = min(self.every_seconds, 5)
        while not self.over.wait(wait):
            leader = self.cluster.leader_of(f"victim-{self.kills}")
            self.cluster.kill(leader)
            self.kills += 1
            self.over.wait(self.down_seconds)
            begun = time.monotonic()
            self.cluster.start(leader, self.commands[leader])
            print(f"stage: node {leader} killed, listens again {time.monotonic() - begun:.1f} s after its start", flush=True)
            wait = self.every_seconds - self.down_seconds

    def __enter__(self) -> "Killer":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


def perform(commands: list[list[str]], address: str) -> int:
    """Runs the commands side by side; the first exit code that is not 0."""
    running = [subprocess.Popen([word.replace("{address}", address) for word in command]) for command in commands]
    codes = [process.wait() for process in running]
    return next((code for code in codes if code), 0)


def main() -> int:
    if "--" not in sys.argv:
        sys.exit(__doc__)
    cut = sys.argv.index("--")
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("binary")
    parser.add_argument("mode", choices=["one", "three", "killing"])
    parser.add_argument("--every-seconds", type=float, default=20)
    args = parser.parse_args(sys.argv[1:cut])
    groups = itertools.groupby(sys.argv[cut:], lambda word: word == "--")
    commands = [list(group) for is_mark, group in groups if not is_mark]
    if args.mode == "one":
        with DevServer(args.binary) as server:
            return perform(commands, server.address)
    with Cluster(args.binary) as cluster:
        balancer = Balancer(cluster.addresses)
        if args.mode == "three":
            return perform(commands, balancer.address)
        with Killer(cluster, args.every_seconds) as killer:
            begun = time.monotonic()
            code = perform(commands, balancer.address)
        print(f"stage: {killer.kills} leaders killed and started again in {time.monotonic() - begun:.0f} s")
        return code


sys.exit(main())
