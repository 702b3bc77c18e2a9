"""What a compile is expected to cost: seconds, peak memory, bytes of its answer; and where it was done last.

Seconds are *reference seconds*: the compile's wall time on a host of speed 1 (``speed.py``). A source that was seen
before costs about what it did; of one that is new the bytes it reads tell something, by what a byte of its language
cost so far. Sources are known by a number made of path and optimisation level, so that a hundred
thousand of them fit into little memory, in the agent and on its disk.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from manycc.job import Job

MAX_SOURCES: Final = 100_000
FIRST_GUESS_S: Final = 1.0
"""For a job of which nothing is known at all."""
LEAST_S: Final = 0.001
MOST_S: Final = 100_000.0
MOST_RSS: Final = 1 << 40
_LEVELS: Final = {"-O2": 1, "-O0": 2, "-O3": 3, "-Os": 4, "-Og": 5, "-O1": 6, "-O": 6, "-Ofast": 3, "-Oz": 4}
_LEVEL_BITS: Final = 7
_KEEP: Final = 0.7
"""How much of what was known stays when a source is seen again."""
_LOG_OUTLIER: Final = math.log(2.5)
"""A time that differs by more counts as if it differed by this much: the host was disturbed."""
_ENTRY: Final = struct.Struct("<QfIIHH")
_LARGE: Final = 1 << 16


class Expected(NamedTuple):
    """What is expected of a job. ``input_bytes`` is only told where it was needed, for a source that is new."""

    seconds: float = FIRST_GUESS_S
    rss: int = 0
    received: int = 0
    place: str = ""
    known: int = -1
    """How often the source was seen; 0: guessed from what others came to; -1: not even that."""
    input_bytes: int = 0
    key: int = 0
    """The source's number."""
    again: bool = False
    """Whether ``place`` has answered this very job already, nothing being changed: it has the result at hand."""


UNKNOWN: Final = Expected()


class _Known:
    __slots__ = ("count", "place", "received", "rss", "seconds")

    def __init__(self, seconds: float, rss: int, received: int, place: int, count: int) -> None:
        self.seconds = seconds
        self.rss = rss
        self.received = received
        self.place = place
        self.count = count


class _Language:
    """What new sources of a language came to: running medians, of logarithms where things vary by factors."""

    __slots__ = ("count", "log_per_byte", "log_rss", "received")

    def __init__(self, count: int = 0, log_per_byte: float = 0.0, log_rss: float = 0.0, received: float = 0.0) -> None:
        self.count = count
        self.log_per_byte = log_per_byte
        self.log_rss = log_rss
        self.received = received

    def learn(self, per_byte: float, rss: int, received: int) -> None:
        apart = math.log(per_byte) - self.log_per_byte
        if not self.count:
            self.log_per_byte, self.received, apart = math.log(per_byte), received, 0.0
        step = max(1 / (self.count + 1), 0.02)
        self.count += 1
        self.log_per_byte += step * _clipped(apart, 1.0)
        self.received += step * (received - self.received)
        if rss:
            apart = math.log(rss) - self.log_rss if self.log_rss else 0.0
            self.log_rss = self.log_rss or math.log(rss)
            # Too much memory promised costs a little waiting, too little may cost the job: lean to the upper side.
            self.log_rss += step * _clipped(apart, 1.0) * (1.5 if apart > 0 else 0.5)


class Predictions:
    """What is known of sources. For one event loop."""

    def __init__(self) -> None:
        self._sources: dict[int, _Known] = {}
        self._places: list[str] = [""]
        self._place_numbers: dict[str, int] = {"": 0}
        self._languages: dict[str, _Language] = {}

    def __len__(self) -> int:
        return len(self._sources)

    def expect(self, job: Job) -> Expected:
        """What a job is expected to cost."""
        key = _key(job)
        known = self._sources.get(key)
        if known is not None:
            place = self._places[known.place]
            return Expected(known.seconds, known.rss, known.received, place, known.count, 0, key)
        size = sum([item.size for item in job.inputs.items])
        for level in range(_LEVEL_BITS + 1):
            known = self._sources.get(key & ~_LEVEL_BITS | level)
            if known is not None:  # at another level it takes another time, but that is a better guess than none
                return Expected(known.seconds, known.rss, known.received, "", 0, size, key)
        language = self._languages.get(_language(job.source))
        if language is None:
            return UNKNOWN._replace(input_bytes=size, key=key)
        seconds = _bounded(math.exp(language.log_per_byte) * max(size, 1))
        return Expected(seconds, int(math.exp(language.log_rss)), int(language.received), "", 0, size, key)

    def peak(self, job: Job) -> int:
        """Bytes of memory that a job is expected to take; 0 where nothing is known."""
        known = self._sources.get(_key(job))
        if known is not None:
            return known.rss
        language = self._languages.get(_language(job.source))
        return int(math.exp(language.log_rss)) if language is not None else 0

    def learn(self, job: Job, expected: Expected, seconds: float, rss: int, received: int, place: str) -> None:
        """A job that was expected to cost this was done in so many reference seconds; 0: nothing is known of them."""
        key = expected.key
        number = self._place(place)
        known = self._sources.pop(key, None)
        rss = min(rss, MOST_RSS)
        if known is None:
            if not seconds:
                return
            seconds = _bounded(seconds)
            known = _Known(seconds, rss, received, number, 1)
            if expected.input_bytes:
                language = self._languages.setdefault(_language(job.source), _Language())
                language.learn(seconds / expected.input_bytes, rss, received)
        else:
            known.place = number
            if seconds:
                apart = math.log(_bounded(seconds) / known.seconds)
                step = 0.5 if known.count == 1 else 1 - _KEEP
                if known.count > 2:
                    apart = _clipped(apart, _LOG_OUTLIER)
                known.seconds = _bounded(known.seconds * math.exp(apart * step))
                known.count = min(known.count + 1, 1000)
                known.received = received
            if rss:  # quickly up, slowly down: the next one may take as much again
                known.rss = rss if rss > known.rss else int(known.rss * _KEEP + rss * (1 - _KEEP))
        self._sources[key] = known
        if len(self._sources) > MAX_SOURCES:
            for old in list(self._sources)[: MAX_SOURCES // 4]:  # those seen the longest ago
                del self._sources[old]

    def doubt_memory(self, job: Job) -> None:
        """No host had as much memory as a job is expected to take: expect a little less next time."""
        known = self._sources.get(_key(job))
        if known is not None:
            known.rss = int(known.rss * 0.9)

    def _place(self, name: str) -> int:
        number = self._place_numbers.get(name)
        if number is None:
            if len(self._places) >= _LARGE:
                return 0
            number = self._place_numbers[name] = len(self._places)
            self._places.append(name)
        return number

    # -- kept from run to run

    def dump(self) -> dict[str, Any]:
        """All of it, for msgpack."""
        return {
            "places": self._places,
            "languages": {
                name: [one.count, one.log_per_byte, one.log_rss, one.received] for name, one in self._languages.items()
            },
            "sources": b"".join(
                [
                    _ENTRY.pack(key, one.seconds, one.rss >> 10, one.received & 0xFFFFFFFF, one.place, one.count)
                    for key, one in self._sources.items()
                ]
            ),
        }

    @classmethod
    def load(cls, data: dict[str, Any]) -> Predictions:
        """What ``dump`` gave. Raises ValueError, KeyError, TypeError or struct.error for anything else."""
        made = cls()
        for name in list(data["places"])[1:_LARGE]:
            made._place(str(name))
        for name, (count, *numbers) in list(data["languages"].items())[:1000]:
            made._languages[str(name)] = _Language(int(count), *(_finite(number) for number in numbers))
        for key, seconds, kib, received, place, count in _entries(data["sources"]):
            if place >= len(made._places):
                raise ValueError("a place that is not listed")
            made._sources[key] = _Known(_bounded(_finite(seconds)), kib << 10, received, place, count)
        return made


def _entries(data: bytes) -> Iterator[tuple[int, float, int, int, int, int]]:
    yield from _ENTRY.iter_unpack(data[: MAX_SOURCES * _ENTRY.size])


def _finite(number: object) -> float:
    value = float(number)  # type: ignore[arg-type]
    if not math.isfinite(value) or abs(value) > 1e12:
        raise ValueError(f"{value} is no sensible number")
    return value


def _bounded(seconds: float) -> float:
    return min(max(seconds, LEAST_S), MOST_S)


def _clipped(value: float, most: float) -> float:
    return max(-most, min(most, value))


def _key(job: Job) -> int:
    """A source's number. Its last bits are for the last -O option: what of a command changes the time most."""
    level = 0
    for word in reversed(job.argv):
        if word[:2] == "-O":
            level = _LEVELS.get(word, _LEVEL_BITS)
            break
    digest = blake2b(job.source.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little") & ~_LEVEL_BITS | level


def _language(source: str) -> str:
    return source.rpartition(".")[2][:20]
