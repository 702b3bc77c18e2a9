"""makepkg with its distcc and ccache switches, on machines that are set up as the guides of such systems say.

The client and its helper are namespaces (``machines.py``): what makepkg looks for in ``/usr/lib`` is made there
and nowhere else. makepkg refuses root, so an ordinary user builds.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machines import USER, Machine, lab
from tools import BIN, PROJECT, SOURCES, Ran, products, report, same_products

from manycc.monitor import records
from manycc.testing.requirements import need

HELPER = "192.168.0.100"
HOME = f"/home/{USER}"
NOT_NEW = "/etc/manycc /etc/default/manycc /var/cache/manycc /root/.cache/manycc /usr/lib/distcc/bin"
"""What this machine may have, and a new one has not."""
CONFIG = """\
DLAGENTS=('file::/usr/bin/false')
VCSCLIENTS=()
CARCH="x86_64"
CHOST="x86_64-linux-gnu"
CFLAGS="-march=x86-64 -mtune=generic -O2 -pipe -fno-plt -fexceptions -Wp,-D_FORTIFY_SOURCE=2 -Wformat \
-Werror=format-security -fstack-clash-protection -fcf-protection"
CXXFLAGS="$CFLAGS -Wp,-D_GLIBCXX_ASSERTIONS"
LDFLAGS="-Wl,-O1,--sort-common,--as-needed,-z,relro,-z,now"
MAKEFLAGS="-j8"
DEBUG_CFLAGS="-g"
DEBUG_CXXFLAGS="-g"
DISTCC_HOSTS="{hosts}"
BUILDENV=({distcc} color {ccache} check !sign)
OPTIONS=(strip docs !libtool !staticlibs emptydirs zipman purge debug !lto)
INTEGRITY_CHECK=(sha256)
STRIP_BINARIES="--strip-all"
STRIP_SHARED="--strip-unneeded"
STRIP_STATIC="--strip-debug"
MAN_DIRS=(usr/share/man)
DOC_DIRS=(usr/share/doc)
PURGE_TARGETS=()
DBGSRCDIR="/usr/src/debug"
COMPRESSGZ=(gzip -c -f -n)
PKGEXT='.pkg.tar.gz'
SRCEXT='.src.tar.gz'
"""
"""What Arch Linux ships, but for the host list and the switches."""
PKGBUILD = """\
pkgname=shapes
pkgver=1
pkgrel=1
pkgdesc="a package in C and C++"
arch=(x86_64)
license=(custom)
source=("shapes-$pkgver.tar")
sha256sums=(SKIP)
build() { make -C "shapes-$pkgver"; }
check() { "./shapes-$pkgver/shapes" | grep -qx 'square 14'; }
package() {
  # What is compiled here is compiled under fakeroot.
  make -C "shapes-$pkgver" DESTDIR="$pkgdir" install
}
"""
MAKEFILE = """\
LIB = lib/area.o lib/name.o lib/alone.o
APP = app/main.o app/count.o
CPPFLAGS = -Iinc -MMD
shapes: $(LIB) $(APP)
\t$(CXX) $(LDFLAGS) -o $@ $^
install: shapes late.o
\tinstall -D -m 755 -o root shapes $(DESTDIR)/usr/bin/shapes
late.o: lib/alone.c
\t$(CC) $(CFLAGS) -c -o $@ $<
"""
BUILT = sorted([*SOURCES, "alone.c"])
"""The sources that are compiled: one of them again, when the package is made."""


class Client:
    """The machine that makes packages."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.files = f"/proc/{machine.pid}/root"
        self._seen = 0

    def do(self, script: str, user: str = "root") -> str:
        """Run a script that must succeed; what it printed."""
        done = subprocess.run(
            [*self.machine.enter(user), "bash", "-ec", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout[-4000:]}"
        return done.stdout

    def build(self, hosts: str, distcc: str, ccache: str = "!ccache", before: str = "") -> tuple[Ran, dict[str, str]]:
        """Make the package anew: the jobs of it, and what was made."""
        folder = f"{HOME}/package"
        archive = f"{folder}/shapes-1.tar"
        texts = {
            "makepkg.conf": CONFIG.format(hosts=hosts, distcc=distcc, ccache=ccache),
            "PKGBUILD": PKGBUILD,
            **{f"shapes-1/{name}": text for name, text in {**PROJECT, "Makefile": MAKEFILE}.items()},
        }
        script = [f"rm -rf {folder}"]
        for name, text in texts.items():
            path = shlex.quote(f"{folder}/{name}")
            script.append(f"mkdir -p $(dirname {path}); printf %s {shlex.quote(text)} >{path}")
        script += [f"cd {folder}; tar cf {archive} shapes-1; rm -r shapes-1", "export SOURCE_DATE_EPOCH=1700000000"]
        script += [before, "makepkg --config ./makepkg.conf --nodeps", "tar xf shapes-1-1-x86_64.pkg.tar.gz -C pkg"]
        said = self.do("\n".join(script), USER)
        made = products(self.files + folder)
        return Ran(said, "", 0.0, 0.0, self.news()), made

    def news(self) -> list[dict[str, Any]]:
        """The records of the jobs since the last call."""
        while '"running": 0' not in self.do("manycc status --json", USER):
            pass
        found = list(records.read(f"{self.files}{HOME}/.local/state/manycc/jobs.jsonl"))
        new, self._seen = found[self._seen :], len(found)
        return new


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    need("makepkg", "pacman", "bsdtar", "fakeroot", "ccache")
    # In the machines, an ordinary user must be able to run what is installed here.
    way = [*Path(BIN).resolve().parents, Path(BIN), *Path(os.path.realpath(f"{BIN}/python")).parents]
    install = (
        f"chmod o+x {' '.join(shlex.quote(str(folder)) for folder in way)}\n"
        f"ln -sf {BIN}/manycc {BIN}/manycc-cli /usr/local/bin/\nrm -rf {NOT_NEW}\n"
    )
    with lab(str(tmp_path_factory.mktemp("lab"))) as rack:
        helper = rack.machine("helper", HELPER)
        helper.run(
            "root", f"{install}manycc node --daemon --listen 0.0.0.0 --port 3636 --allow 192.168.0.0/24 --jobs 6"
        )
        made = Client(rack.machine("laptop", "192.168.0.10"))
        made.do(f"{install}manycc compat --install /usr/local/bin")
        yield made
        made.do("manycc agent stop", USER)


@pytest.fixture(scope="module")
def wanted(client: Client) -> dict[str, str]:
    """What makepkg makes where its distcc switch finds no folder to put into PATH: nothing comes to manycc."""
    ran, made = client.build(f"{HELPER}:3636/6", "distcc")
    assert ran.records == []
    assert "usr/bin/shapes" in " ".join(made)
    return made


def check(ran: Ran) -> None:
    """All that could go went, and makepkg had nothing to complain of."""
    ran.nothing_failed_over()
    assert not [line for line in ran.stdout.splitlines() if line.startswith(("manycc:", "distcc["))]
    assert ran.remote == BUILT
    assert ran.reasons["not-compile"] == 1  # the link


def test_the_masquerade_folder_that_makepkg_looks_for(client: Client, wanted: dict[str, str]) -> None:
    client.do("manycc compat --masquerade /usr/lib/distcc/bin; manycc node --daemon --jobs 2 --pid-file /run/node")
    ran, made = client.build(f"127.0.0.1/2 {HELPER}:3636/6", "distcc")
    same_products(wanted, made)
    check(ran)
    used = {record["host"] for record in ran.records if record["reason"] == "remote"}
    assert f"{HELPER}:3636" in used <= {f"{HELPER}:3636", "127.0.0.1"}
    report("makepkg", "`BUILDENV=(distcc …)`, `/usr/lib/distcc/bin`", [ran])

    client.do("kill $(cat /run/node)")  # a list with a host that is down
    ran, made = client.build(f"127.0.0.1/2 {HELPER}:3636/6", "distcc")
    same_products(wanted, made)
    check(ran)
    client.do("rm -r /usr/lib/distcc/bin")


def test_with_ccache_before_it(client: Client, wanted: dict[str, str]) -> None:
    """makepkg then sets CCACHE_PREFIX=distcc, and /usr/lib/distcc/bin is of no account."""
    client.do("ln -s . /usr/lib/ccache/bin")
    ran, made = client.build(f"{HELPER}:3636/6", "distcc", "ccache")
    same_products(wanted, made)
    check(ran)
    report("makepkg", "`BUILDENV=(distcc ccache …)`", [ran])
    again, made = client.build(f"{HELPER}:3636/6", "distcc", "ccache")
    same_products(wanted, made)
    assert again.remote == []
    client.do("rm /usr/lib/ccache/bin")


def test_without_that_folder_by_one_of_our_own(client: Client, wanted: dict[str, str]) -> None:
    """Debian's makepkg finds none; PATH may have another."""
    ran, made = client.build(f"{HELPER}:3636/6", "distcc", before='export PATH="$(manycc masquerade):$PATH"')
    same_products(wanted, made)
    check(ran)
    report("makepkg", "`BUILDENV=(distcc …)`, `PATH=$(manycc masquerade):$PATH`", [ran])
