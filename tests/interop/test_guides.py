"""Every command of the guides in ``docs/``, typed for real on machines of the kind they are about.

Machines are namespaces of this machine with the addresses that the guides use (``machines.py``), what a block
is typed on stands in its fence (``guides.py``). All machines have this one's compiler but ``other``, whose gcc
has been changed. Installations run with the internet, once for all guides.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
import sources
from guides import Stage, blocks_of, says
from machines import USER, Machine, lab

from manycc.compat import distccd
from manycc.testing.requirements import need

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
GUIDES: Final = ("raspberry-pi-helps.md", "laptop-helps.md", "arch-makepkg.md", "from-distcc.md")
NEEDS: Final = {
    "raspberry-pi-helps.md": ("systemctl",),
    "arch-makepkg.md": ("makepkg", "pacman", "bsdtar", "fakeroot"),
    "from-distcc.md": ("systemctl", "/etc/init.d/distcc", "/usr/bin/distcc"),
}
ADDRESSES: Final = {"laptop": "192.168.0.10", "pi": "192.168.0.100", "other": "192.168.0.101", "old": "192.168.0.102"}
SOURCES: Final = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "launcher", "src/manycc", "packaging")
"""What ``pip install`` of manycc's folder takes."""
NOT_NEW: Final = (
    "/etc/manycc /etc/default/manycc /var/cache/manycc /var/log/manycc* /usr/lib/distcc/bin "
    "/root/.config/manycc /root/.cache/manycc /root/.local/state/manycc"
)
"""What this machine may have of manycc, and a new one has not."""


def _archive(folder: Path, names: tuple[str, ...] = (".",)) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name in names:
            archive.add(folder / name, name, filter=lambda entry: None if "__pycache__" in entry.name else entry)
    return data.getvalue()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    manycc = _archive(ROOT, SOURCES)
    folder = tmp_path_factory.mktemp("lua")
    try:
        makefile = Path(sources.unpack("lua5.4", str(folder / "lua")), "src", "Makefile")
    except sources.SourceError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"NOT TESTED: {error}")
    makefile.write_text(makefile.read_text().replace("-O2", "-O0"))  # the tests have little time
    lua = _archive(folder / "lua")

    def furnish(machine: Machine) -> None:
        machine.run("root", f"rm -rf {NOT_NEW}")
        machine.unpack(manycc, "/root/manycc", "root")
        machine.unpack(lua, f"/home/{USER}/lua", USER)

    with lab(str(tmp_path_factory.mktemp("lab"))) as rack:
        yield Stage(rack, ADDRESSES, furnish)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_does_what_it_says(stage: Stage, guide: str) -> None:
    need("apt-get", "bwrap", "make", "useradd", *NEEDS.get(guide, ()))
    with ExitStack() as stack:
        if ADDRESSES["other"] in (DOCS / guide).read_text():
            other = stack.enter_context(stage.machine("other", blocks_of(DOCS / guide), like="pi"))
            other.run("root", "rm /usr/bin/*gcc /usr/bin/*gcc-[0-9]*")
            node = "manycc node --daemon --listen 0.0.0.0 --allow 192.168.0.0/24 --log-file /run/log"
            other.run("root", f"{node} --toolchains installed-only")
        stage.play(DOCS / guide)


def test_variables_are_understood_as_listed() -> None:
    """Each that is said to be understood is read somewhere, and none of those that are said to have no effect."""
    section = (DOCS / "from-distcc.md").read_text().partition("## Which variables")[2].partition("\n## ")[0]
    table, _, others = section.partition("These have no effect")
    variable = re.compile(r"`((?:DISTCC|LSDISTCC|INCLUDE_SERVER)_[A-Z_]+)`")
    code = "\n".join(path.read_text() for path in (ROOT / "src" / "manycc").rglob("*.py"))
    code += (ROOT / "launcher" / "manycc.c").read_text()
    assert len(variable.findall(table)) > 5
    assert [name for name in variable.findall(table) if f'"{name}"' not in code] == []
    assert len(variable.findall(others)) > 10
    assert [name for name in variable.findall(others) if f'"{name}"' in code] == []


def test_flags_of_distccd_are_understood_as_listed(capsys: pytest.CaptureFixture[str]) -> None:
    section = (DOCS / "from-distcc.md").read_text().partition("## Which of distccd's flags")[2].partition("\n## ")[0]
    distccd.main(["--help"])
    shown = {  # "  -p PORT, --port PORT  TCP port" and the lines below it that are further in
        flag: " ".join(entry.split())
        for entry in re.split(r"\n(?= {2}-)|\n\n", capsys.readouterr().out.partition("\noptions:")[2])
        for flag in re.findall(r"--[a-z-]+", entry.partition("  ")[0] + entry[2:].partition("  ")[0])
    }
    listed: dict[str, str] = {}
    for row in re.findall(r"^\| (`.*`) \| (.*) \|$", section, re.MULTILINE):
        listed |= dict.fromkeys(re.findall(r"--[a-z-]+", row[0]), row[1])
    assert sorted(listed) == sorted(shown)
    for flag, meaning in listed.items():
        assert ("without effect" in shown[flag]) == ("without effect" in meaning), flag
        assert ("an error" in shown[flag]) == ("an error" in meaning), flag


def test_every_guide_is_tested() -> None:
    with_commands = [path.name for path in DOCS.glob("*.md") if "```sh" in path.read_text()]
    assert sorted(with_commands) == sorted(GUIDES)


@pytest.mark.parametrize(
    "block",
    [
        "```sh pi root\ntouch /etc/made-by-a-guide\nfalse\ntrue\n```\n",
        "```sh pi root fails\ntouch /etc/made-by-a-guide\n```\n",
        "```sh pi root\ntouch /etc/made-by-a-guide\nhostname\n```\n```output\nlaptop\n```\n",
    ],
    ids=["fails", "does-not-fail", "says-something-else"],
)
def test_a_guide_that_is_wrong_is_found(stage: Stage, tmp_path: Path, block: str) -> None:
    guide = tmp_path / "wrong.md"
    guide.write_text(block)
    with pytest.raises(AssertionError, match=r"^wrong.md, before line \d, on pi as root:"):
        stage.play(guide)
    assert not Path("/etc/made-by-a-guide").exists()


def test_a_block_that_nobody_would_run_is_found(tmp_path: Path) -> None:
    guide = tmp_path / "a.md"
    for fence in ("sh", "bash laptop", "sh laptop rooot", "output"):
        guide.write_text(f"```{fence}\ntrue\n```\n")
        with pytest.raises(ValueError, match=re.escape("a.md, before line 3: ")):
            blocks_of(guide)


@pytest.mark.parametrize(
    ("shown", "said", "same"),
    [
        ("built in 1.2 s, 3 jobs", "built in 2 min 07 s,  3 jobs", True),
        ("built in 1.2 s, 3 jobs", "built in 1.2 s, 4 jobs", False),
        ("a … c", "a b c", True),
        ("a … c", "a\nc", False),
        ("a\n…\nc", "a\nc", True),
        ("a\n…\nc", "a\nb\nb\nc", True),
        ("a\n…\nc", "a\nb", False),
        ("a", "a\nb", False),
        ("a.", "ab", False),
    ],
)
def test_what_is_shown_is_compared(shown: str, said: str, same: bool) -> None:
    assert says(shown, said) is same
