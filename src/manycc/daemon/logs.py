"""Where a node's log goes, how its lines look, and opening its file anew after it was put aside."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import stat
from typing import Final

from manycc.errors import ManyccError

SYSLOG: Final = "/dev/log"
NOTICE: Final = logging.INFO + 5
"""Between the lines about jobs and the warnings."""
_log: Final = logging.getLogger("manycc.node")
logging.addLevelName(NOTICE, "NOTICE")


class Log:
    """The log of this process."""

    def __init__(self, form: logging.Formatter) -> None:
        """``form`` is how its lines look."""
        self._form = form
        self._handler: logging.Handler | None = None
        # None of these is shown, and finding them out costs as much as the rest of a line.
        logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False

    def open(self, path: str, level: int) -> None:
        """Write there from now on: a file, the system's log (its socket), stderr (empty).

        Opening the same file again follows a rename. Raises ManyccError if it cannot be written; then all
        stays as it was.
        """
        try:
            if not path:
                handler: logging.Handler = logging.StreamHandler()
            elif os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
                handler = logging.handlers.SysLogHandler(path, logging.handlers.SysLogHandler.LOG_DAEMON)
            else:
                handler = logging.FileHandler(path, errors="backslashreplace")
        except OSError as error:
            raise ManyccError(f"the log file {path} cannot be written", error.strerror or "") from error
        handler.setFormatter(self._form)
        old, self._handler = self._handler, handler
        _log.addHandler(handler)
        _log.setLevel(level)
        _log.propagate = False
        if old is not None:
            _log.removeHandler(old)
            old.close()

    def give(self, uid: int, gid: int) -> None:
        """Let a user own the file: the node becomes that user, and will open the file anew."""
        if isinstance(self._handler, logging.FileHandler):
            with contextlib.suppress(OSError):
                stream = self._handler.stream
                if stream is not None and stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    os.fchown(stream.fileno(), uid, gid)

    def close(self) -> None:
        """Write nothing more."""
        if self._handler is not None:
            _log.removeHandler(self._handler)
            self._handler.close()
            self._handler = None


def plain_form() -> logging.Formatter:
    """A node's own lines: time, level, text."""
    return logging.Formatter("%(asctime)s %(levelname)s %(message)s")


class DistccForm(logging.Formatter):
    """Lines as distccd writes them: ``distccd[PID] (function) SEVERITY: text``."""

    _NAMES: Final = {logging.CRITICAL: "CRITICAL! ", logging.ERROR: "ERROR: ", logging.WARNING: "Warning: "}

    def formatMessage(self, record: logging.LogRecord) -> str:
        name = self._NAMES.get(record.levelno, "")
        return f"distccd[{os.getpid()}] ({record.funcName}) {name}{record.message}"
