"""The command line that seals a job: bubblewrap around the compiler, prlimit around bubblewrap.

Inside, the job sees its tree at the client's own paths, read-only but for its own folders, a few
devices, a /proc of its own processes, and a private /tmp in memory. There is no network, no other
process, no capability, and nothing of this machine's file system.

The compiler's driver is process 1 of its own process namespace: when it ends, for whatever reason,
the kernel has killed every other process of the job before anyone is told, and the resources they
used are counted.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from manycc.errors import ConfigError
from manycc.node.options import NodeOptions
from manycc.node.staging import DEVICES, Mount

TRIAL_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What was found to work on this machine. ``kind`` is "bubblewrap" or "folder".

    ``why`` says what speaks against bubblewrap, empty if nothing does. ``proc`` is false where a
    container forbids to mount another /proc.
    """

    kind: str
    why: str = ""
    bubblewrap: str = ""
    prlimit: str = ""
    proc: bool = True

    def command(
        self,
        root: str,
        mounts: Sequence[Mount],
        cwd: str,
        argv: Sequence[str],
        options: NodeOptions,
        processes: int,
        *,
        proc: bool = True,
    ) -> list[str]:
        """The whole command line that runs ``argv`` in ``cwd`` within the tree at ``root``.

        ``processes`` bounds those of this user, as the kernel counts them. ``proc``: with a /proc, where that
        can be had; it tells of the machine (processors, memory, mounts), so only those who need it get it.
        """
        line = [*self.limits(options, processes), self.bubblewrap]
        line += ("--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL")
        line += ("--hostname", "manycc", "--ro-bind", root, "/")
        for device in DEVICES:
            line += ("--dev-bind", device, device)
        if proc and self.proc:
            line += ("--proc", "/proc")
        for mount in mounts:
            if mount.kind == "private":
                line += ("--size", str(options.job_output), "--tmpfs", mount.path)
            elif mount.kind == "link":
                line += ("--symlink", mount.source, mount.path)
            else:
                line += ("--bind" if mount.kind == "write" else "--ro-bind", mount.source, mount.path)
        line += ("--chdir", cwd, "--", *argv)
        return line

    def limits(self, options: NodeOptions, processes: int) -> list[str]:
        """The prlimit part of a command line. What this process may not have, a job cannot be given."""
        wanted = (
            ("as", resource.RLIMIT_AS, options.job_memory),
            ("cpu", resource.RLIMIT_CPU, options.job_time),
            ("fsize", resource.RLIMIT_FSIZE, options.job_output),
            ("nproc", resource.RLIMIT_NPROC, processes),
        )
        line = [self.prlimit, "--core=0"]
        for name, number, most in wanted:
            _, hard = resource.getrlimit(number)
            line.append(f"--{name}={most if hard == resource.RLIM_INFINITY else min(most, hard)}")
        return line


async def find_sandbox(options: NodeOptions) -> Sandbox:
    """Try out what works here. Raises ConfigError if a sandbox is required and does not."""
    prlimit = shutil.which("prlimit")
    if prlimit is None:
        raise ConfigError("prlimit is not installed", "it bounds what a job may use", "install util-linux")
    if options.sandbox == "off":
        return Sandbox("folder", "the sandbox is switched off", prlimit=prlimit)
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        why = "bwrap is not installed"
    else:
        why = await _trial(bubblewrap, proc=True)
        if not why:
            return Sandbox("bubblewrap", "", bubblewrap, prlimit)
        if not await _trial(bubblewrap, proc=False):
            return Sandbox("bubblewrap", "", bubblewrap, prlimit, proc=False)
    if options.sandbox == "required":
        raise ConfigError("jobs cannot be sealed on this machine", why, "install bubblewrap, allow user namespaces")
    return Sandbox("folder", why, prlimit=prlimit)


async def _trial(bubblewrap: str, *, proc: bool) -> str:
    """Run a program in a sandbox like a job's; the sentence why that fails, or nothing."""
    line = [bubblewrap, "--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL"]
    line += ["--hostname", "manycc", "--ro-bind", "/", "/", "--dev-bind", "/dev/null", "/dev/null"]
    line += ["--size", "4096", "--tmpfs", "/tmp", *(("--proc", "/proc") if proc else ()), "--", "/bin/sh", "-c", ":"]  # noqa: S108
    try:
        child = await asyncio.create_subprocess_exec(
            *line,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.defpath},
        )
        try:
            async with asyncio.timeout(TRIAL_TIMEOUT_S):
                _, text = await child.communicate()
        except TimeoutError:
            child.kill()
            await child.wait()
            return "bwrap does not come to an end"
    except OSError as error:
        return f"bwrap cannot be run: {error.strerror}"
    if child.returncode == 0:
        return ""
    return text.decode("utf-8", "replace").strip()[:300] or f"bwrap ends with {child.returncode}"
