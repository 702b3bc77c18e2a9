"""What was found out about pairs of compilers: do they make the same bytes under these options?

A verdict is about this machine's compiler, another one that could stand in for it, a language, the options that
choose code, and the options that state defaults; two compilers of one version can differ under a single option,
where one package has a patch. It rests on canaries (``canaries.py``) and names what each of them came to. Verdicts
outlive the agent, in a JSON file; other canaries, or another compiler on either side, ask for new ones.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from manycc.command.drivers import CLANG
from manycc.job import Toolchain
from manycc.toolchain import machines
from manycc.toolchain.canaries import CANARIES, MACROS, NOTICES
from manycc.toolchain.facts import difference, printable

log = logging.getLogger(__name__)

MAX_VERDICTS: Final = 1000
MAX_OPTIONS: Final = 2000
"""Characters of the options that a verdict shows."""
_VERSION: Final = 1
_GENERATION: Final = hashlib.sha256(repr((_VERSION, CANARIES, NOTICES, MACROS)).encode()).hexdigest()
"""Names the set of canaries: what other ones have shown does not count."""
_BASIC: Final = ("family", "version", "triple")
"""The facts that must be equal for canaries to be tried at all: they touch a part of a compiler only."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A node's compiler that could stand in, as the node says. ``host`` is what it runs on; "" if that is not known."""

    fingerprint: str
    label: str
    driver: str
    facts: Mapping[str, str]
    host: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of it. ``refusal`` is empty if all canaries came out the same.

    ``here`` and ``there`` are the compilers' labels, ``evidence`` has the SHA-256 of what each canary came to here.
    ``since`` in seconds since the epoch.
    """

    here: str
    there: str
    language: str
    options: str
    refusal: str
    evidence: Mapping[str, str]
    since: float


def key_of(toolchain: Toolchain, offer: Offer, what: Sequence[str]) -> str:
    """What a verdict is kept by. ``what`` tells all that was compiled for it besides the canaries' text."""
    text = "\0".join((_GENERATION, toolchain.fingerprint, toolchain.driver, offer.fingerprint, *what))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def basic_difference(toolchain: Toolchain, offer: Offer) -> str:
    """Why a compiler is no candidate for standing in, in a sentence; "" if canaries are worth a try."""
    if any(not toolchain.facts.get(name) or toolchain.facts[name] != offer.facts.get(name) for name in _BASIC):
        return difference(toolchain.facts, offer.facts) or "what it makes code for is not known"
    return ""


def beyond_canaries(toolchain: Toolchain, offer: Offer, language: str, options: Sequence[str]) -> str:
    """Why two compilers may make different objects of some sources, whatever canaries come to; "" if they may not.

    GNU as cuts its output into pieces by what a block of memory holds, which depends on the size of its pointers.
    At some of these cuts line information is encoded otherwise: in one of some thirty files.
    """
    if toolchain.kind == CLANG or not (toolchain.host and offer.host):
        return ""  # clang is its own assembler
    if machines.is_wide(toolchain.host) == machines.is_wide(offer.host):
        return ""
    assembler = [part for word in options if word.startswith("-Wa,") for part in word.split(",")]
    debug = [word for word in (*options, *assembler) if word.startswith(("-g", "--g", "--debug"))]
    if language.startswith("assembler") or (debug and debug[-1] != "-g0"):
        return f"line information (-g) of assemblers on {toolchain.host} and on {offer.host} differs now and then"
    return ""


class Verdicts:
    """All that are known; read when made, written when there is a new one."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known = self._load()

    def get(self, key: str) -> Verdict | None:
        """The verdict of that key, if there is one."""
        return self._known.get(key)

    def all(self) -> list[Verdict]:
        """All of them, the oldest first."""
        return list(self._known.values())

    def put(self, key: str, verdict: Verdict) -> None:
        """Keep a verdict; the oldest goes where there are too many."""
        self._known[key] = verdict
        while len(self._known) > MAX_VERDICTS:
            del self._known[next(iter(self._known))]
        text = json.dumps(
            {"generation": _GENERATION, "verdicts": {key: asdict(one) for key, one in self._known.items()}}, indent=1
        )
        temporary = f"{self._path}.new"
        try:
            with open(temporary, "w", encoding="ascii") as file:
                file.write(text)
            os.replace(temporary, self._path)
        except OSError as error:
            log.warning("what was proven will be forgotten when this agent ends: %s: %s", self._path, error.strerror)

    def _load(self) -> dict[str, Verdict]:
        try:
            with open(self._path, encoding="ascii") as file:
                said = json.load(file)
            if said["generation"] != _GENERATION:
                return {}
            return {str(key): _verdict(item) for key, item in said["verdicts"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            log.warning("compilers will be proven again, for %s cannot be read: %s", self._path, error)
            return {}


def new_verdict(
    toolchain: Toolchain, offer: Offer, language: str, options: Sequence[str], refusal: str, evidence: Mapping[str, str]
) -> Verdict:
    """A verdict of now."""
    words = " ".join(options)
    return Verdict(
        toolchain.label, printable(offer.label), language, words[:MAX_OPTIONS], refusal, dict(evidence), time.time()
    )


def _verdict(item: dict[str, Any]) -> Verdict:
    values = {field.name: item[field.name] for field in fields(Verdict)}
    evidence = {str(name): str(digest) for name, digest in values.pop("evidence").items()}
    since = float(values.pop("since"))
    return Verdict(**{name: str(value) for name, value in values.items()}, evidence=evidence, since=since)
