"""How quick hosts are, learned from what they did.

A host's speed is the reference seconds it compiles in one second. Only ratios between hosts can be seen, so the
mean of their logarithms is held at zero: neither speeds nor predictions drift. Each answer moves its host's speed
by as much as it is worth (a scalar Kalman filter over the logarithm): much if the host is new and the source well
known, little if the job's cost was only guessed, and never further than noise explains.

What a job takes beside its compile (transfer, staging, latency) is learned apart: a floor that nearly
every job pays, and a pace for the bytes of its answer.
"""

from __future__ import annotations

import math
from typing import Any, Final

MAX_HOSTS: Final = 4096
_FIRST_VARIANCE: Final = 0.36
_LEAST_VARIANCE: Final = 0.0004
_DRIFT: Final = 0.0004
"""How much a host may have changed from one job to the next (variance): its owner came, or it got warm."""
_NOISE_KNOWN: Final = 0.04
_NOISE_GUESSED: Final = 2.0
_GUESSES: Final = 25
"""Answers over which it is averaged by how much guesses are wrong."""
_MOST_COMMON: Final = 4.0
_MOST_LOG: Final = math.log(1000)
_GAUGE: Final = 0.02
"""How far the mean may be off before all are moved."""
_FORGET_S: Final = 600.0
"""One that was found slow, and had nothing to do since, is thought better of within this time: it may be idle now."""
_MOST_OVERHEAD_S: Final = 60.0


class Speed:
    """One host's. ``factor`` is the speed; the rest is how it is known. ``samples``: jobs it was learned from."""

    __slots__ = ("factor", "floor_s", "log", "pace", "samples", "seen", "variance")

    def __init__(self) -> None:
        self.factor = 1.0
        self.log = 0.0
        self.variance = _FIRST_VARIANCE
        self.samples = 0
        self.floor_s = 0.0
        self.pace = 0.0
        self.seen = -math.inf

    def now(self, time: float) -> float:
        """The speed to reckon with, in ``loop.time()``."""
        if self.factor >= 1.0 or self.seen == -math.inf:
            return self.factor
        return min(1.0, self.factor * math.exp(min(0.7, max(0.0, time - self.seen - 30.0) / _FORGET_S)))

    def doubt(self) -> float:
        """It may well be so many times as quick, or slow."""
        return math.exp(math.sqrt(self.variance))

    def overhead(self, received: int) -> float:
        """Seconds that a job with an answer of so many bytes takes beside its compile."""
        return self.floor_s + self.pace * received

    def learn_overhead(self, seconds: float, received: int) -> None:
        seconds = min(seconds, _MOST_OVERHEAD_S)
        if not self.floor_s:
            self.floor_s = seconds
        else:
            # Near the lower end of what is seen: uploads of what was not there yet are nobody's usual cost.
            self.floor_s += (0.3 if seconds < self.floor_s else 0.02) * (seconds - self.floor_s)
        if received >= 4096:
            pace = max(0.0, seconds - self.floor_s) / received
            self.pace += 0.1 * (min(pace, 4 * self.pace + 1e-7) - self.pace)


class Speeds:
    """The speeds of all hosts, by name."""

    def __init__(self) -> None:
        self._hosts: dict[str, Speed] = {}
        self._guesses = 0
        self._common = 0.0
        self._sum = 0.0
        self._sampled = 0

    def of(self, name: str) -> Speed:
        """A host's speed, to be kept and looked at: it is one and the same object for ever."""
        speed = self._hosts.get(name)
        if speed is None:
            if len(self._hosts) >= MAX_HOSTS:
                self._drop()
            speed = self._hosts[name] = Speed()
        return speed

    def learn(self, speed: Speed, seconds: float, wall: float, known: int, time: float) -> None:
        """A job that was expected to cost so many reference seconds took the compiler ``wall`` seconds there.

        ``known`` as ``Expected`` has it.
        """
        if wall <= 0 or known < 0:
            return
        noise = _NOISE_KNOWN * (1 + 2 / known) if known else _NOISE_GUESSED
        apart = math.log(seconds / wall) - speed.log
        if not known:
            # Guesses of one build are wrong alike. What they have in common is no host's: whoever answered first
            # would be taken for slow.
            self._guesses = min(self._guesses + 1, _GUESSES)
            self._common += (max(-_MOST_COMMON, min(_MOST_COMMON, apart)) - self._common) / self._guesses
            apart -= self._common
        spread = speed.variance + noise
        most = 2.5 * math.sqrt(spread)
        gain = speed.variance / spread
        before = speed.log if speed.samples else None
        speed.log = max(-_MOST_LOG, min(_MOST_LOG, speed.log + gain * max(-most, min(most, apart))))
        speed.variance = max(_LEAST_VARIANCE, (1 - gain) * speed.variance + _DRIFT)
        speed.samples += 1
        speed.seen = time
        speed.factor = math.exp(speed.log)
        self._sum += speed.log - (before or 0.0)
        self._sampled += before is None
        if abs(self._sum) > _GAUGE * self._sampled:
            self._center()

    def _center(self) -> None:
        """Have the mean at zero again."""
        sampled = [speed for speed in self._hosts.values() if speed.samples]
        mean = sum(speed.log for speed in sampled) / max(1, len(sampled))
        for speed in sampled:
            speed.log -= mean
            speed.factor = math.exp(speed.log)
        self._sum, self._sampled = 0.0, len(sampled)

    def _drop(self) -> None:
        """Forget a quarter, the longest unseen; who holds one of them goes on with it alone."""
        for name in sorted(self._hosts, key=lambda name: self._hosts[name].seen)[: MAX_HOSTS // 4]:
            del self._hosts[name]
        self._center()

    def dump(self) -> dict[str, Any]:
        """All of them, for msgpack."""
        return {
            name: [speed.log, speed.variance, speed.samples, speed.floor_s, speed.pace]
            for name, speed in self._hosts.items()
            if speed.samples
        }

    @classmethod
    def load(cls, data: dict[str, Any]) -> Speeds:
        """What ``dump`` gave. Raises ValueError or TypeError for anything else."""
        made = cls()
        for name, (log, variance, samples, floor_s, pace) in list(data.items())[:MAX_HOSTS]:
            numbers = [float(number) for number in (log, variance, floor_s, pace)]
            if not all(map(math.isfinite, numbers)) or abs(numbers[0]) > _MOST_LOG or min(numbers[1:]) < 0:
                raise ValueError("no sensible speed")
            speed = made.of(str(name))
            speed.log, speed.variance, speed.floor_s, speed.pace = numbers
            # It may have changed since: what is seen now counts for more than what was.
            speed.variance = min(_FIRST_VARIANCE, speed.variance + 0.02)
            speed.samples = max(1, int(samples))
        made._center()
        return made
