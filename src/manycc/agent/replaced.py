"""What becomes of files that lie where a compile writes: habits of the compilers that a user can see.

A file that is *written over* keeps its permissions, its owner and its other names; one that is *replaced* does not.
After an error an object of before may be gone.

- GNU as and objcopy replace a file, unless it is empty; gcc's own parts write over it.
- clang replaces what is one of its steps' results, and writes over what is made beside it. To a file
  of -MJ it appends.
- After an error clang removes the result; gcc does where the step that writes it was begun.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Final

from manycc.errors import BackendError
from manycc.job import Job, OutputFile
from manycc.reasons import Reason
from manycc.toolchain import elf

_CLANG_STEPS: Final = (".i", ".ii", ".mi", ".mii", ".bc", ".s")
_CLANG_FAILED: Final = (b"error generated.", b"errors generated.")
_SAVE_TEMPS: Final = ("-save-temps", "--save-temps")


def adapt(job: Job, output: OutputFile) -> None:
    """Make an output's mode what it would be after the compiler wrote it over what is there.

    Raises BackendError(OUTPUT_SPECIAL) if only the compiler itself can do the same to that.
    """
    path = output.path
    try:
        old = os.lstat(path)
    except OSError:
        return
    if not stat.S_ISREG(old.st_mode):
        raise BackendError(Reason.OUTPUT_SPECIAL, path)
    clang = job.toolchain.kind == "clang"
    if clang:
        replaced = path in job.outputs[:1] or path.endswith(_CLANG_STEPS)
        if path in _appended(job):
            raise BackendError(Reason.OUTPUT_SPECIAL, f"{path} is appended to")
    else:
        replaced = output.data.startswith(elf.MAGIC) and old.st_size > 0
    if not replaced:
        if old.st_nlink > 1 or old.st_uid != os.geteuid():
            raise BackendError(Reason.OUTPUT_SPECIAL, f"{path} has other names or another owner")
        output.mode = stat.S_IMODE(old.st_mode)
    if (clang or not replaced) and not os.access(path, os.W_OK):
        raise BackendError(Reason.OUTPUT_SPECIAL, f"{path} is write-protected")


def removed_by_error(job: Job, outputs: Sequence[OutputFile], stderr: bytes) -> str:
    """The old file that a failed compile takes away; "" if none.

    Raises BackendError(REMOTE_ERROR) where only the compiler itself knows: the compile is repeated here.
    """
    written = {output.path for output in outputs}
    old = [path for path in job.outputs if path not in written and os.path.lexists(path)]
    if not old:
        return ""
    main = job.outputs[0]
    unsure = BackendError(Reason.REMOTE_ERROR, f"it failed, and {old[-1]} is there from before")
    if old != [main] or any(word.startswith(_SAVE_TEMPS) for word in job.argv):
        raise unsure
    if job.toolchain.kind == "clang":
        if not stderr.rstrip().endswith(_CLANG_FAILED):  # the driver did not come to compile anything
            raise unsure
    elif "-S" not in job.argv and "-pipe" not in job.argv:
        return ""  # the compiler proper failed, and the assembler was not begun
    if not os.path.isfile(main) or os.path.islink(main) or not os.access(main, os.W_OK):
        raise unsure
    return main


def _appended(job: Job) -> set[str]:
    found: set[str] = set()
    for word, following in zip(job.argv, (*job.argv[1:], ""), strict=True):
        if word.startswith("-MJ"):
            found.add(os.path.realpath(os.path.join(job.cwd, word[3:] or following)))
    return found
