"""The systems that are compared: how each is started and told of its helpers, by its own documentation.

A system's *ways* are builds one after the other in one session: the first finds what the system is like when it is
new, the later ones what the earlier have left.
"""

from __future__ import annotations

import glob
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from manycc.monitor.records import Tail

from .hosts import CLIENT, STATE, Lab
from .network import MASK

_BIN: Final = os.path.dirname(sys.executable)
MANYCC: Final = os.path.join(_BIN, "manycc")
_CLI: Final = os.path.join(_BIN, "manycc-cli")
_STOCK_PORT: Final = 3632
_OUR_PORT: Final = 3633


class System:
    """Builds on the client alone, with nothing before the compiler."""

    name = "local"
    ways: Sequence[str] = ("local",)
    launcher = ""
    helped = False
    """Whether helpers compile: if so, ``make`` is told of their slots."""
    needs: Sequence[str] = ()
    """Programs."""
    cannot = ""
    """Why its objects may differ by design; nothing if they may not."""

    def start(self, lab: Lab) -> None:
        """Start its servers."""

    def ready(self, lab: Lab, way: str) -> None:
        """What is done, unmeasured, before a build one of its ways."""

    def env(self, _lab: Lab) -> Mapping[str, str]:
        """What it is told by the environment."""
        return {}

    def told(self, _lab: Lab) -> dict[str, Any]:
        """What it says of the build that has just ended."""
        return {}

    def end(self) -> None:
        """The session is over, however it went."""


class Distcc(System):
    """Debian's distcc; ``options`` stand behind each host."""

    launcher = "distcc"
    helped = True
    needs = ("distcc", "distccd")
    cannot = "preprocesses here: columns in what -g writes, and code of -O0, may be other ones"
    _DIR = f"{STATE}/distcc"
    _LOG = f"{STATE}/distcc.log"

    def __init__(self, name: str, options: str) -> None:
        self.name = name
        self.ways = (name,)
        self._options = options

    def start(self, lab: Lab) -> None:
        """A daemon on each helper; the client's folder, which must be there."""
        os.makedirs(lab.path(CLIENT, self._DIR))
        servers = {}
        for name in lab.setup.helper_names:
            words = ["/usr/bin/distccd", "--daemon", "--no-detach", "--allow", MASK, "--user", "nobody",
                     "--port", str(_STOCK_PORT), "--jobs", str(lab.setup.slots),
                     "--log-file", f"{STATE}/distccd.log"]  # fmt: skip
            servers[name] = lab.start(name, words)
        for name, server in servers.items():
            lab.wait(server, partial(lab.answers, name, _STOCK_PORT))

    def env(self, lab: Lab) -> Mapping[str, str]:
        """Hosts by address; this machine first if it is to compile as well, as the manual has it."""
        setup = lab.setup
        hosts = [f"localhost/{setup.own_slots}"] * bool(setup.own_slots)
        hosts += [f"{lab.address(name)}:{_STOCK_PORT}/{setup.slots}{self._options}" for name in setup.helper_names]
        return {"DISTCC_HOSTS": " ".join(hosts), "DISTCC_DIR": self._DIR, "DISTCC_LOG": self._LOG}

    def told(self, lab: Lab) -> dict[str, Any]:
        """How many jobs it did here because a helper failed."""
        return {"fell back": lab.said(CLIENT, self._LOG, "failed to distribute")}


class Icecream(System):
    """Debian's icecream: a scheduler on the first helper, a daemon everywhere. It packs and sends the compiler."""

    name = "icecream"
    ways = ("icecream, cold", "icecream, warm")
    launcher = "icecc"
    helped = True
    needs = ("icecc", "iceccd", "icecc-scheduler")
    cannot = "with -g: adds options of its own, which the debug information names"
    _LOG = f"{STATE}/iceccd.log"

    def __init__(self) -> None:
        self._before = 0

    def start(self, lab: Lab) -> None:
        """Scheduler and daemons. The client's takes no jobs (-m 0) unless it has slots of its own."""
        setup, log = lab.setup, f"{STATE}/scheduler.log"
        first = setup.helper_names[0]
        words = ["/usr/sbin/icecc-scheduler", "-n", "lab", "--persistent-client-connection", "-vv", "-l", log]
        # Whoever connects to it and says nothing holds it up: it is not tried, but its log is read.
        lab.wait(lab.start(first, words), lambda: lab.said(first, log, "scheduler ready") > 0)
        servers = {}
        for name, slots in {**dict.fromkeys(setup.helper_names, setup.slots), CLIENT: setup.own_slots}.items():
            words = ["/usr/sbin/iceccd", "-n", "lab", "-s", lab.address(first), "-N", name, "-m", str(slots), "-vv",
                     "-b", f"{STATE}/envs", "-l", self._LOG] + ["--no-remote"] * (name == CLIENT)  # fmt: skip
            # It gives way to what else the machine does, and must not take other hosts' work for that.
            servers[name] = lab.start(name, lab.vitals(name).command(words))
        for name, server in servers.items():
            lab.wait(server, partial(lab.said, name, self._LOG, "Connected to scheduler"))

    def ready(self, lab: Lab, way: str) -> None:
        """Remember how many jobs helpers did before."""
        self._before = self._done(lab)

    def told(self, lab: Lab) -> dict[str, Any]:
        """How many jobs helpers did."""
        return {"remote": self._done(lab) - self._before}

    def _done(self, lab: Lab) -> int:
        return sum(lab.said(name, self._LOG, "Remote compilation completed") for name in lab.setup.helper_names)


class Ccache(System):
    """Debian's ccache, as it is."""

    name = "ccache"
    ways = ("ccache, empty", "ccache, full")
    launcher = "ccache"
    needs = ("ccache",)

    def env(self, _lab: Lab) -> Mapping[str, str]:
        """Its cache is the host's own."""
        return {"CCACHE_DIR": f"{STATE}/ccache"}


class Manycc(System):
    """This tree's manycc. Warm: everyone knows everyone and the sources, but no result is cached."""

    name = "manycc"
    ways = ("manycc, cold", "manycc, warm", "manycc, cached")
    launcher = MANYCC
    helped = True
    needs = ("bwrap",)
    _DIR = f"{STATE}/manycc"

    def __init__(self) -> None:
        self._tail: Tail | None = None

    def start(self, lab: Lab) -> None:
        """A node on each helper. The agent starts by itself, within the first build."""
        servers = {}
        for name in lab.setup.helper_names:
            words = [_CLI, "node", "--no-config", "--listen", lab.address(name), "--port", str(_OUR_PORT),
                     "--allow", MASK, "--jobs", str(lab.setup.slots), "--log-file", f"{STATE}/node.log"]  # fmt: skip
            servers[name] = lab.start(name, words, {"MANYCC_DIR": self._DIR})
        for name, server in servers.items():
            lab.wait(server, partial(lab.answers, name, _OUR_PORT))

    def ready(self, lab: Lab, way: str) -> None:
        """Warm: take the results out of the nodes' stores."""
        if way == "manycc, warm":
            for name in lab.setup.helper_names:
                folder = glob.escape(lab.path(name, self._DIR))
                for path in glob.glob(os.path.join(folder, "**", "actions", "*", "*"), recursive=True):
                    os.unlink(path)
        self.end()
        self._tail = Tail(os.path.join(lab.path(CLIENT, self._DIR), "state", "jobs.jsonl"))
        self._tail.poll()

    def env(self, lab: Lab) -> Mapping[str, str]:
        """Hosts by address; this machine too if it is to compile as well."""
        setup = lab.setup
        hosts = [f"{lab.address(name)}:{_OUR_PORT}/{setup.slots}" for name in setup.helper_names]
        hosts += [f"localhost/{setup.own_slots}"] * bool(setup.own_slots)
        return {"MANYCC_HOSTS": " ".join(hosts), "MANYCC_DIR": self._DIR}

    def told(self, lab: Lab) -> dict[str, Any]:
        """How many jobs ended for each reason."""
        assert self._tail is not None
        return dict(Counter(str(record["reason"]) for record in self._tail.poll()).most_common())

    def end(self) -> None:
        """Look no longer for records."""
        if self._tail is not None:
            self._tail.close()
        self._tail = None


def all_systems() -> dict[str, System]:
    """Every system by its name, in the order of the table."""
    systems = (System(), Distcc("distcc", ""), Distcc("distcc, LZO", ",lzo"), Icecream(), Ccache(), Manycc())
    return {system.name: system for system in systems}
