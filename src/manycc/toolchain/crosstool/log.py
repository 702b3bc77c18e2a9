"""crosstool-NG's output as a log that can be read in CI: each line with its time, each step with what it took."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable
from typing import Final

MAX_LINE: Final = 400
TAIL: Final = 25
_MAX_READ: Final = 1 << 20

_level: Final = re.compile(r"^\[([A-Z]+) *\] *")
_saving: Final = re.compile(r"Saving state to restart at step '(\w+)'")
_failed: Final = re.compile(r">> +Build failed in step '(.*)'")
_spinner: Final = re.compile(r"\[\d+:\d+\] [/\\|-] ?")
_rule: Final = re.compile(r"[=-]{10,}")


class Log:
    """Takes the output line by line, and says it on with the time since the beginning.

    ``step`` is the one under way, as crosstool-NG's list of steps calls it, ``failed_in`` the words in which it told
    the failure. ``reached`` is called with a step once all is put aside that is needed to begin with it.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        reached: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.step = ""
        self.failed_in = ""
        self.tail: deque[str] = deque(maxlen=TAIL)
        self._say = say
        self._reached = reached
        self._clock = clock
        self._began = self._step_began = self._ended = clock()
        self._saving = ""
        self._times: list[tuple[str, float]] = []

    def line(self, raw: str) -> None:
        """One line, as it came; of what overwrote itself on a terminal, the last."""
        text = _spinner.sub("", raw.rstrip().rpartition("\r")[2])
        told = _level.sub("", text).strip()
        if not told or _rule.fullmatch(told):
            return
        if saving := _saving.search(told):
            self._next(saving[1])
            return
        level = _level.match(text)
        if self._saving and level and level[1] == "ERROR":
            self._saving = ""
        if self._saving:
            # What it says next, it says after all was put aside.
            self._put_aside()
        if failed := _failed.search(told):
            self.failed_in = self.failed_in or failed[1]
        mark = f"{level[1]}: " if level and level[1] in ("ERROR", "WARN") else ""
        told = told if len(told) <= MAX_LINE else told[:MAX_LINE] + "…"
        self.tail.append(told)
        self._say(f"{self._time(self._clock() - self._began)}  {mark}{told}")

    def quiet(self) -> None:
        """Called where nothing was said for long: CI takes a silent job for one that hangs."""
        now = self._clock()
        where = f"in step {self.step} for {self._time(now - self._step_began)}" if self.step else "at work"
        self._say(f"{self._time(now - self._began)}  … still {where}")

    def end(self) -> None:
        """The output has ended."""
        self._ended = self._clock()
        if self.step:
            self._times.append((self.step, self._ended - self._step_began))

    def summary(self) -> list[str]:
        """What each step took, and all of them."""
        steps = [f"  {self._time(took)}  {step}" for step, took in self._times if took >= 1]
        return [*steps, f"  {self._time(self._ended - self._began)}  in all"]

    def _next(self, step: str) -> None:
        if self._saving:
            self._put_aside()
        self._saving = step

    def _put_aside(self) -> None:
        now = self._clock()
        if self.step:
            self._times.append((self.step, now - self._step_began))
        self.step, self._saving, self._step_began = self._saving, "", now
        self._say(f"{self._time(now - self._began)}  == step {self.step}")
        if self._reached is not None:
            self._reached(self.step)

    @staticmethod
    def _time(seconds: float) -> str:
        whole = int(seconds)
        return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def shown_from(path: str) -> list[str]:
    """Of crosstool-NG's own log, the lines around the first error, without those for its makers."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _MAX_READ))
            lines = file.read(_MAX_READ).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    lines = [line[: MAX_LINE + 8] for line in lines if not line.startswith("[DEBUG]")]
    first = next((index for index, line in enumerate(lines) if line.startswith("[ERROR]")), max(0, len(lines) - TAIL))
    begin = max(0, first - TAIL // 2)
    return [_level.sub("", line).strip() for line in lines[begin : begin + TAIL]]
