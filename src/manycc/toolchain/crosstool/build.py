"""Driving an installed crosstool-NG: configured, checked, run, and taken up again where it failed.

A build is its folder: the recipe as it was given to crosstool-NG, its work, its log, and ``progress.json``, which
says with which configuration it was begun and which step can be taken again. Building takes hours; every loss of them
counts.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from manycc.errors import ConfigError, ToolchainError
from manycc.toolchain.crosstool import check
from manycc.toolchain.crosstool.log import Log, shown_from
from manycc.toolchain.crosstool.run import run
from manycc.toolchain.paths import find_program

Say = Callable[[str], None]

_HARMFUL: Final = (
    "LD_LIBRARY_PATH", "LIBRARY_PATH", "LPATH", "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH",
    "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CC", "CXX", "GREP_OPTIONS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS",
    "DEFCONFIG", "STOP", "RESTART", "CONFIG_SITE", "SOURCE_DATE_EPOCH", "V",
)  # fmt: skip
"""Variables that get into builds: most of them crosstool-NG refuses."""

_needs: Final = re.compile(r"^# needs: (\S+) from (\S+)$", re.MULTILINE)
_path: Final = re.compile(r"/[\w./+@=-]*", re.ASCII)
_GIGABYTE: Final = 1_000_000_000
_DISK: Final = 20 * _GIGABYTE
_CONFIGURE_LIMIT_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to build with what, and where.

    ``work`` is the build's own folder, ``prefix`` where the toolchain is installed. ``tarballs``: a folder of sources,
    "" for none. ``offline``: nothing is downloaded. ``fresh``: what an earlier attempt left is not taken up.
    """

    recipe: str
    name: str
    program: str
    work: str
    prefix: str
    tarballs: str = ""
    jobs: int = 1
    offline: bool = False
    fresh: bool = False


def find_ct_ng(given: str, env: Mapping[str, str]) -> str:
    """The program ct-ng: given as such, or as the folder it is in, or along PATH. Raises ConfigError."""
    path = os.path.abspath(given) if given else find_program("ct-ng", env)
    if path and os.path.isdir(path):
        path = os.path.join(path, "ct-ng")
    if not path or not os.path.isfile(path) or not os.access(path, os.X_OK):
        raise ConfigError(
            f"{given} is no crosstool-NG" if given else "there is no crosstool-NG along PATH",
            "the program ct-ng is needed",
            "install it (https://crosstool-ng.github.io), and name it by --ct-ng if it is not along PATH",
        )
    return path


def build(plan: Plan, env: Mapping[str, str], say: Say) -> str:
    """Build the toolchain. Returns the folder it is installed in. Raises ConfigError, ToolchainError.

    What was done by an earlier call for the same configuration is not done again.
    """
    for path in filter(None, (plan.work, plan.prefix, plan.tarballs)):
        _check_path(path)
    wanted = check.recipe_values(plan.recipe, plan.name) | _here(plan)
    _place_sources(wanted, plan)
    _find_host_tools(wanted, env)
    try:
        os.makedirs(plan.work, exist_ok=True)
        with _alone(plan.work):
            return _build(plan, wanted, clean(env), say)
    except OSError as error:
        raise ToolchainError(
            f"{plan.name} cannot be built", f"{error.filename or plan.work}: {error.strerror}"
        ) from error


def _check_path(path: str) -> None:
    if not _path.fullmatch(path):
        raise ConfigError(
            f"{path!r} cannot be used by crosstool-NG", "its scripts bear only letters, digits and ./+@=-_ in paths"
        )


def clean(env: Mapping[str, str]) -> dict[str, str]:
    """The environment for crosstool-NG: without what bends builds, PATH without relative folders."""
    kept = {name: value for name, value in env.items() if name not in _HARMFUL and not name.startswith("CT_")}
    kept["PATH"] = ":".join(place for place in env.get("PATH", "").split(":") if place.startswith("/"))
    return kept


def _here(plan: Plan) -> check.Values:
    """The lines that belong to this machine rather than to the toolchain."""
    lines: check.Values = {
        "CT_WORK_DIR": f'"{plan.work}/.build"',
        "CT_PREFIX_DIR": f'"{plan.prefix}"',
    }
    if plan.tarballs:
        lines |= {"CT_LOCAL_TARBALLS_DIR": f'"{plan.tarballs}"', "CT_SAVE_TARBALLS": None if plan.offline else "y"}
    if plan.offline:
        lines["CT_FORBID_DOWNLOAD"] = "y"
    if os.geteuid() == 0:
        lines |= {"CT_ALLOW_BUILD_AS_ROOT": "y", "CT_ALLOW_BUILD_AS_ROOT_SURE": "y"}
    return lines


def _place_sources(wanted: check.Values, plan: Plan) -> None:
    """Sources that are named without a folder are in that of the tarballs. Raises ConfigError if one is not."""
    urls = dict(_needs.findall(plan.recipe))
    for symbol, value in wanted.items():
        name = (value or "").strip('"')
        if not symbol.endswith("_CUSTOM_LOCATION") or not name or name.startswith("$"):
            continue
        path = os.path.abspath(name if "/" in name else os.path.join(plan.tarballs, name))
        if "/" in name and not os.path.exists(path):
            raise ConfigError(f"{path} is not there", f"the recipe has it as {symbol}")
        if "/" not in name and not (plan.tarballs and os.path.exists(path)):
            folder = plan.tarballs or "DIR"
            raise ConfigError(
                f"the recipe needs {name}",
                f"it is not in {plan.tarballs}" if plan.tarballs else "no folder of tarballs is given",
                f"curl -fLo {folder}/{name} {urls.get(name, 'URL')}, then --tarballs {folder}",
            )
        _check_path(path)
        wanted[symbol] = f'"{path}"'


def _find_host_tools(wanted: check.Values, env: Mapping[str, str]) -> None:
    """A compiler for the machine that the toolchain is to run on must be there already. Raises ConfigError."""
    host = (wanted.get("CT_HOST") or "").strip('"')
    if not host or wanted.get("CT_CANADIAN") != "y" or wanted.get("CT_HOST_PREFIX"):
        return
    missing = [name for name in (f"{host}-gcc", f"{host}-g++") if not find_program(name, env)]
    if missing:
        from manycc.toolchain.crosstool.target import HOST_PACKAGES

        package = HOST_PACKAGES.get(host, f"a C++ compiler for {host}")
        raise ConfigError(
            f"the toolchain is to run on {host}, and there is no {' and no '.join(missing)} here", "",
            f"apt-get install {package}",
        )  # fmt: skip


@contextmanager
def _alone(work: str) -> Iterator[None]:
    with open(os.path.join(work, "lock"), "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ToolchainError(f"another build is under way in {work}", "", "wait for it, or end it") from error
        yield


def _build(plan: Plan, wanted: check.Values, env: dict[str, str], say: Say) -> str:
    text = "".join(
        f"# {symbol} is not set\n" if value is None else f"{symbol}={value}\n" for symbol, value in wanted.items()
    )
    digest = hashlib.sha256((text + plan.program).encode()).hexdigest()
    progress = _Progress(os.path.join(plan.work, "progress.json"), digest, plan.fresh)
    if progress.done and os.path.isdir(os.path.join(plan.prefix, "bin")):
        say(f"{plan.prefix} was built already")
        return plan.prefix
    if progress.prefix != plan.prefix and os.path.isdir(plan.prefix) and os.listdir(plan.prefix):
        raise ConfigError(
            f"{plan.prefix} is not empty", "crosstool-NG removes what is in the folder it installs into",
            "name another by --into",
        )  # fmt: skip
    free = shutil.disk_usage(plan.work).free
    if free < _DISK:
        say(f"only {free / _GIGABYTE:.0f} GB are free in {plan.work}: it may take {_DISK // _GIGABYTE}")
    step = progress.step if _saved(plan.work, progress.step) else ""
    _configure(plan, wanted, text, env, say, keep=bool(step))
    if step:
        say(f"taken up again at step {step}")
        env = env | {"RESTART": step}
    progress.begin(plan.prefix, step)
    log = Log(say, progress.reached)
    # Not a line of the configuration: another number of jobs is no reason to begin anew.
    code = run([plan.program, "build" if step else f"build.{plan.jobs}"], env, plan.work, log)
    log.end()
    if code or not glob.glob(glob.escape(plan.prefix) + "/bin/*-gcc"):
        raise _failure(plan, progress, log, code, say)
    progress.finish()
    for line in log.summary():
        say(line)
    return plan.prefix


def _configure(plan: Plan, wanted: check.Values, text: str, env: dict[str, str], say: Say, *, keep: bool) -> None:
    """Have crosstool-NG fill in the rest, and see that it took every line. Raises ToolchainError.

    A build that is taken up again must ``keep`` its configuration: crosstool-NG refuses it with another file.
    """
    taken = os.path.join(plan.work, ".config")
    if not (keep and os.path.isfile(taken)):
        _defconfig(plan, text, env, say)
    with open(taken, encoding="utf-8", errors="replace") as file:
        lost = check.dropped(wanted, check.values_of(file.read()))
    if lost:
        for one in lost:
            say(f"not taken: {one}")
        raise ToolchainError(
            f"crosstool-NG did not take {len(lost)} of {len(wanted)} lines of {plan.name}",
            "it would build another compiler than the one that is wanted",
            f"make the recipe for it: manycc toolchain recipe --ct-ng {plan.program}; or take the lines out",
        )
    say(f"crosstool-NG took all {len(wanted)} lines of {plan.name}")


def _defconfig(plan: Plan, text: str, env: dict[str, str], say: Say) -> None:
    """Write the lines, and have crosstool-NG make .config of them. Raises ToolchainError."""
    given, taken = os.path.join(plan.work, "defconfig"), os.path.join(plan.work, ".config")
    with open(given, "w", encoding="utf-8") as file:
        file.write(text)
    if os.path.lexists(taken):
        os.unlink(taken)
    lines: list[str] = []
    log = Log(lines.append)
    code = run([plan.program, "defconfig"], env | {"DEFCONFIG": given}, plan.work, log, limit_s=_CONFIGURE_LIMIT_S)
    if code or not os.path.isfile(taken):
        for line in lines[-10:]:
            say(line)
        raise ToolchainError(
            f"{plan.program} defconfig fails", f"exit code {code}", "is this crosstool-NG installed whole?"
        )


def _failure(plan: Plan, progress: _Progress, log: Log, code: int, say: Say) -> ToolchainError:
    """Say the last lines; the error says the step, and what to type."""
    path = os.path.join(plan.work, "build.log")
    for line in shown_from(path) or log.tail:
        say(f"  | {line}")
    what = f"crosstool-NG failed in step {log.step or progress.step or 'one'}"
    if log.failed_in:
        what += f" ({log.failed_in})"
    why = f"exit code {code}" if code else f"there is no compiler in {plan.prefix}/bin"
    again = _saved(plan.work, progress.step)
    how = f"the same command again goes on at step {progress.step}" if again else "the same command again begins anew"
    return ToolchainError(what, why, f"see {path}; {how}")


def _saved(work: str, step: str) -> bool:
    """Whether crosstool-NG has put aside what it needs to begin with a step."""
    places = (f"{glob.escape(work)}/.build/{above}/state/{step}" for above in ("*", "HOST-*/*"))
    return bool(step) and any(glob.glob(place) for place in places)


class _Progress:
    """What is known of the attempts in a folder: kept in a file, as long as the configuration stays the same."""

    def __init__(self, path: str, digest: str, fresh: bool) -> None:
        self._path = path
        self._digest = digest
        self.step, self.prefix, self.done, self.known = "", "", False, False
        try:
            with open(path, encoding="utf-8") as file:
                kept = json.load(file)
        except (OSError, ValueError):
            return
        if isinstance(kept, dict):
            self.prefix = str(kept.get("prefix", ""))
            if kept.get("recipe") == digest and not fresh:
                self.known = True
                self.step = step if re.fullmatch(r"\w+", step := str(kept.get("step", ""))) else ""
                self.done = kept.get("done") is True

    def begin(self, prefix: str, step: str) -> None:
        """A run begins, at a step, or at the first."""
        self.prefix, self.step, self.done = prefix, step, False
        self._write()

    def reached(self, step: str) -> None:
        """All that a step needs is put aside."""
        self.step = step
        self._write()

    def finish(self) -> None:
        """The toolchain stands."""
        self.step, self.done = "", True
        self._write()

    def _write(self) -> None:
        new = self._path + ".new"
        with open(new, "w", encoding="utf-8") as file:
            json.dump({"recipe": self._digest, "prefix": self.prefix, "step": self.step, "done": self.done}, file)
        os.replace(new, self._path)
