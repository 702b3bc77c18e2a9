"""distcc's own test suite (of v3.4, from Debian's source package), run against manycc's programs.

As an unprivileged user, with each mode in namespaces of its own: the suite wants port 42000, and leaves daemons
behind. Cases that ask distcc's inner parts through helper programs (``h_…``) say nothing about other
programs; all others must pass. That they pass by distribution is seen from the job records.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import site
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sources

import manycc
from manycc.cli.launcher import find_launcher
from manycc.compat.programs import hidden_from_others
from manycc.monitor import records
from manycc.reasons import BY_CODE, Kind
from manycc.testing.requirements import need, need_root

NOBODY = "65534"
LIMIT_S = 1500
LONG = os.environ.get("MANYCC_TEST_LONG") == "1"

HELPERS = {
    "ScanArgs_Case": "h_scanargs: which commands distcc's scanner keeps local",
    "ImplicitCompilerScan_Case": "h_scanargs, with the compiler left out",
    "ParseMask_Case": "h_parsemask: masks of --allow",
    "DotD_Case": "h_dotd: names of dependency files",
    "Compile_c_Case": "h_compile: discrepancy file, fresh files",
    "StripArgs_Case": "h_strip: arguments that its server never sees",
    "IsSource_Case": "h_issource",
    "ExtractExtension_Case": "h_exten",
    "InvalidHostSpec_Case": "h_hosts: host lists that are refused",
    "ParseHostSpec_Case": "h_hosts: host lists that are read",
    "Getline_Case": "h_getline: a function of its own for old C libraries",
}
"""Cases about programs that only distcc's build makes, and what these are."""
NOT_RUN = {"PreprocessAsm_Case": "it asks for a Python that calls the system linux2"}
"""Cases that do not run on this system, whichever distcc is tested. They count as passed if they do."""
NOT_RUN_PUMPED = {"PreprocessPlainText_Case": "the suite leaves it out in pump mode"}
REMOTE = (
    "CompileHello_Case", "CommaInFilename_Case", "ComputedInclude_Case", "BackslashInMacro_Case", "CPlusPlus_Case",
    "BackslashInFilename_Case", "Gdb_Case", "GdbOpt3_Case", "DashMD_DashMF_DashMT_Case", "DashONoSpace_Case",
    "WriteDevNull_Case", "DashD_Case", "DashWpMD_Case", "NoDetachDaemon_Case", "HostFile_Case",
)  # fmt: skip
"""Cases that forbid to compile here (DISTCC_FALLBACK=0): each must have a compile that a server did."""
MANY = {"Concurrent_Case": 50, "HundredFold_Case": 100}
SHORT = ("CompileHello_Case", "BadInclude_Case", "DashWpMD_Case", "MissingCompiler_Case", "SyntaxError_Case")
"""What the modes are tried with that are not run in full."""
MODES = {"plain": (), "lzo": ("--lzo",), "pump": ("--pump",)}


class Suite:
    """The suite and an installation of manycc that any user can run, below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = Path(sources.unpack("distcc", str(folder / "distcc"))) / "test" / "testdistcc.py"
        self.programs = folder / "programs"
        self.bin = folder / "bin"
        self.bin.mkdir()
        shutil.copy(find_launcher(), self.bin / "manycc")
        self._mounts: list[tuple[str, str]] = []
        prefix, python = os.path.realpath(sys.base_prefix), os.path.realpath(sys.executable)
        python = os.path.join(self._shown(prefix), os.path.relpath(python, prefix))
        paths = [self._shown(path) for path in (str(Path(manycc.__file__).parents[1]), *site.getsitepackages())]
        cli = self.bin / "manycc-cli"
        cli.write_text(
            f"#!{python} -s\nimport sys\nsys.path[:0] = {paths!r}\nfrom manycc.cli.main import main\nsys.exit(main())\n"
        )
        cli.chmod(0o755)
        listed = self.run("list", ["python3", str(self.script), "-v", "--list"])  # "--list" alone would never end
        self.listed = re.findall(r"^\s+(\w+_Case)$", listed, re.MULTILINE)

    def _shown(self, path: str) -> str:
        """Where other users see a folder that is perhaps closed to them here (below root's home): in the namespace."""
        if not hidden_from_others(os.path.join(path, "x")):
            return path
        target = self.folder / f"shown{len(self._mounts)}"
        target.mkdir()
        self._mounts.append((path, str(target)))
        return str(target)

    def run(self, name: str, command: list[str]) -> str:
        """Run a command as nobody, with manycc's programs first in PATH. What it prints."""
        place = self.folder / name
        for folder in (place, place / "work", place / "m"):
            folder.mkdir(exist_ok=True)
            os.chown(folder, int(NOBODY), int(NOBODY))
        path = f"{self.programs}:{self.bin}:/usr/local/bin:/usr/bin:/bin"
        home = str(place)
        env = {"PATH": path, "HOME": home, "TMPDIR": home, "MANYCC_DIR": f"{home}/m", "LANG": "C.UTF-8"}
        user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        # The shell is the init of its process namespace: it takes the daemons' ends down, and all end with it.
        mounts = [["mount", "--bind", *pair] for pair in self._mounts]
        first = [*mounts, ["ip", "link", "set", "lo", "up"], ["cd", f"{home}/work"]]
        script = "set -e\n" + "".join(f"{shlex.join(line)}\n" for line in first)
        if not self.programs.exists():
            script += (
                shlex.join([str(self.bin / "manycc"), "compat", "--install", str(self.programs)]) + " >/dev/null\n"
            )
        script += f"set +e\n{shlex.join([*user, *command])}\nexit $?\n"
        unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script]
        done = subprocess.run(
            unshare, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            timeout=LIMIT_S,
        )  # fmt: skip
        return done.stdout.decode(errors="replace")

    def cases(self, mode: str, names: list[str]) -> tuple[dict[str, str], str]:
        """Run cases. Their results by name ("OK", "FAIL", "NOTRUN…"), and all that was printed."""
        command = ["python3", str(self.script), *MODES[mode], *names]
        text = self.run(mode, ["pump", *command] if mode == "pump" else command)
        return dict(re.findall(r"^(\w+_Case)\s+(OK|FAIL|NOTRUN.*)$", text, re.MULTILINE)), text

    def reasons(self, mode: str, case: str) -> Counter[Kind]:
        """What became of a case's jobs, by kind, links and the like left out."""
        found = records.read(str(self.folder / mode / "m" / "state" / "jobs.jsonl"))
        here = [record for record in found if str(record.get("cwd")).endswith(f"/{case}")]
        return Counter(BY_CODE[record["reason"]].kind for record in here if record["reason"] != "not-compile")


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    need_root("make namespaces, and to become another user in them")
    need("unshare", "setpriv", "ip", "mount", "g++", "gdb", "ping", "apt-get")
    folder = Path(tempfile.mkdtemp(prefix="manycc-upstream-"))  # pytest's own folders are closed to others
    folder.chmod(0o755)
    try:
        yield Suite(folder)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def results(suite: Suite) -> dict[str, tuple[dict[str, str], str]]:
    """Of each mode that is run in full, all at once."""
    names = [name for name in suite.listed if name not in HELPERS]
    modes = list(MODES) if LONG else ["plain"]
    with ThreadPoolExecutor() as pool:
        return dict(zip(modes, pool.map(lambda mode: suite.cases(mode, names), modes), strict=True))


FULL = [
    mode if mode == "plain" else pytest.param(mode, marks=pytest.mark.skipif(not LONG, reason="MANYCC_TEST_LONG=1"))
    for mode in MODES
]


def test_it_is_the_suite_that_is_meant(suite: Suite) -> None:
    assert len(suite.listed) == 63
    assert set(HELPERS) | set(NOT_RUN) | set(NOT_RUN_PUMPED) | set(REMOTE) | set(MANY) | set(SHORT) <= set(suite.listed)


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("mode", FULL)
def test_every_case_about_behaviour_passes(
    suite: Suite, results: dict[str, tuple[dict[str, str], str]], mode: str
) -> None:
    found, text = results[mode]
    excused = {**NOT_RUN, **(NOT_RUN_PUMPED if mode == "pump" else {})}
    assert set(found) == set(suite.listed) - set(HELPERS), text[-3000:]
    failed = {name: result for name, result in found.items() if result != "OK"}
    assert all(name in excused and result.startswith("NOTRUN") for name, result in failed.items()), f"{failed}\n{text}"


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("mode", FULL)
def test_the_jobs_were_distributed(suite: Suite, results: dict[str, tuple[dict[str, str], str]], mode: str) -> None:
    assert mode in results
    for case in REMOTE:
        kinds = suite.reasons(mode, case)
        assert kinds[Kind.REMOTE] >= 1 and kinds.total() == kinds[Kind.REMOTE], (case, kinds)
    for case, count in MANY.items():
        kinds = suite.reasons(mode, case)
        assert kinds.total() == count, (case, kinds)
    assert suite.reasons(mode, "HundredFold_Case")[Kind.REMOTE] >= 50


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.skipif(LONG, reason="these modes are run in full")
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "plain"])
def test_other_modes_in_short(suite: Suite, mode: str) -> None:
    found, text = suite.cases(mode, list(SHORT))
    assert found == dict.fromkeys(SHORT, "OK"), text
    assert suite.reasons(mode, "CompileHello_Case") == {Kind.REMOTE: 1}
