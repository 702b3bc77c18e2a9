"""What becomes of a build when something breaks at a remote execution engine, and how long it takes to get over it.

    python bench/enginefaults.py [--markdown] [--json FILE] [--keepalive N] [--queue]

Real launchers, agents, engines (buildbox-casd; BuildGrid with its PostgreSQL and two of our workers), all on this
machine. Two compiles are held in their engine, that is, their compilers are stopped; then the fault is made. What is
counted is the time from the fault to the launcher's end, less what the compile takes here; and the time from when all
is there again to the first new compile that the engine did. Every object is compared with the local compiler's.
Times that are waited for are the defaults (MANYCC_SILENCE 20 s), but for the time after which BuildGrid takes a silent
worker for dead: 60 s if nobody says otherwise, here ``--keepalive``. ``--queue`` adds a fault that takes minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tables import markdown, write_between

from manycc.testing.badline import BadLine
from manycc.testing.buildgrid import INSTANCE, Farm, ancestors
from manycc.testing.casd import Casd
from manycc.testing.cluster import Cluster
from manycc.testing.heldcompile import HeldCompile, hold_all, strangers_compiler, wait_for

GUIDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "scale-out.md")
BEGIN, END = "<!-- faults: made by bench/enginefaults.py -->", "<!-- end of faults -->"
AT_ONCE = 2
KEEPALIVE_S = 10
MAX_SAID = 150
HEAD = [
    "engine", "fault", "the user sees", "the struck jobs were done", "objects", "s longer", "s to the next there",
    "the record says",
]  # fmt: skip


class Failure(Exception):
    """Something came out that must not."""


@dataclass
class Row:
    """One fault. ``longer_s``: of the struck job that took longest; ``again_s``: None where nothing came back."""

    engine: str
    fault: str
    sees: str
    where: str
    same: str
    longer_s: float | None
    again_s: float | None
    says: str

    def cells(self) -> list[str]:
        """As words of a table."""
        longer, again = ("-" if value is None else f"{value:.1f}" for value in (self.longer_s, self.again_s))
        return [self.engine, self.fault, self.sees, self.where, self.same, longer, again, self.says]


def where_of(record: dict[str, Any]) -> str:
    """Where a job was done, in a word."""
    return "there" if record["reason"] in ("remote", "cached") else "here"


def says_of(records: Iterable[dict[str, Any]]) -> str:
    """What records say, each thing once."""
    said = {record["reason"] + (f": {record['detail']}" if record["detail"] else "") for record in records}
    return "; ".join(one if len(one) <= MAX_SAID else one[:MAX_SAID].rstrip() + " …" for one in sorted(said))


class Place:
    """An engine, an agent that uses it, and what is broken there."""

    def __init__(self, name: str, folder: Path, hosts: str) -> None:
        self.name = name
        self.folder = folder
        self.url = hosts.partition("?")[0]
        self.cluster = Cluster(str(folder / "c"), nodes=0)
        self.cluster.__enter__()
        self.cluster.env["MANYCC_HOSTS"] = hosts
        self.rows: list[Row] = []
        self._count = 0

    def small(self, compiler: str = "g++", text: str = "") -> tuple[dict[str, Any], float]:
        """Compile a small source that the engine has not seen; the record, and the time it took."""
        self._count += 1
        name = f"{self.folder.name}{self._count}"
        source = self.folder / f"{name}.cc"
        source.write_text(f"{text}int {name}(int x) {{ return x; }}\n")
        seen = len(self.cluster.records())
        begun = time.monotonic()
        done = self.cluster.compile([compiler, "-c", source.name], str(self.folder))
        took = time.monotonic() - begun
        if done.returncode or done.stderr:
            raise Failure(done.stderr.decode(errors="replace"))
        return self.cluster.wait_records(seen + 1)[seen], took

    def until_there(self, since: float) -> float:
        """Compile until the engine does it; the seconds from then to the end of the first that it did."""
        wait_for(lambda: where_of(self.small()[0]) == "there")
        return time.monotonic() - since

    def hold(self, count: int = AT_ONCE, cluster: Cluster | None = None) -> list[HeldCompile]:
        """Compiles that are held at the engine."""
        held = [HeldCompile(cluster or self.cluster, self.folder) for _ in range(count)]
        for one in held:
            one.start()
        hold_all(held)
        return held

    def over(self, fault: str, held: list[HeldCompile], struck: float, healed: Callable[[], float] | None) -> None:
        """Wait for the struck jobs, then for the engine's next; ``healed`` says since when all is there again."""
        records, longer = [], 0.0
        for one in held:  # all at once: the last is what counts
            records.append(one.end())
            longer = max(longer, time.monotonic() - struck - one.own_s)
        again = None if healed is None else self.until_there(healed())
        self.add(fault, records, longer, again)

    def add(self, fault: str, records: list[dict[str, Any]], longer: float | None, again: float | None) -> None:
        """One more row of a build that saw nothing."""
        where = " and ".join(sorted({where_of(record) for record in records}))
        self.rows.append(
            Row(
                self.name,
                fault,
                "nothing",
                where,
                "the same",
                longer and max(longer, 0.0),
                again,
                says_of(records).replace(f"{self.url}: ", ""),
            )
        )
        print(*self.rows[-1].cells(), sep=" | ", file=sys.stderr, flush=True)

    # -- the faults that both engines know

    def agent_killed(self) -> None:
        """kill -9 of the agent; then its next life."""
        held = self.hold()
        os.kill(self.cluster.agent_pid(), signal.SIGKILL)
        struck = time.monotonic()
        self.over("agent killed", held, struck, None)
        self.let_go(held)  # it has few slots
        self.rows[-1].again_s = self.until_there(struck)

    def cancelled(self) -> None:
        """Ctrl-C, until no compiler is left there."""
        held = self.hold()
        for one in held:
            assert one.process is not None
            one.process.send_signal(signal.SIGINT)
        struck = time.monotonic()
        wait_for(lambda: not any(one.running() for one in held))
        longer = time.monotonic() - struck
        for one in held:
            if one.process is None or one.process.wait(60) != -signal.SIGINT or one.identical():
                raise Failure("the launcher was interrupted, and ended otherwise")
        records = [one.record() for one in held]
        again = self.until_there(struck)
        self.rows.append(
            Row(self.name, "Ctrl-C: until its compilers are killed there", "that it ends", "nowhere", "none", longer,
                again, says_of(records))
        )  # fmt: skip

    def silent(self, port: int, instance: str) -> None:
        """The network swallows everything; it is another agent's, on a line of its own."""
        with BadLine(port) as line, Cluster(str(self.folder / "s"), nodes=0) as other:
            other.env["MANYCC_HOSTS"] = f"reapi://127.0.0.1:{line.port}{instance}"
            own, self.cluster = self.cluster, other
            try:
                self.until_there(0)
                held = self.hold()
                line.fall_silent()
                struck = time.monotonic()

                def heal() -> float:
                    line.speak_again()
                    return time.monotonic()

                self.over("network swallows all", held, struck, heal)
                self.let_go(held)
            finally:
                self.cluster = own

    def blob_missing(self, stored: Callable[[str], list[Path]]) -> None:
        """The engine forgets a header that this agent has sent."""
        text = f"/* {self.folder} */\n"
        (self.folder / "lost.h").write_text(text)
        usual = min(self.small(text='#include "lost.h"\n')[1] for _ in range(3))
        files = stored(hashlib.sha256(text.encode()).hexdigest())
        if not files:
            raise Failure("the header is not in the engine's store")
        for path in files:
            path.unlink()
        record, took = self.small(text='#include "lost.h"\n')
        self.add("a content is missing there", [record], took - usual, None)

    def let_go(self, held: list[HeldCompile]) -> None:
        """What is compiled there for nobody goes on to its end."""
        for one in held:
            with contextlib.suppress(ProcessLookupError):
                one.go()

    def close(self) -> None:
        """End the agent."""
        self.cluster.close()


def on_casd(folder: Path) -> list[Row]:
    """buildbox-casd's faults."""
    with Casd(str(folder / "casd")) as engine:
        place = Place("buildbox-casd", folder, engine.host)

        def killed(fault: str, back: bool) -> None:
            held = place.hold()
            engine.kill()
            struck = time.monotonic()
            if back:
                engine.start()
                place.over(fault, held, struck, time.monotonic)
            else:
                place.over(fault, held, struck, None)
                engine.start()
                place.until_there(0)

        def runner_killed() -> None:
            held = place.hold()
            assert engine.process is not None
            for one in held:
                above = ancestors(one.pid)
                os.kill(above[above.index(engine.process.pid) - 1], signal.SIGKILL)
            struck = time.monotonic()
            place.over("the runners of its jobs killed", held, struck, lambda: struck)

        def stored(digest: str) -> list[Path]:
            found = Path(engine.folder).rglob(digest[2:] + "*")
            return [path for path in found if path.parent.name == digest[:2]]

        try:
            place.until_there(0)
            runner_killed()
            killed("engine killed, started again", back=True)
            killed("engine killed for good", back=False)
            place.agent_killed()
            place.silent(engine.port, f"?slots={engine.jobs}")
            place.cancelled()
            place.blob_missing(stored)
            return place.rows
        finally:
            place.close()


def on_buildgrid(folder: Path, keepalive: int, queue: bool) -> list[Row]:
    """BuildGrid's faults."""
    with Farm(str(folder / "w"), keepalive=keepalive) as farm:
        place = Place("BuildGrid", folder, farm.engine.url)

        def worker_killed() -> None:
            held = place.hold()
            worker = farm.worker_of(held[0].pid)
            its = [one for one in held if farm.worker_of(one.pid) is worker]
            worker.kill()
            struck = time.monotonic()
            for one in held:
                if one not in its:
                    one.go()
            place.over(f"worker killed (dead after {keepalive} s without a word)", held, struck, None)
            farm.revive()

        def engine_killed(fault: str, back: bool) -> None:
            held = place.hold()
            farm.engine.kill()
            struck = time.monotonic()
            if back:
                farm.engine.start()
                for one in held:
                    one.go()
                place.over(fault, held, struck, time.monotonic)
            else:
                place.over(fault, held, struck, None)
                place.let_go(held)
                farm.revive()
            place.until_there(0)

        def database() -> None:
            held = place.hold()
            farm.engine.database.stop()
            struck = time.monotonic()
            farm.engine.database.resume()
            for one in held:
                one.go()
            place.over("PostgreSQL restarted", held, struck, time.monotonic)

        def stored(digest: str) -> list[Path]:
            return [path for path in Path(farm.engine.storage).rglob(f"*{digest[8:]}*") if path.is_file()]

        def no_worker() -> None:
            strange = strangers_compiler(folder / "usr")
            usual = place.small()[1]
            begun = time.monotonic()
            longest, record = 0.0, {}

            def refused() -> bool:
                nonlocal longest, record
                record, took = place.small(strange)
                longest = max(longest, took)
                return "no worker" in record["detail"]

            wait_for(refused)
            fault = f"no worker has the compiler (known after {time.monotonic() - begun:.0f} s)"
            place.add(fault, [record], longest - usual, None)

        def workers_gone() -> None:
            for worker in farm.workers:
                worker.stop()
            record, took = place.small()
            place.add("all workers left in good order", [record], took, None)
            farm.revive()

        try:
            place.until_there(0)
            worker_killed()
            engine_killed("engine killed, started again", back=True)
            engine_killed("engine killed for good", back=False)
            database()
            place.until_there(0)
            place.agent_killed()
            place.silent(farm.engine.port, f"/{INSTANCE}")
            place.cancelled()
            no_worker()
            place.blob_missing(stored)
            if queue:
                workers_gone()
            return place.rows
        finally:
            place.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keepalive", type=int, default=KEEPALIVE_S)
    parser.add_argument("--queue", action="store_true", help="also: all workers leave (more than two minutes)")
    parser.add_argument("--markdown", action="store_true", help="write the table into docs/scale-out.md")
    parser.add_argument("--json", help="write the rows into this file")
    options = parser.parse_args()
    base = Path(os.path.realpath(tempfile.mkdtemp(prefix="manycc-faults-")))
    os.chmod(base, 0o711)
    casd_rows: list[Row] = []
    try:
        for name in ("one", "two"):
            (base / name).mkdir()
        (base / "two" / "w").mkdir()
        # Both at once: nearly all of it is waiting. BuildGrid's programs die with the thread that starts them.
        beside = threading.Thread(target=lambda: casd_rows.extend(on_casd(base / "one")))
        beside.start()
        try:
            rows = on_buildgrid(base / "two", options.keepalive, options.queue)
        finally:
            beside.join()
    finally:
        shutil.rmtree(base, ignore_errors=True)
    if not casd_rows:
        raise Failure("buildbox-casd's part broke off")
    table = markdown([HEAD, *(row.cells() for row in [*rows, *casd_rows])])
    print(table, end="")
    if options.markdown:
        write_between(GUIDE, BEGIN, END, table)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump([asdict(row) for row in [*rows, *casd_rows]], file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
