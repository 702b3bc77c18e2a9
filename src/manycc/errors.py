"""Every exception that crosses a module boundary, in one tree.

::

    ManyccError                      what happened, why, what to do
    ├── ConfigError                  a host list, a file or a flag that cannot be read
    │   └── ListenError              an address or port that cannot be listened on
    ├── CompilerError                the named compiler cannot be probed or is no compiler
    ├── ToolchainError               a toolchain cannot be had, added or removed
    ├── StoreError                   the content store cannot do what was asked
    │   ├── StoreFull                no room on the disk or within the bound
    │   └── DigestMismatch           bytes that are not what their name says
    ├── WireError                    bytes from a peer that break the protocol or a bound
    ├── NotDistributable             this job must run where it was asked for (carries a Reason)
    └── BackendError                 a backend could not do a job (carries a Reason)
        ├── BackendGone              connection lost: the backend is unusable until it answers again
        ├── BackendRefused           it answered with a sentence: not this job, or not now
        └── InputsChanged            an input changed between its digest and its upload

``NotDistributable`` and ``BackendError`` never reach a user as errors: each ends in the job being
done elsewhere or locally, with the reason in the job's record.
"""

from __future__ import annotations

from manycc.reasons import Reason


class ManyccError(Exception):
    """An error that is told to a person.

    ``what`` happened, ``why``, and ``hint``: what to do about it. Any of the last two may be empty.
    """

    def __init__(self, what: str, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        text = self.what
        if self.why:
            text += f": {self.why}"
        if self.hint:
            text += f" ({self.hint})"
        return text


def shown(text: str) -> str:
    """What somebody wrote, quoted for a sentence, and cut off where it is too long for one."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


class ConfigError(ManyccError):
    """A setting that cannot be used as it stands."""


class ListenError(ConfigError):
    """An address or a port that cannot be listened on."""


class CompilerError(ManyccError):
    """A compiler that cannot be probed, or a file that is no compiler."""


class ToolchainError(ManyccError):
    """A toolchain that cannot be had, added or removed; what was begun is undone."""


class StoreError(ManyccError):
    """The content store cannot do what was asked of it."""


class StoreFull(StoreError):
    """No room for the bytes, on the disk or within the store's bound."""


class DigestMismatch(StoreError):
    """Bytes that do not have the digest they were named by."""


class WireError(ManyccError):
    """Bytes from a peer that break the protocol or one of its bounds."""


class NotDistributable(ManyccError):
    """The job must run on the machine where it was asked for."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason.sentence, detail)
        self.reason = reason
        self.detail = detail


class BackendError(ManyccError):
    """A backend could not do a job; the job goes elsewhere."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason.sentence, detail)
        self.reason = reason
        self.detail = detail


class BackendGone(BackendError):
    """The connection is lost; the backend is unusable until it answers again."""


class BackendRefused(BackendError):
    """The backend answered, and its answer was no."""


class InputsChanged(BackendError):
    """An input changed between its digest and its upload; the inputs must be collected again."""
