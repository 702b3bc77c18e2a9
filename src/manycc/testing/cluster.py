"""A small cluster on loopback: real nodes, a real agent, the real launcher, each with its own state.

For tests, demos and benchmarks::

    with Cluster(folder, nodes=2) as cluster:
        done = cluster.compile(["gcc", "-c", "a.c"], cwd=work)
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from manycc.monitor import records

BIN = os.path.dirname(sys.executable)
START_S = 30.0


class Node:
    """One node process."""

    def __init__(self, state: str, jobs: int, arguments: Sequence[str] = (), port: int = 0) -> None:
        self.state = state
        self.jobs = jobs
        self.arguments = list(arguments)
        self.port = port
        self.program = [os.path.join(BIN, "manycc-cli")]  # a test may put a script around it
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """The node's log file."""
        return self.state + ".log"

    @property
    def host(self) -> str:
        """The node as an entry of MANYCC_HOSTS."""
        return f"127.0.0.1:{self.port}/{self.jobs}"

    def start(self, env: Mapping[str, str] | None = None) -> None:
        """Start it (again, on the same port) and wait until it listens. Raises RuntimeError."""
        read, write = os.pipe()
        command = [
            *self.program, "node", "--no-config", "--listen", "127.0.0.1", "--port", str(self.port),
            "--jobs", str(self.jobs), "--ready-fd", str(write), "--log-file", self.log, *self.arguments,
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, pass_fds=(write,), env={**(os.environ if env is None else env), "MANYCC_DIR": self.state}
        )
        os.close(write)
        with os.fdopen(read) as pipe:
            line = pipe.readline().strip()
        if not line:
            raise RuntimeError(f"the node did not start; see {self.log}")
        self.port = int(line)

    def stop(self) -> int:
        """End it in good order; returns its exit code."""
        if self.process is None:
            return 0
        self.process.terminate()
        try:
            code = self.process.wait(START_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process = None
        return code

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Cluster:
    """Some nodes and one client, below one folder."""

    def __init__(
        self,
        folder: str,
        nodes: int = 2,
        jobs: int = 2,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.client = os.path.join(folder, "client")
        self.nodes = [Node(os.path.join(folder, f"node{index}"), jobs, arguments) for index in range(nodes)]
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MANYCC_")},
            "MANYCC_DIR": self.client,
            "MANYCC_RACE": "off",  # a machine that is busy must not decide who does a job
            **(env or {}),
        }

    def __enter__(self) -> Cluster:
        os.makedirs(self.folder, exist_ok=True)
        try:
            for node in self.nodes:
                node.start()
        except BaseException:
            self.close()
            raise
        self.env["MANYCC_HOSTS"] = " ".join(node.host for node in self.nodes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the agent and all nodes."""
        if os.path.isdir(self.client):
            self.cli("agent", "stop", check=False)
        for node in self.nodes:
            node.stop()

    @property
    def launcher(self) -> str:
        """The launcher's path."""
        return os.path.join(BIN, "manycc")

    def cli(self, *arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command line tool as the client."""
        return subprocess.run(
            [os.path.join(BIN, "manycc-cli"), *arguments],
            env=self.env, capture_output=True, text=True, check=check, timeout=120, **options,
        )  # fmt: skip

    def compile(
        self, argv: Sequence[str], cwd: str, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run ``manycc argv`` in ``cwd``; its outputs are captured."""
        options.setdefault("timeout", 120)
        return subprocess.run(
            [self.launcher, *argv],
            cwd=cwd,
            env={**self.env, **(env or {})},
            capture_output=True,
            check=False,
            **options,
        )

    def records(self) -> list[dict[str, Any]]:
        """Every job record so far, oldest first."""
        return list(records.read(os.path.join(self.client, "state", "jobs.jsonl")))

    def agent_pid(self) -> int:
        """The agent's process number; 0 if none runs."""
        try:
            status = json.loads(self.cli("status", "--json", check=False).stdout)
        except ValueError:
            return 0
        return int((status.get("agent") or {}).get("pid") or 0)

    def wait_records(self, count: int, limit_s: float = 20.0) -> list[dict[str, Any]]:
        """The records once there are ``count`` of them (a local job's is written when it ends).

        Raises TimeoutError.
        """
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            found = self.records()
            if len(found) >= count:
                return found
            time.sleep(0.01)
        raise TimeoutError(f"{len(self.records())} records, {count} expected")

    def clear(self) -> None:
        """Forget all state (nothing may be running)."""
        shutil.rmtree(self.folder, ignore_errors=True)
