"""A late job done here as well: the real compiler with the job's own command, whose outputs go to memory only.

It runs as a verification does (``verify/private.py``): all files are at their places and its output folders are
covered, so no byte can differ from a compile in place, and nothing is touched. If it is over before the host's, its
outputs are placed as an answer's are. Where a machine forbids such namespaces, late jobs are not done here.
"""

from __future__ import annotations

import hashlib

from manycc.agent.prepare import Prepared
from manycc.errors import BackendError
from manycc.job import Outcome, OutputFile
from manycc.reasons import Reason
from manycc.schedule.learned import HERE
from manycc.verify.compare import Observed
from manycc.verify.recompile import NotDone, ProvesNothing, Recompiler
from manycc.verify.sample import Sample
from manycc.wire.launcher import Request

_NOTHING = Observed(0, b"", b"", {})


class Copies:
    """Does jobs here without a trace."""

    def __init__(self, recompiler: Recompiler) -> None:
        self._recompiler = recompiler

    async def run(self, number: int, request: Request, prepared: Prepared) -> Outcome:
        """A job's answer. Cancelling kills the compiler. Raises BackendError if there is none that can be taken."""
        sample = Sample(HERE, number, request, prepared, _NOTHING)
        try:
            seen = await self._recompiler.covered(sample)
        except (NotDone, ProvesNothing, OSError) as error:
            raise BackendError(Reason.OUTPUT_FAILED, str(error)) from error
        if seen.exit_code:
            raise BackendError(Reason.REMOTE_ERROR, f"exit code {seen.exit_code}")  # the host's own word counts
        produced = [
            OutputFile(path, mode, data, hashlib.sha256(data).digest()) for path, (mode, data) in seen.files.items()
        ]
        return Outcome(Reason.LOCAL_SLOT, HERE, 0, seen.stdout, seen.stderr, produced)
