"""What distcc's client does beside compiling, for jobs whose launcher was called as ``distcc``.

Build scripts rely on it: messages and their log file, ``DISTCC_FALLBACK=0`` (never compile a job here that
was to be compiled elsewhere), exit codes. Nothing is said on stdout or stderr about a job that went well.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from manycc.command.trial import is_trial
from manycc.compat.log import ERROR, INFO, WARNING, Log
from manycc.reasons import Kind, Reason
from manycc.wire.launcher import DISTCC, Request, build_note, build_result

EXIT_NO_HOSTS: Final = 116


class Conventions:
    """distcc's conventions for one job."""

    def __init__(self, request: Request, pid: int) -> None:
        self.fallback = request.env.get("DISTCC_FALLBACK", "1") != "0"
        """Whether a job that no host did may be done here."""
        self._cwd = request.cwd
        self._log = Log(request.env, request.cwd, pid, request.umask)

    def compiled(self, record: Mapping[str, Any]) -> bytes:
        """The frames before a host's answer, mostly none."""
        end = f"failed with exit code {record['exit']}" if record["exit"] else "completed ok"
        return self._say(INFO, f"compile {record['src']} on {record['host']} {end}")

    def kept(self, reason: Reason, detail: str, record: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """The frames before "run it yourself", and the answer in its place if the job must not run here."""
        source = str(record.get("src", ""))
        paths = [os.path.join(self._cwd, path) for path in (source, str(record.get("out", "")))]
        if not _meant_to_go(reason) or is_trial(*paths):
            return self._say(INFO, f"running locally: it {reason.sentence}{_behind(detail)}"), b""
        if reason is Reason.NO_HOSTS:
            what = f"{detail or '$DISTCC_HOSTS and the hosts files name no host'}; can't distribute work"
        else:
            what = f"failed to distribute {source}: {reason.sentence}{_behind(detail)}"
        if self.fallback:
            return self._say(WARNING, what if reason is Reason.NO_HOSTS else f"{what}; running locally instead"), b""
        refusal = build_result(EXIT_NO_HOSTS, b"", b"")
        return self._say(ERROR, f"{what}; not run locally either, because DISTCC_FALLBACK is 0"), refusal

    def _say(self, level: str, text: str) -> bytes:
        """The frame with what belongs on stderr, if anything does."""
        shown = self._log.say(level, text)
        return build_note(shown) if shown else b""


def conventions(request: Request, pid: int) -> Conventions | None:
    """distcc's conventions, if the job is one of a launcher that was called by this name."""
    return Conventions(request, pid) if request.flags & DISTCC else None


def _meant_to_go(reason: Reason) -> bool:
    """Whether the job is one that distcc would have sent.

    A compile that failed on a host is repeated here only where a file may have been missing there: distcc
    looks for files here, always.
    """
    return (reason.kind is Kind.FAILED_OVER and reason is not Reason.REMOTE_ERROR) or reason is Reason.NO_HOSTS


def _behind(detail: str) -> str:
    return f" ({detail})" if detail else ""
