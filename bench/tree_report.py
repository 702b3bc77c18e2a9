"""What ``trees`` found out, as lines for a terminal, tables in Markdown, and JSON."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from manycc.monitor.records import Record
from manycc.monitor.stats import Stats
from manycc.reasons import BY_CODE, Kind, Reason

_NO_COMPILE = (Reason.NOT_COMPILE.code, Reason.PREPROCESS_ONLY.code)


@dataclass
class Work:
    """The jobs of one step of a build over nodes, and what the step cost this machine."""

    wall_s: float = 0.0
    tree_cpu_s: float = 0.0
    """Of the build tool and all it ran: launchers, what stayed local, links."""
    agent_cpu_s: float = 0.0
    stats: Stats = field(default_factory=Stats)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)
    """The first command for each (reason, detail) of jobs that stayed here."""
    details: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        """Count a job."""
        self.stats.add(record)
        reason = BY_CODE[record["reason"]]
        if reason.kind is not Kind.REMOTE:
            key = (reason.code, record.get("detail", ""))
            self.details[key] += 1
            self.examples.setdefault(key, shlex.join(record.get("argv") or [record.get("compiler", "?")]))

    @property
    def compiles(self) -> int:
        """Jobs that compile (not: link, preprocess, answer a question)."""
        return self.stats.total - sum(self.stats.reasons[code] for code in _NO_COMPILE)

    @property
    def share(self) -> str:
        """The share of compiles that a node did."""
        return f"{100 * self.stats.remote / self.compiles:.4g} %" if self.compiles else "-"

    def as_json(self) -> dict[str, Any]:
        return {
            **self.stats.as_json(),
            "compiles": self.compiles,
            "wall_s": self.wall_s,
            "tree_cpu_s": self.tree_cpu_s,
            "agent_cpu_s": self.agent_cpu_s,
            "stayed": [
                {"reason": code, "detail": detail, "jobs": self.details[code, detail], "example": example}
                for (code, detail), example in self.examples.items()
            ],
        }


@dataclass
class Row:
    """One variant of one tree."""

    tree: str
    kind: str
    flags: str
    objects: int = 0
    files: int = 0
    """All files compared, objects included."""
    different: list[str] = field(default_factory=list)
    unsteady: list[str] = field(default_factory=list)
    """Files that differ between two local builds, too."""
    local_wall_s: float = 0.0
    local_cpu_s: float = 0.0
    configure: Work | None = None
    build: Work = field(default_factory=Work)
    failed: str = ""
    """Why there is nothing else."""

    @property
    def title(self) -> str:
        return f"{self.tree} {self.flags}".strip()

    def as_json(self) -> dict[str, Any]:
        names = ("tree", "kind", "flags", "objects", "files", "different", "unsteady", "local_wall_s", "local_cpu_s")
        return {
            **{name: getattr(self, name) for name in (*names, "failed")},
            "configure": self.configure and self.configure.as_json(),
            "build": self.build.as_json(),
        }


def show(row: Row) -> None:
    """Print a row as it is found."""
    if row.failed:
        print(f"{row.title:16} FAILED: {row.failed}", flush=True)
        return
    stats = row.build.stats
    verdict = "all identical" if not row.different else f"{len(row.different)} files DIFFERENT"
    print(
        f"{row.title:16} {row.objects:>5} objects, {verdict}; {stats.remote} of {stats.total} jobs remote "
        f"({stats.cached} cached), {stats.local} local, {stats.failed_over} failed over; "
        f"local {row.local_wall_s} s, over nodes {row.build.wall_s} s"
    )
    for code, number in stats.reasons.most_common():
        if BY_CODE[code].kind is not Kind.REMOTE:
            print(f"{'':18}{number:>4} {code}")
    for path in row.different[:10]:
        print(f"{'':18}different: {path}")
    for path in row.unsteady[:10]:
        print(f"{'':18}differs between two local builds, too: {path}")
    print(end="", flush=True)


def _table(head: list[str], rows: list[list[object]]) -> str:
    lines: list[Sequence[object]] = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def markdown(rows: list[Row]) -> str:
    """The tables: the trees, their configure steps, and what stayed local."""
    built = [row for row in rows if not row.failed]
    parts = [_trees(built), _configures(built), _stayed(built)]
    for row in rows:
        if row.failed:
            parts.append(f"{row.title} could not be built: {row.failed.splitlines()[0]}\n")
        for path in row.unsteady:
            parts.append(f"{row.title}: `{path}` differs between two local builds, too.\n")
        for path in row.different:
            parts.append(f"{row.title}: `{path}` DIFFERS.\n")
    return "\n".join(parts)


def _trees(rows: list[Row]) -> str:
    head = ["tree", "what", "objects", "other files", "different", "jobs", "compiles remote", "of these cached",
            "local", "failed over", "agent CPU", "client CPU", "CPU of the local build", "local wall",
            "over nodes"]  # fmt: skip
    lines: list[list[object]] = []
    for row in rows:
        work = row.build
        client = work.tree_cpu_s + work.agent_cpu_s
        lines.append(
            [row.title, row.kind, row.objects, row.files - row.objects, len(row.different), work.stats.total,
             work.share, work.stats.cached, work.stats.local, work.stats.failed_over, f"{work.agent_cpu_s:.1f} s",
             f"{client:.1f} s", f"{row.local_cpu_s} s", f"{row.local_wall_s} s", f"{work.wall_s} s"]
        )  # fmt: skip
    return _table(head, lines)


def _configures(rows: list[Row]) -> str:
    lines: list[list[object]] = []
    for row in {row.tree: row for row in reversed(rows)}.values():  # the variants' are alike: the first
        if row.configure is not None:
            reasons = row.configure.stats.reasons.most_common()
            lines.append(
                [row.tree, row.configure.stats.total, ", ".join(f"{number} {code}" for code, number in reasons)]
            )
    return _table(["configure step", "jobs", "by reason"], lines[::-1])


def _stayed(rows: list[Row]) -> str:
    counts: Counter[tuple[str, str]] = Counter()
    where: dict[tuple[str, str], tuple[str, str]] = {}
    for row in rows:
        for step, work in (("", row.build), (", configure", row.configure)):
            if work is None:
                continue
            counts.update(work.details)
            for key, example in work.examples.items():
                where.setdefault(key, (row.tree + step, example))
    lines: list[list[object]] = []
    for key, number in sorted(counts.items(), key=lambda item: (item[0][0], -item[1])):
        tree, example = where[key]
        command = example if len(example) <= 120 else f"{example[:60]} … {example[-60:]}"
        lines.append([number, key[0], key[1], tree, "`" + command.replace("|", "\\|").replace("`", "'") + "`"])
    return _table(["jobs", "stayed local because", "detail", "such as, in", "this command"], lines)
