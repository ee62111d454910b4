"""Starts and ends servers as a user would: by argv, ports and signals."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, process: subprocess.Popen, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode} before it listened")
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise TimeoutError(f"nothing listens on port {port}")


class DevServer:
    """`perpetuo server start-dev`. `kill()` and `start()` may be called again and again."""

    def __init__(self, binary: str, port: int | None = None, data: str | None = None) -> None:
        self.binary = binary
        self.port = port or free_port()
        self.data = data
        self.process: subprocess.Popen | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        argv = [self.binary, "server", "start-dev", "--port", str(self.port), "--headless", "--log-level", "warn"]
        if self.data:
            argv += ["--db-filename", self.data]
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        wait_for_port(self.port, self.process)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> float:
        """Ends it politely; returns how long that took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)
        return time.monotonic() - begun

    def __enter__(self) -> "DevServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.stop()


class Cluster:
    """`perpetuo cluster dev --nodes 3`, and the means to find and kill a leader."""

    def __init__(self, binary: str, nodes: int = 3) -> None:
        self.binary = binary
        self.nodes = nodes
        self.folder = tempfile.TemporaryDirectory(prefix="perpetuo-cluster-")
        self.restarted: dict[int, subprocess.Popen] = {}

    def __enter__(self) -> "Cluster":
        argv = [self.binary, "cluster", "dev", "--nodes", str(self.nodes), "--dir", self.folder.name, "--port", str(free_port())]
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        description = pathlib.Path(self.folder.name, "cluster.json")
        deadline = time.monotonic() + 60
        while not description.exists():
            if self.process.poll() is not None:
                raise RuntimeError(f"the cluster ended with {self.process.returncode}")
            if time.monotonic() > deadline:
                raise TimeoutError("the cluster did not become ready")
            time.sleep(0.05)
        self.description = json.loads(description.read_text())
        return self

    @property
    def addresses(self) -> list[str]:
        return [node["grpc_address"] for node in self.description["nodes"]]

    def leader_of(self, workflow_id: str, namespace: str = "default") -> int:
        """The node id of the leader of the workflow's shard."""
        for node in self.description["nodes"]:
            argv = [self.binary, "shard", "of", "--namespace", namespace, "--workflow-id", workflow_id]
            argv += ["--admin-address", node["admin_address"], "--output", "json"]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
            if done.returncode == 0 and json.loads(done.stdout).get("leader"):
                return json.loads(done.stdout)["leader"]
        raise RuntimeError(f"no node knows the leader of {workflow_id}")

    def kill(self, node_id: int) -> None:
        if again := self.restarted.pop(node_id, None):
            again.kill()
            again.wait()
        else:
            os.kill(self.node(node_id)["pid"], signal.SIGKILL)

    def command_of(self, node_id: int) -> list[str]:
        """The argv of a node that is still the one which the cluster started."""
        raw = pathlib.Path(f"/proc/{self.node(node_id)['pid']}/cmdline").read_text()
        return raw.rstrip("\0").split("\0")

    def start(self, node_id: int, command: list[str]) -> None:
        """Starts a killed node again, with the data that it had."""
        with open(self.node(node_id)["log"], "ab") as log:
            self.restarted[node_id] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for_port(int(self.node(node_id)["grpc_address"].rsplit(":", 1)[1]), self.restarted[node_id])

    def node(self, node_id: int) -> dict:
        return next(node for node in self.description["nodes"] if node["id"] == node_id)

    def __exit__(self, *_: object) -> None:
        for process in self.restarted.values():
            process.terminate()
        for process in self.restarted.values():
            process.wait(timeout=20)
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=30)
        self.folder.cleanup()
