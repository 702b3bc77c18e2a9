"""Compiling a sampled job again, with the real local compiler, without a trace (``verify/private.py``)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

import msgpack

from manycc.command.outputs import NULL
from manycc.errors import ManyccError
from manycc.verify.compare import Observed
from manycc.verify.sample import Sample
from manycc.wire.launcher import STDERR_TTY

log = logging.getLogger(__name__)

TIME_S: Final = 1800.0
"""A compile that takes longer, at the lowest priority there is, is given up."""

_OF_THIS_MACHINE: Final = (
    b"No space left on device", b"Read-only file system", b"Cannot allocate memory", b"out of memory",
    b"virtual memory exhausted", b"Killed", b"Too many open files", b"Resource temporarily unavailable",
)  # fmt: skip
"""What compilers say of faults that tell nothing about the job."""


class NotDone(ManyccError):
    """A job that cannot be compiled here again without a trace."""


class ProvesNothing(ManyccError):
    """A job that was compiled here again, in vain."""


class Recompiler:
    """Compiles samples again, in the folder ``scratch``, which is emptied when this is made."""

    def __init__(self, scratch: str) -> None:
        self._scratch = scratch
        self._numbers = itertools.count(1)
        self._forbidden = ""
        if os.path.lexists(scratch):
            shutil.rmtree(scratch, ignore_errors=True)

    async def run(self, sample: Sample, *, patient: bool) -> Observed:
        """What the job does here. ``patient``: takes nothing but time that nobody else wants.

        Cancelling kills the compiler. Raises NotDone, ProvesNothing.
        """
        os.makedirs(self._scratch, mode=0o700, exist_ok=True)
        if not self._forbidden:
            spec = self._specification(sample, patient)
            result = await _ask(spec)
            if "unable" not in result:
                return _observed(result, sample, {})
            why = str(result["unable"])
            if result["forbidden"]:
                self._forbidden = why
                log.warning("no job can be compiled again in a namespace of its own: %s", why)
            return await self._renamed(sample, patient, why)
        return await self._renamed(sample, patient, self._forbidden)

    async def covered(self, sample: Sample) -> Observed:
        """What the job does here, as ``run`` says, in a namespace or not at all, and in haste."""
        if self._forbidden:
            raise NotDone("no namespace can be had", self._forbidden)
        os.makedirs(self._scratch, mode=0o700, exist_ok=True)
        result = await _ask(self._specification(sample, False))
        if "unable" in result:
            if result["forbidden"]:
                self._forbidden = str(result["unable"])
            raise NotDone("it could not be run", str(result["unable"]))
        return _observed(result, sample, {})

    async def _renamed(self, sample: Sample, patient: bool, why: str) -> Observed:
        """Without a namespace: the same, but for the output's name. Another one each time: whoever compares
        two runs sees whether the bytes depend on it."""
        output = _only_output(sample)
        folder = os.path.join(self._scratch, f"{next(self._numbers)}")
        place = os.path.join(folder, os.path.basename(output))
        argv = output and _with_output(sample.prepared.command.argv, sample.prepared.command.output, place)
        if not argv:
            raise NotDone("it writes more than one file", why)
        os.makedirs(folder, mode=0o700)
        try:
            spec = {**self._specification(sample, patient), "argv": argv, "output": place, "scratch": folder}
            result = await _ask(spec)
            if "unable" in result:
                raise NotDone("it could not be run", str(result["unable"]))
            return _observed(result, sample, {place: output})
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _specification(self, sample: Sample, patient: bool) -> dict[str, Any]:
        request, job = sample.request, sample.prepared.job
        read = {item.path for item in job.inputs.items}
        env = dict(request.env)
        env |= {name: value for name, value in job.env if name == "COLUMNS"}  # gcc would ask the caller's stdin
        if job.inputs.volatile:  # the time of day was told to the node by this variable
            env |= {name: value for name, value in job.env if name == "SOURCE_DATE_EPOCH"}
        return {
            "argv": request.argv,
            "compiler": request.compiler,
            "cwd": request.cwd,
            "env": env,
            "umask": request.umask,
            "columns": request.columns if request.flags & STDERR_TTY else None,
            "scratch": self._scratch,
            "folders": job.folders,
            "hide": sorted({*job.outputs, *sample.remote.files} - read - {NULL}),
            "output": "",
            "patient": patient,
        }


async def _ask(spec: dict[str, Any]) -> dict[str, Any]:
    """Run the helper. Raises ProvesNothing if it does not come to an end, or dies."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "manycc.verify.private",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(TIME_S):
            out, said = await process.communicate(msgpack.packb(spec, unicode_errors="surrogateescape"))
    except TimeoutError:
        raise ProvesNothing("compiling it here took too long", f"{TIME_S:.0f} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode != 0:
        raise ProvesNothing("it could not be compiled here", said.decode(errors="replace")[-300:].strip())
    result: dict[str, Any] = msgpack.unpackb(out, unicode_errors="surrogateescape")
    return result


def _observed(result: dict[str, Any], sample: Sample, names: dict[str, str]) -> Observed:
    """Raises ProvesNothing if the compile failed for a reason of this machine's."""
    code, stderr = int(result["code"]), bytes(result["stderr"])
    failed = code != 0 and (code, stderr) != (sample.remote.exit_code, sample.remote.stderr)
    if code < 0:
        raise ProvesNothing("the compiler was killed here", signal.strsignal(-code) or str(-code))
    if failed and (result["full"] or any(words in stderr for words in _OF_THIS_MACHINE)):
        raise ProvesNothing("the compiler failed here", stderr.decode(errors="replace")[-300:].strip())
    files = {names.get(path, path): (mode, bytes(data)) for path, mode, data in result["files"]}
    return Observed(code, bytes(result["stdout"]), stderr, files)


def _only_output(sample: Sample) -> str:
    """The path of the one file that the job writes; "" if it may write others."""
    job = sample.prepared.job
    if len(job.outputs) != 1 or job.stems or not sample.remote.files.keys() <= {*job.outputs}:
        return ""
    return job.outputs[0]


def _with_output(argv: Sequence[str], output: str, place: str) -> list[str]:
    """The command with another main output; empty if it is not seen where it names it."""
    words = list(argv)
    named = [index for index, word in enumerate(words) if word.startswith("-o") and word in ("-o", f"-o{output}")]
    if not named:
        return [*words, "-o", place] if not any(word.startswith("-o") for word in words) else []
    if len(named) > 1:
        return []
    index = named[0]
    if words[index] == "-o":
        return [*words[:index], "-o", place, *words[index + 2 :]] if words[index + 1 : index + 2] == [output] else []
    return [*words[:index], f"-o{place}", *words[index + 1 :]]
