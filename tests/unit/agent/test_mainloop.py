"""A loop that ends although programs are being started in it."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, sys
from manycc import mainloop

async def start():
    process = await asyncio.create_subprocess_exec("sleep", "60", stdout=asyncio.subprocess.PIPE)
    try:
        await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

async def main(turns):
    task = asyncio.ensure_future(start())
    for _ in range(turns):
        await asyncio.sleep(0)
    del task
    return 7

sys.exit(mainloop.run(main(int(sys.argv[1]))))
"""


@pytest.mark.parametrize("turns", range(8))
def test_it_ends(turns: int) -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM, str(turns)], timeout=30, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (7, "")
