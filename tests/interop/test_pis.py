"""Emulated Raspberry Pis and this machine help each other, with compilers that are equivalent.

A Pi helps this machine by Debian's own cross compiler, or by one out of an archive; this machine helps a Pi; a Pi
that has no compiler for the job says what it lacks. Every object is compared with what the client's own compiler makes.

MANYCC_TEST_LONG=1 builds C++ in all of these ways and whole packages, on 32-bit ARM, too, and with makepkg.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sources
from pi_builds import SMALL, Built, Client, Here, anew, both, cross_archive, lay_out, node_on, without_cross
from pis import Pi, pi
from test_tools_makepkg import MAKEFILE, PKGBUILD
from tools import PROJECT, products, same_products
from tools import SOURCES as PROJECT_SOURCES
from userland import ARM64, ARMHF, MAKEPKG, USER, Processor

from manycc.testing.cluster import Node
from manycc.testing.requirements import need
from manycc.toolchain.machines import this_host

LONG = os.environ.get("MANYCC_TEST_LONG") == "1"
long_run = pytest.mark.skipif(not LONG, reason="MANYCC_TEST_LONG=1 runs it")
MAKE_C = ["make", "-j2", "FLAGS=-O1 -g", "lib/area.c.o", "lib/name.c.o"]
MAKE_BOTH = [*MAKE_C, "app/main.cc.o"]
FLAGS = "-O2 -g"
ARMV6 = "-march=armv6 -mfpu=vfp -marm"
RASPBIAN = """\
*self_spec:
+ %{march=armv7-a+fp:%<march=armv7-a+fp %<mthumb -march=armv6 -mfpu=vfp -marm}

"""
"""For Debian's gcc, to be one with the defaults of Raspbian's."""
JSONCPP = """\
SRC = $(wildcard src/lib_json/*.cpp src/test_lib_json/*.cpp)
all: $(SRC:.cpp=.o)
%.o: %.cpp
\t$(CXX) $(FLAGS) -Iinclude -c $< -o $@
"""
MAKEPKG_CONF = """\
DLAGENTS=('file::/usr/bin/false')
VCSCLIENTS=()
CARCH="{arch}"
CHOST="{triple}"
CFLAGS="-O2 -pipe -fexceptions -Wformat -Werror=format-security"
CXXFLAGS="$CFLAGS -Wp,-D_GLIBCXX_ASSERTIONS"
LDFLAGS="-Wl,-O1,--sort-common,--as-needed,-z,relro,-z,now"
MAKEFLAGS="-j4"
DEBUG_CFLAGS="-g"
DEBUG_CXXFLAGS="-g"
BUILDENV=({distcc} color !ccache check !sign)
OPTIONS=(strip docs !libtool !staticlibs emptydirs zipman purge !debug !lto)
INTEGRITY_CHECK=(sha256)
STRIP_BINARIES="--strip-all"
STRIP_SHARED="--strip-unneeded"
STRIP_STATIC="--strip-debug"
MAN_DIRS=(usr/share/man)
DOC_DIRS=(usr/share/doc)
PURGE_TARGETS=()
COMPRESSGZ=(gzip -c -f -n)
PKGEXT='.pkg.tar.gz'
SRCEXT='.src.tar.gz'
"""

pytestmark = [
    pytest.mark.timeout(7200 if LONG else 900),
    pytest.mark.skipif(this_host() != "x86-64", reason="Debian's cross compilers for the Pis' clients are x86-64's"),
]


@pytest.fixture(scope="module")
def arm64(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pi]:
    with pi(ARM64, str(tmp_path_factory.mktemp("pi"))) as machine:
        yield machine


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node on this machine."""
    need("aarch64-linux-gnu-g++", "arm-linux-gnueabihf-g++")
    folder = tmp_path_factory.mktemp("laptop")
    node = Node(str(folder / "node"), 2)
    node.start()
    yield node
    node.stop()


def check(alone: Built, built: Built, compiles: int) -> None:
    """Everything went to the node's equivalent compiler, and is what the client's own makes."""
    same_products(alone.made, built.made)
    faults = [(one.get("src"), one["reason"], one["detail"]) for one in built.compiles if one not in built.remote]
    assert not faults
    assert len(built.remote) == compiles
    assert built.ways == {"equivalent"}


def test_this_machine_helps_a_pi(arm64: Pi, laptop: Node) -> None:
    lay_out(arm64, "/home/you/src", SMALL)
    client = Client(arm64, laptop.host)
    check(*both(client, "/home/you/src", MAKE_BOTH if LONG else MAKE_C), 3 if LONG else 2)

    # Debian's native compiler has a patch that its cross compiler lacks, under one version; it shows with this option.
    for path in arm64.path("/home/you/src").rglob("*.o"):
        path.unlink()
    alone, built = both(client, "/home/you/src", ["make", "FLAGS=-O2 -fstack-protector-strong", "lib/area.c.o"])
    same_products(alone.made, built.made)
    (one,) = built.records
    assert one["reason"] == "not-equivalent"
    assert "makes another object of canary.c with -O2 -fstack-protector-strong" in one["detail"]
    client.close()


def package(client: Client, name: str, folder: str, tmp_path: Path, flags: str = FLAGS) -> tuple[Built, Built]:
    """Build Lua or jsoncpp on a machine, without and with manycc."""
    unpacked = sources.unpack({"lua": "lua5.4", "jsoncpp": "libjsoncpp"}[name], str(tmp_path / f"{name}-source"))
    if name == "jsoncpp":
        Path(unpacked, "Makefile").write_text(JSONCPP)
    if isinstance(client.machine, Pi):
        client.machine.give(unpacked, folder)
    else:
        shutil.copytree(unpacked, folder, symlinks=True)
    if name == "lua":
        return both(client, folder, ["make", "-j4", "-C", "src", "linux", f"MYCFLAGS={flags}"])
    return both(client, folder, ["make", "-j4", f"FLAGS={flags}"])


@long_run
@pytest.mark.parametrize("name", ["lua", "jsoncpp"])
def test_a_pi_helps_with_a_package(arm64: Pi, tmp_path: Path, name: str) -> None:
    with node_on(arm64) as host:
        client = Client(Here(tmp_path), host)
        alone, built = package(client, name, str(tmp_path / "src"), tmp_path)
        check(alone, built, len(built.compiles))
        assert len(built.remote) >= {"lua": 34, "jsoncpp": 5}[name]
        client.close()


def test_a_pi_with_debians_cross_compiler_without_one_and_with_an_archive(arm64: Pi, tmp_path: Path) -> None:
    """A node runs on while its compiler is taken away, and another is added. That Pi serves no test after this one."""
    folder = str(tmp_path / "src")
    make, compiles = (MAKE_BOTH, 3) if LONG else (MAKE_C, 2)
    archive = cross_archive(arm64, tmp_path, cxx=LONG)
    with node_on(arm64, "changed") as host:
        client = Client(Here(tmp_path), host)
        lay_out(client.machine, folder, SMALL)
        alone, built = both(client, folder, make)
        check(alone, built, compiles)
        client.close()  # the next one asks anew

        without_cross(arm64)
        built = anew(client, folder, make)
        same_products(alone.made, built.made)
        assert not built.remote
        assert {one["reason"] for one in built.compiles} == {"no-toolchain"}
        for one in built.compiles:
            assert "for x86_64-linux-gnu here" in one["detail"]
        assert "manycc toolchain install x86_64-linux-gnu@" in client.cli("doctor", check=False)
        client.close()

        shutil.copy(archive, arm64.path("/root/x-tools.tar.xz"))
        said = arm64.run(["manycc", "toolchain", "add", "/root/x-tools.tar.xz", "--name", "x-tools"]).stdout
        assert "x86_64-linux-gnu" in said
        check(alone, anew(client, folder, make), compiles)
        client.close()
    arm64.run(["manycc", "toolchain", "remove", "x-tools"])


@pytest.fixture(scope="module", params=[ARM64, ARMHF], ids=lambda one: one.arch)
def packager(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pi]:
    """A Pi with makepkg, too."""
    processor: Processor = request.param
    with pi(processor, str(tmp_path_factory.mktemp("packager")), packages=MAKEPKG) as machine:
        yield machine


@long_run
@pytest.mark.parametrize("name", ["lua", "jsoncpp"])
def test_this_machine_helps_a_pi_with_a_package(packager: Pi, laptop: Node, tmp_path: Path, name: str) -> None:
    client = Client(packager, laptop.host, state=f"/tmp/{name}-client")
    flags = FLAGS if packager.processor is ARM64 else "-O2"
    alone, built = package(client, name, f"/home/you/{name}", tmp_path, flags)
    check(alone, built, len(built.compiles))
    assert len(built.remote) >= {"lua": 34, "jsoncpp": 5}[name]
    print(
        f"{packager.processor.arch} {name}: {alone.wall_s:.0f} s alone, {built.wall_s:.0f} s with this machine's help"
    )
    client.close()


@long_run
def test_debug_information_for_a_32_bit_client(packager: Pi, laptop: Node) -> None:
    """The assembler of a 64-bit machine encodes line information otherwise than a 32-bit one's, in some files."""
    lay_out(packager, "/home/you/debug", SMALL)
    client = Client(packager, laptop.host, state="/tmp/debug-client")
    _, built = both(client, "/home/you/debug", ["make", "FLAGS=-O2 -g", "lib/area.c.o"])
    (one,) = built.records
    if packager.processor is ARM64:
        assert one["reason"] == "remote"
    else:
        assert (one["reason"], "line information (-g)" in one["detail"]) == ("not-equivalent", True)
    client.close()


@long_run
@pytest.mark.parametrize("packager", [ARMHF], ids=["armhf"], indirect=True)
def test_code_for_raspbians_processors(packager: Pi, laptop: Node) -> None:
    """ARMv6 with VFP2, first because the command says so, then as the default of a gcc of the same name and target."""
    need("arm-linux-gnueabihf-readelf")
    specs = os.path.join(os.path.dirname(packager.run(["gcc", "-print-libgcc-file-name"]).stdout), "specs")
    try:
        for name, flags, level in (("v7", "", "v7"), ("asked", ARMV6, "v6"), ("raspbian", "", "v6")):
            if name == "raspbian":
                packager.write(specs, RASPBIAN)
            lay_out(packager, f"/home/you/{name}", SMALL)
            client = Client(packager, laptop.host, state=f"/tmp/{name}-client")
            check(*both(client, f"/home/you/{name}", ["make", f"FLAGS=-O2 {flags}", "lib/area.c.o", "lib/name.c.o"]), 2)
            client.close()
            made = str(packager.path(f"/home/you/{name}/lib/area.c.o"))
            told = subprocess.run(["arm-linux-gnueabihf-readelf", "-A", made], capture_output=True, text=True).stdout
            assert (f"Tag_CPU_arch: {level}\n" in told, "Tag_FP_arch: VFPv2\n" in told) == (True, level == "v6")
    finally:
        packager.path(specs).unlink(missing_ok=True)


@long_run
def test_this_machine_helps_makepkg_on_a_pi(packager: Pi, laptop: Node) -> None:
    packager.run(["manycc", "compat", "--install", "/usr/local/bin"])
    packager.run(["manycc", "compat", "--masquerade", "/usr/lib/distcc/bin"])
    client = Client(packager, laptop.host, user=USER, state=f"/home/{USER}/state")
    arch = packager.run(["uname", "-m"]).stdout.strip()
    env = {"SOURCE_DATE_EPOCH": "1700000000", "BUILDDIR": "/tmp/build"}
    made = []
    for distcc in ("!distcc", "distcc"):
        folder = f"/home/{USER}/{len(made)}"
        conf = MAKEPKG_CONF.format(arch=arch, triple=packager.processor.triple, distcc=distcc)
        lay_out(packager, folder, {"makepkg.conf": conf, "PKGBUILD": PKGBUILD.replace("arch=(x86_64)", "arch=(any)")})
        lay_out(packager, f"{folder}/shapes-1", {**PROJECT, "Makefile": MAKEFILE})
        packager.run(["tar", "cf", "shapes-1.tar", "--remove-files", "shapes-1"], folder)
        packager.run(["chown", "-R", f"{USER}:{USER}", f"/home/{USER}"])
        packager.run(["rm", "-rf", "/tmp/build"])
        built = client.build(["makepkg", "--config", "./makepkg.conf", "--nodeps"], folder, env)
        packager.run(["mkdir", "out"], folder)
        packager.run(["tar", "xf", "shapes-1-1-any.pkg.tar.gz", "-C", "out"], folder)
        packager.run(["cp", "-r", "/tmp/build/shapes/src/shapes-1", "out/objects"], folder)
        made.append((built, products(packager.path(f"{folder}/out"))))
    (without, wanted), (built, got) = made
    assert not without.records
    same_products(wanted, got)
    stayed = [(one.get("src"), one["reason"], one["detail"]) for one in built.compiles if one not in built.remote]
    assert stayed == []
    assert sorted(os.path.basename(one["src"]) for one in built.remote) == sorted([*PROJECT_SOURCES, "alone.c"])
    assert built.ways == {"equivalent"}
    client.close()
