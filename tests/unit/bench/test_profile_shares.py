"""The profile: what a sample counts for, and that a process samples itself while it works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import profile_hotpath
import pytest

LIMIT_S = 60.0
WORK = """
import sys
def work():
    end = 0
    while True:
        end += 1
print("ready", flush=True)
work()
"""


@pytest.mark.parametrize(
    ("stack", "function"),
    [
        (["main (/x/manycc/cli/main.py)", "_run_once (asyncio/base_events.py)"], profile_hotpath.LOOP),
        (["_run (/x/manycc/agent/server.py)", "run (/x/manycc/agent/flow.py)"], "agent/flow: run"),
        (["run (/x/manycc/agent/flow.py)", "look (/x/manycc/inputs/fileview.py)", "stat (os.py)"],
         "inputs/fileview: look"),
    ],
)  # fmt: skip
def test_a_sample_counts_for_the_innermost_function_of_ours(tmp_path: Path, stack: list[str], function: str) -> None:
    path = tmp_path / "samples"
    path.write_text(f"{';'.join(stack)} 3\n")
    groups, functions = profile_hotpath.shares(str(path))
    assert functions == {function: 3}
    assert sum(groups.values()) == 3 and "other" not in groups


def test_a_process_samples_itself_by_its_cpu_time(tmp_path: Path) -> None:
    os.symlink(os.path.join(profile_hotpath.HERE, "profile_sampler.py"), tmp_path / "sitecustomize.py")
    program = tmp_path / "program.py"
    program.write_text(WORK)
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "BENCH_SAMPLES": str(tmp_path / "samples")}
    with subprocess.Popen([sys.executable, str(program), "agent", "serve"], env=env, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            shares: dict[str, int] = {}
            number, end = 0, time.monotonic() + LIMIT_S
            while not any("work" in stack for stack in shares) and time.monotonic() < end:
                process.send_signal(signal.SIGUSR1)
                path = tmp_path / f"samples.{number}"
                while not path.exists() and time.monotonic() < end:
                    time.sleep(0.01)
                number += 1
                for stack, count in profile_hotpath.samples(str(path)):
                    shares[";".join(name for name, _ in stack)] = count
        finally:
            process.kill()
    assert any(stack.endswith("work") for stack in shares), shares
