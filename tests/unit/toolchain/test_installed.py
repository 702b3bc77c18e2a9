"""Which compilers are found on a machine, and what is said of those that are not used."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from manycc.errors import ToolchainError
from manycc.testing.requirements import need, need_root
from manycc.toolchain import added, machines
from manycc.toolchain.installed import ADDED, FOUND, PATH, ZIG, Found, drivers_below, installed, look_at, runs_here

CROSS = "/usr/bin/aarch64-linux-gnu-gcc"


def program(path: Path, machine: int = 62) -> Path:
    """A file that is a program by its header: 62 is x86-64, 183 aarch64, 8 MIPS, 40 ARM, 3 x86."""
    wide = machine in (62, 183)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack("<4sBBB9xHHI", b"\x7fELF", 2 if wide else 1, 1, 1, 2, machine, 1)
    path.write_bytes(header.ljust(64, b"\0"))
    path.chmod(0o755)
    return path


def found_in(*folders: Path, home: Path | None = None, kept: Path | None = None) -> dict[str, Found]:
    """What is found along these folders, by the last part of its path; not what this machine has besides."""
    env = {"PATH": ":".join(map(str, folders)), "HOME": str(home or "")}
    everything = installed(env, (str(kept),) if kept else ())
    below = os.path.commonpath([str(path) for path in (*folders, home, kept) if path is not None])
    return {os.path.basename(one.path): one for one in everything if one.path.startswith(below)}


def test_this_machines_compilers_are_found() -> None:
    need("gcc", "g++", "clang-14", CROSS)
    by_path: dict[str, Found] = {}
    for one in installed(dict(os.environ), ()):
        for path in (one.path, *one.aliases):
            by_path[path] = one
    gcc, gxx, cross, clang = (by_path[f"/usr/bin/{name}"] for name in ("gcc", "g++", CROSS[9:], "clang-14"))
    assert gcc.usable and gcc.kind == "gcc" and not gcc.cxx and gcc.origin == PATH and gcc.host == machines.this_host()
    assert gxx.usable and gxx.cxx and gxx is not gcc
    assert cross.usable and cross.host == gcc.host and "gcc" in os.path.basename(cross.path)
    assert clang.usable and clang.kind == "clang"
    assert by_path["/usr/bin/gcc-12"] is gcc and by_path["/usr/bin/cc"] is gcc
    assert os.path.basename(gcc.path) != "cc"


def test_names_of_all_kinds_and_what_is_none(tmp_path: Path) -> None:
    names = (
        "gcc-12",
        "aarch64-unknown-linux-gnu-g++",
        "armv7l-unknown-linux-gnueabihf-gcc-14.2.0",
        "clang++-19",
        "x86_64-linux-musl-cc",
    )
    for name in names:
        program(tmp_path / name)
    for name in (
        "gcc-ar",
        "gcc-ar-12",
        "gcc.exe",
        "clang-format",
        "clang-cpp-14",
        "cpp",
        "as",
        "c99-gcc",
        "c89",
        "gcc-12.conf",
    ):
        program(tmp_path / name)
    (tmp_path / "gcc").mkdir()
    found = found_in(tmp_path)
    assert set(found) == set(names)
    assert {name for name, one in found.items() if one.cxx} == {"aarch64-unknown-linux-gnu-g++", "clang++-19"}
    assert not any(one.refused for one in found.values())


def test_wrappers_and_worse_are_refused_by_name(tmp_path: Path) -> None:
    bin_folder = tmp_path / "bin"
    for wrapper in ("ccache", "distcc", "colorgcc"):
        program(tmp_path / wrapper)
        folder = tmp_path / f"{wrapper}-links"
        folder.mkdir()
        (folder / "gcc").symlink_to(tmp_path / wrapper)
        said = look_at(str(folder / "gcc")).refused
        assert said == f"{folder / 'gcc'} is {wrapper}"
    program(bin_folder / "gcc-11")
    (bin_folder / "gcc").write_text('#!/bin/sh\nexec /usr/bin/gcc "$@"\n')
    (bin_folder / "gcc").chmod(0o755)
    (bin_folder / "gcc-1").symlink_to("gcc-2")
    (bin_folder / "gcc-2").symlink_to("gcc-1")
    (bin_folder / "gcc-3").symlink_to("nowhere")
    (bin_folder / "gcc-4").write_bytes(b"")
    program(bin_folder / "gcc-5").chmod(0o644)
    (bin_folder / "gcc-6").symlink_to("/dev/zero")
    program(tmp_path / "busybox")
    (bin_folder / "gcc-7").symlink_to("../busybox")
    os.mkfifo(tmp_path / "pipe")
    (bin_folder / "gcc-8").symlink_to("../pipe")
    found = found_in(tmp_path / "ccache-links", bin_folder)
    assert "is a script for /bin/sh" in look_at(str(bin_folder / "gcc")).refused
    assert "Too many levels of symbolic links" in found["gcc-1"].refused and "gcc-2" in found
    assert "No such file" in found["gcc-3"].refused
    for name in ("gcc-4", "gcc-5", "gcc-6", "gcc-7", "gcc-8"):
        assert found[name].refused and not found[name].usable, name
    assert found["gcc-11"].usable is (machines.this_host() == "x86-64")


def test_a_wrapper_in_front_hides_nothing(tmp_path: Path) -> None:
    """Seen through: the compiler behind it in PATH is found as well."""
    program(tmp_path / "ccache")
    (tmp_path / "links").mkdir()
    (tmp_path / "links/gcc").symlink_to("../ccache")
    program(tmp_path / "bin/gcc")
    env = {"PATH": f"{tmp_path}/links:{tmp_path}/bin", "HOME": ""}
    mine = [one for one in installed(env) if one.path.startswith(str(tmp_path))]
    assert [(one.path, bool(one.refused)) for one in mine] == [
        (f"{tmp_path}/links/gcc", True), (f"{tmp_path}/bin/gcc", False)
    ]  # fmt: skip


def test_one_compiler_of_many_names_is_told_once(tmp_path: Path) -> None:
    real = program(tmp_path / "bin/x86_64-linux-gnu-gcc-12")
    (tmp_path / "bin/gcc-12").symlink_to(real.name)
    (tmp_path / "bin/gcc").symlink_to("gcc-12")
    (tmp_path / "bin/cc").symlink_to("gcc")
    os.link(real, tmp_path / "bin/x86_64-linux-gnu-gcc")
    (tmp_path / "also").symlink_to("bin")
    clang = program(tmp_path / "bin/clang-14")
    for name in ("clang", "clang++", "aarch64-linux-gnu-clang"):
        (tmp_path / "bin" / name).symlink_to(clang.name)
    found = found_in(tmp_path / "bin", tmp_path / "also")
    assert set(found) == {"gcc", "clang", "clang++", "aarch64-linux-gnu-clang"}
    others = {os.path.basename(path) for path in found["gcc"].aliases}
    assert others == {"cc", "gcc-12", "x86_64-linux-gnu-gcc", "x86_64-linux-gnu-gcc-12"}


def test_other_processors_are_told(tmp_path: Path) -> None:
    for machine, host in ((62, "x86-64"), (183, "aarch64"), (40, "arm"), (3, "x86"), (8, "mipsel")):
        assert look_at(str(program(tmp_path / host / "gcc", machine))).host == host
    runs = {host for host in ("x86-64", "aarch64", "arm", "x86", "mipsel") if runs_here(host)}
    assert runs == {"x86-64": {"x86-64", "x86"}, "aarch64": {"aarch64", "arm"}}[machines.this_host()]
    assert not runs_here("")


def test_what_others_could_have_put_there_is_not_run(tmp_path: Path) -> None:
    program(tmp_path / "open/gcc")
    (tmp_path / "open").chmod(0o777)
    program(tmp_path / "sound/gcc-12")
    # A link that others could exchange is as good as a file that they could.
    (tmp_path / "open/gcc-12").symlink_to("../sound/gcc-12")
    found = found_in(tmp_path / "open")
    assert found["gcc"].refused == f"{tmp_path}/open/gcc lies where other users can write"
    assert (
        "gcc-12" not in found
        and look_at(str(tmp_path / "open/gcc-12")).refused
        and not look_at(str(tmp_path / "sound/gcc-12")).refused
    )


def test_other_users_programs_are_not_run(tmp_path: Path) -> None:
    need_root("give a file to another user")
    os.chown(program(tmp_path / "gcc"), 65534, 65534)
    assert "other users" in look_at(str(tmp_path / "gcc")).refused


def test_the_usual_places_below_home(tmp_path: Path) -> None:
    for place in ("x-tools/aarch64-unknown-linux-gnu/bin", "x-tools8/armv6h/bin", "elsewhere/bin"):
        program(tmp_path / place / f"{place.split('/')[1]}-gcc")
    (tmp_path / "empty").mkdir()
    found = found_in(tmp_path / "empty", home=tmp_path)
    assert set(found) == {"aarch64-unknown-linux-gnu-gcc", "armv6h-gcc"}
    assert all(one.origin == FOUND for one in found.values())


@pytest.mark.parametrize(
    "place",
    ["bin/x-gcc", "x-tools/t/bin/x-gcc", "usr/bin/gcc", "a/b/c/d/bin/clang", "gcc", "ziglang/zig", "zig-0.15/zig"],
)  # fmt: skip
def test_layouts(tmp_path: Path, place: str) -> None:
    path = program(tmp_path / place)
    if place == "bin/x-gcc":
        program(tmp_path / "x/bin/gcc")  # the compiler's own parts
        program(tmp_path / "x/sysroot/usr/bin/gcc")
    assert drivers_below(str(tmp_path)) == [str(path)]


def test_a_folder_without_end_is_left(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number}/{number}").mkdir(parents=True)
    (tmp_path / "0/loop").symlink_to("..")
    program(tmp_path / "1/2/3/4/5/6/bin/gcc")
    assert drivers_below(str(tmp_path)) == []


# -- added ones


@pytest.fixture(scope="module")
def x_tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as crosstool-NG makes them, of the cross compiler's own files; C only."""
    need(CROSS)
    top = tmp_path_factory.mktemp("made") / "x-tools" / "aarch64-linux-gnu"
    parts = "lib/gcc-cross/aarch64-linux-gnu/12"
    for folder in ("bin", parts, "aarch64-linux-gnu/bin"):
        (top / folder).mkdir(parents=True)
    shutil.copy(f"{CROSS}-12", top / "bin/aarch64-linux-gnu-gcc")
    shutil.copy(f"/usr/{parts}/cc1", top / parts)
    shutil.copy("/usr/aarch64-linux-gnu/bin/as", top / "bin/aarch64-linux-gnu-as")
    (top / "aarch64-linux-gnu/bin/as").symlink_to("../../bin/aarch64-linux-gnu-as")
    return top


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "MANYCC_DIR": str(tmp_path / "own")}


def nothing_left(env: dict[str, str]) -> bool:
    return not os.path.isdir(added.own_folder(env)) or os.listdir(added.own_folder(env)) == []


def test_a_folder_is_used_where_it_is(tmp_path: Path, x_tools: Path) -> None:
    env = environment(tmp_path)
    one, toolchains = asyncio.run(added.add(str(x_tools.parent), env))
    assert one.name == "gcc-12.2.0-aarch64-linux-gnu" and one.linked == str(x_tools.parent)
    assert [each.facts["triple"] for each in toolchains] == ["aarch64-linux-gnu"]
    found = [each for each in installed(env, added.folders(env)) if each.origin == ADDED]
    assert [each.toolchain for each in found] == [one.name] and found[0].usable
    assert found[0].path == f"{one.tree}/aarch64-linux-gnu/bin/aarch64-linux-gnu-gcc"
    with pytest.raises(ToolchainError, match="is there already"):
        asyncio.run(added.add(str(x_tools), env))
    assert [each.name for each in added.added(env)] == [one.name]
    assert added.remove(one.name, env) == one
    assert nothing_left(env) and (x_tools / "bin/aarch64-linux-gnu-gcc").exists()
    with pytest.raises(ToolchainError, match="no toolchain"):
        added.remove(one.name, env)


def test_a_copied_one_can_be_read_by_all(tmp_path: Path, x_tools: Path) -> None:
    env = environment(tmp_path)
    mask = os.umask(0o077)
    try:
        one, _ = asyncio.run(added.add(str(x_tools), env, copy=True, name="mine"))
    finally:
        os.umask(mask)
    for folder, folders, files in os.walk(added.own_folder(env)):
        for name in (".", *folders, *files):
            mode = os.lstat(os.path.join(folder, name)).st_mode
            assert stat.S_ISLNK(mode) or mode & 0o444 == 0o444, name
    assert one.name == "mine" and one.linked == "" and os.path.isfile(f"{one.tree}/bin/aarch64-linux-gnu-gcc")


def test_what_is_not_added_leaves_nothing(tmp_path: Path, x_tools: Path) -> None:
    env = environment(tmp_path)

    def refused(source: Path, why: str, **options: object) -> None:
        with pytest.raises(ToolchainError) as caught:
            asyncio.run(added.add(str(source), env, **options))  # type: ignore[arg-type]
        assert why in str(caught.value)
        assert nothing_left(env)

    empty = tmp_path / "empty"
    empty.mkdir()
    refused(empty, "has no compiler: there is no folder bin")
    other = {"x86-64": 183}.get(machines.this_host(), 62)
    foreign = program(tmp_path / "foreign/bin/x86_64-linux-gnu-gcc", other).parent.parent
    refused(
        foreign, f"its programs run on {machines.host_of(str(foreign / 'bin/x86_64-linux-gnu-gcc'))}, this machine is"
    )
    archive = tmp_path / "foreign.tar.gz"
    subprocess.run(["tar", "-czf", str(archive), "-C", str(foreign), "bin"], check=True, timeout=60)
    refused(archive, "foreign.tar.gz is for another machine")
    (tmp_path / "script/bin").mkdir(parents=True)
    (tmp_path / "script/bin/gcc").write_text("#!/usr/bin/env python3\n")
    (tmp_path / "script/bin/gcc").chmod(0o755)
    refused(tmp_path / "script", f"{tmp_path}/script/bin/gcc is a script for /usr/bin/env python3")
    (tmp_path / "wrapper/bin").mkdir(parents=True)
    shutil.copy("/bin/true", tmp_path / "wrapper/bin/ccache")
    (tmp_path / "wrapper/bin/gcc").symlink_to("ccache")
    refused(tmp_path / "wrapper", "gcc is ccache")
    (tmp_path / "none/bin").mkdir(parents=True)
    shutil.copy("/bin/true", tmp_path / "none/bin/gcc")
    refused(tmp_path / "none", "does not answer as one")
    broken = tmp_path / "broken"
    shutil.copytree(x_tools, broken, symlinks=True)
    shutil.copy("/usr/bin/as", broken / "bin/aarch64-linux-gnu-as")
    refused(broken, "does not compile")
    refused(tmp_path / "nothing", "No such file")
    refused(x_tools, "cannot be the name", name="../up")
    refused(x_tools, "cannot be the name", name=".hidden")


def test_a_folder_that_others_write_to_is_copied_or_refused(tmp_path: Path, x_tools: Path) -> None:
    env = environment(tmp_path)
    shared = tmp_path / "shared"
    shutil.copytree(x_tools, shared, symlinks=True)
    shared.chmod(0o777)
    with pytest.raises(ToolchainError, match=f"others than .* can write there .*--copy {shared}"):
        asyncio.run(added.add(str(shared), env))
    one, _ = asyncio.run(added.add(str(shared), env, copy=True))
    assert not one.linked


def test_what_a_killed_one_left_is_cleared(tmp_path: Path, x_tools: Path) -> None:
    env = environment(tmp_path)
    above = Path(added.own_folder(env))
    (above / ".adding-dead" / "tree").mkdir(parents=True)
    (above / ".adding-alive").mkdir()
    code = (
        "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX);"
        "print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(above / ".adding-alive")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdin is not None and other.stdout is not None
        other.stdout.readline()
        one, _ = asyncio.run(added.add(str(x_tools), env))
        assert sorted(os.listdir(above)) == [".adding-alive", one.name]
        assert [each.name for each in added.added(env)] == [one.name]
        other.stdin.close()


def test_removing_touches_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = environment(tmp_path)
    above, outside = Path(added.own_folder(env)), tmp_path / "outside"
    (outside / "bin").mkdir(parents=True)
    (above / "one").mkdir(parents=True)
    (above / "one/tree").symlink_to(outside)
    (above / "two").symlink_to(outside)
    (above / "three/tree/lib").mkdir(parents=True)
    (above / "three/tree/lib/up").symlink_to("../../..")
    for name in ("one", "two", "three"):
        assert added.remove(name, env).name == name
        assert (outside / "bin").is_dir() and not os.path.lexists(above / name)
    (above / "four").mkdir()

    def refused(old: str, new: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), old)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", refused)
        with pytest.raises(ToolchainError) as raised:
            added.remove("four", env)
    assert (raised.value.why, raised.value.hint) == ("Permission denied", "sudo manycc toolchain remove four")
    assert os.listdir(above) == ["four"]


def test_where_they_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert added.folders({"HOME": "/root"}) == (added.SYSTEM,)
    assert added.folders({"HOME": "/root", "MANYCC_DIR": "/m"}) == ("/m/toolchains", added.SYSTEM)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert added.folders({"HOME": "/home/pi"}) == ("/home/pi/.local/share/manycc/toolchains", added.SYSTEM)
    assert added.folders({"HOME": "/home/pi", "XDG_DATA_HOME": "/d"}) == ("/d/manycc/toolchains", added.SYSTEM)


def test_zig_by_its_name(tmp_path: Path) -> None:
    program(tmp_path / "ziglang/zig")
    one = look_at(drivers_below(str(tmp_path))[0])
    assert one.kind == ZIG and not one.refused
    (tmp_path / "ziglang/zig").write_text("#!/bin/sh\n")
    assert look_at(str(tmp_path / "ziglang/zig")).refused
