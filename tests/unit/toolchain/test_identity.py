"""Which compilers are recognised, which are refused, and what is noticed afterwards."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from manycc.errors import CompilerError, NotDistributable
from manycc.reasons import Reason
from manycc.toolchain import identity
from manycc.toolchain.identity import Identifier, tool_path


def refusal(identify, driver: str, env: dict[str, str] | None = None) -> NotDistributable:
    with pytest.raises(NotDistributable) as caught:
        identify(driver, env)
    return caught.value


def test_gcc_has_its_parts(gcc) -> None:
    assert gcc.kind == "gcc"
    assert gcc.label.startswith(f"gcc {gcc.version}") and gcc.label.endswith(gcc.target)
    assert {"driver", "cc1", "as", "objcopy", "libraries", "defaults"} <= set(gcc.components)
    paths = [file.path for file in gcc.files]
    assert paths == sorted(set(paths))
    assert all(os.path.realpath(path) == path for path in paths)
    assert not any(os.path.basename(path).startswith(("collect2", "lto", "ld.")) for path in paths)
    links = dict(gcc.links)
    assert all(os.readlink(place) == target for place, target in links.items())
    assert not set(links) & set(paths)


def test_all_names_of_a_compiler_are_one(identify, gcc) -> None:
    real = os.path.realpath(gcc.driver)
    names = {path for name in ("gcc", "cc", os.path.basename(real)) if (path := shutil.which(name))}
    same = [path for path in names if os.path.realpath(path) == real]
    assert len(same) > 1
    assert {identify(path).fingerprint for path in same} == {gcc.fingerprint}


def test_c_and_cxx_drivers_differ_in_the_driver_only(gcc, gxx) -> None:
    different = {name for name in gcc.components if gcc.components[name] != gxx.components.get(name)}
    assert different == {"driver", "places"}


def test_clang(identify, clang_names) -> None:
    toolchain, cxx = map(identify, clang_names)
    assert toolchain.kind == "clang"
    assert toolchain.label.startswith(f"clang {toolchain.version}")
    assert toolchain.fingerprint == cxx.fingerprint
    assert any("libLLVM" in file.path or "libclang" in file.path for file in toolchain.files)


def test_link_chain_outside_is_recorded(identify, gcc, tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "mycc-gcc").symlink_to(gcc.driver)
    (tmp_path / "bin").symlink_to("tools")
    toolchain = identify(str(tmp_path / "bin" / "mycc-gcc"))
    assert toolchain.fingerprint == gcc.fingerprint
    links = dict(toolchain.links)
    assert links[str(tmp_path / "bin")] == "tools"
    assert links[str(tmp_path / "tools" / "mycc-gcc")] == gcc.driver
    assert tool_path(toolchain).split(":")[0] == str(tmp_path / "bin")


def test_script_is_a_wrapper(identify, tmp_path: Path) -> None:
    script = tmp_path / "gcc"
    script.write_text('#!/bin/sh\nexec /usr/bin/gcc "$@"\n')
    script.chmod(0o755)
    error = refusal(identify, str(script))
    assert error.reason is Reason.COMPILER_WRAPPER
    assert "/bin/sh" in error.detail


@pytest.mark.parametrize("wrapper", ["ccache", "distcc", "icecc", "sccache", "manycc"])
def test_masquerade_is_a_wrapper(identify, tmp_path: Path, wrapper: str) -> None:
    shutil.copy2("/bin/true", tmp_path / wrapper)
    (tmp_path / "gcc").symlink_to(wrapper)
    error = refusal(identify, str(tmp_path / "gcc"))
    assert error.reason is Reason.COMPILER_WRAPPER
    assert wrapper in error.detail


def test_program_that_runs_the_compiler_is_a_wrapper(identify, gcc, tmp_path: Path) -> None:
    """No name and no script gives it away: only that the compiler is another one does."""
    source = tmp_path / "wrapper.c"
    source.write_text("#include <unistd.h>\nint main(int n, char **a) { a[0] = DRIVER; execv(a[0], a); return 1; }\n")
    wrapper = tmp_path / "x86-gcc"
    assert os.spawnv(os.P_WAIT, gcc.driver, ["gcc", f'-DDRIVER="{gcc.driver}"', str(source), "-o", str(wrapper)]) == 0
    error = refusal(identify, str(wrapper))
    assert error.reason is Reason.COMPILER_WRAPPER
    assert gcc.driver in error.detail


@pytest.mark.parametrize(
    "path", ["/bin/true", "/bin/sh", "/nonexistent/gcc", "/etc/passwd", "/", "", "gcc", "/dev/zero", "/usr/bin/gcc\0x"]
)
def test_no_compiler(identify, path: str) -> None:
    assert refusal(identify, path).reason is Reason.NOT_A_COMPILER


def test_fifo_is_not_opened(identify, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gcc")
    assert refusal(identify, str(tmp_path / "gcc")).reason is Reason.NOT_A_COMPILER


def test_program_with_another_name_is_never_run(identify, gcc, tmp_path: Path) -> None:
    """A node is told by its peers which program to ask: what is not named as a compiler is not started."""
    shutil.copy2("/bin/touch", tmp_path / "touch")
    (tmp_path / "gcc").symlink_to("touch")
    refused = refusal(identify, str(tmp_path / "gcc"))
    assert refused.reason is Reason.NOT_A_COMPILER and "touch" in refused.detail
    assert "does not answer" not in refused.detail


def test_program_named_as_a_compiler_is_asked_and_refused(identify, tmp_path: Path) -> None:
    shutil.copy2("/bin/true", tmp_path / "gcc")
    assert refusal(identify, str(tmp_path / "gcc")).reason is Reason.NOT_A_COMPILER


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GCC_EXEC_PREFIX", "/opt/x/"),
        ("COMPILER_PATH", ""),
        ("LD_PRELOAD", "/usr/lib/libfaketime.so.1"),
        ("LD_AUDIT", "x"),
    ],
)
def test_environment_that_changes_the_parts(identify, gcc, name: str, value: str) -> None:
    error = refusal(identify, gcc.driver, {**os.environ, name: value})
    assert (error.reason, error.detail) == (Reason.ENVIRONMENT, name)


def test_harmless_environment(identify, gcc, tmp_path: Path) -> None:
    env = {**os.environ, "LD_PRELOAD": "/usr/lib/libfakeroot/libfakeroot-sysv.so", "LD_LIBRARY_PATH": str(tmp_path)}
    assert identify(gcc.driver, env).fingerprint == gcc.fingerprint


def test_library_path_that_brings_another_library(identify, gcc, tmp_path: Path) -> None:
    library = next(file.path for file in gcc.files if "/libz." in file.path or "/libgmp." in file.path)
    name = next(os.path.basename(place) for place, target in gcc.links if target == os.path.basename(library))
    shutil.copy2(library, tmp_path / name)
    error = refusal(identify, gcc.driver, {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)})
    assert error.reason is Reason.ENVIRONMENT
    assert "LD_LIBRARY_PATH" in error.detail


def test_current_gives_the_same_object(identifier: Identifier, gcc_tree) -> None:
    assert identifier.current(gcc_tree.driver, gcc_tree.env) is None
    toolchain = asyncio.run(identifier.identify(gcc_tree.driver, gcc_tree.env))
    assert identifier.current(gcc_tree.driver, gcc_tree.env) is toolchain
    assert asyncio.run(identifier.identify(gcc_tree.driver, gcc_tree.env)) is toolchain


@pytest.mark.parametrize("part", ["driver", "cc1", "assembler"])
def test_upgrade_is_noticed(identifier: Identifier, gcc_tree, part: str) -> None:
    before = asyncio.run(identifier.identify(gcc_tree.driver, gcc_tree.env))
    gcc_tree.upgrade(getattr(gcc_tree, part))
    assert identifier.current(gcc_tree.driver, gcc_tree.env) is None
    after = asyncio.run(identifier.identify(gcc_tree.driver, gcc_tree.env))
    assert after.label == before.label
    assert after.fingerprint != before.fingerprint
    changed = {name for name in before.components if before.components[name] != after.components[name]}
    assert changed == {"as" if part == "assembler" else part}
    assert identifier.current(gcc_tree.driver, gcc_tree.env) is after


def test_same_bytes_again_are_the_same_toolchain(identifier: Identifier, gcc_tree) -> None:
    before = asyncio.run(identifier.identify(gcc_tree.driver, gcc_tree.env))
    os.utime(gcc_tree.cc1)
    assert identifier.current(gcc_tree.driver, gcc_tree.env) is None
    assert asyncio.run(identifier.identify(gcc_tree.driver, gcc_tree.env)).fingerprint == before.fingerprint


def test_link_led_elsewhere_is_noticed(identifier: Identifier, gcc_tree, gcc, tmp_path: Path) -> None:
    name = tmp_path / "cc"
    name.symlink_to(gcc_tree.driver)
    asyncio.run(identifier.identify(str(name), gcc_tree.env))
    name.unlink()
    name.symlink_to(gcc.driver)
    assert identifier.current(str(name), gcc_tree.env) is None
    assert asyncio.run(identifier.identify(str(name), dict(os.environ))).fingerprint == gcc.fingerprint


def test_vanished_compiler(identifier: Identifier, gcc_tree) -> None:
    asyncio.run(identifier.identify(gcc_tree.driver, gcc_tree.env))
    gcc_tree.cc1.unlink()
    assert identifier.current(gcc_tree.driver, gcc_tree.env) is None
    # The driver then finds the cc1 of its own version in the folder it was built for.
    os.unlink(gcc_tree.driver)
    with pytest.raises(NotDistributable):
        asyncio.run(identifier.identify(gcc_tree.driver, gcc_tree.env))
    with pytest.raises(NotDistributable):
        asyncio.run(identifier.identify(gcc_tree.driver, gcc_tree.env))


def test_assembler_depends_on_path(identifier: Identifier, gcc_tree) -> None:
    system = {"PATH": "/usr/bin:/bin"}
    own = asyncio.run(identifier.identify(gcc_tree.driver, gcc_tree.env))
    other = asyncio.run(identifier.identify(gcc_tree.driver, system))
    paths = {file.path for file in own.files}
    assert str(gcc_tree.assembler) in paths
    assert str(gcc_tree.assembler) not in {file.path for file in other.files}
    assert str(gcc_tree.bin) in tool_path(own).split(":")


def test_another_path_to_the_same_programs_is_not_examined_again(identifier: Identifier, gcc_tree, monkeypatch) -> None:
    toolchain = asyncio.run(identifier.identify(gcc_tree.driver, gcc_tree.env))
    monkeypatch.setattr(identity, "examine", None)
    other = {"PATH": gcc_tree.env["PATH"] + ":/nonexistent"}
    assert asyncio.run(identifier.identify(gcc_tree.driver, other)) is toolchain
    assert identifier.current(gcc_tree.driver, other) is toolchain


def test_new_assembler_earlier_along_path(identifier: Identifier, gcc_tree, tmp_path: Path, monkeypatch) -> None:
    first = tmp_path / "first"
    first.mkdir()
    env = {"PATH": f"{first}:{gcc_tree.env['PATH']}"}
    toolchain = asyncio.run(identifier.identify(gcc_tree.driver, env))
    shutil.copy2(gcc_tree.assembler, first / "as")
    assert identifier.current(gcc_tree.driver, env) is toolchain  # looked for once in RECHECK seconds
    monkeypatch.setattr(identity, "RECHECK", -1.0)
    assert identifier.current(gcc_tree.driver, env) is None
    after = asyncio.run(identifier.identify(gcc_tree.driver, env))
    assert str(first / "as") in {file.path for file in after.files}


def test_part_that_is_installed_later(identifier: Identifier, gcc_tree, monkeypatch) -> None:
    toolchain = asyncio.run(identifier.identify(gcc_tree.driver, gcc_tree.env))
    assert "cc1obj" not in toolchain.components
    shutil.copy2("/bin/true", gcc_tree.cc1.parent / "cc1obj")
    monkeypatch.setattr(identity, "RECHECK", -1.0)
    assert identifier.current(gcc_tree.driver, gcc_tree.env) is None
    assert "cc1obj" in asyncio.run(identifier.identify(gcc_tree.driver, gcc_tree.env)).components


def test_specs_file_is_a_part(identify, gcc_tree) -> None:
    before = identify(gcc_tree.driver, gcc_tree.env)
    (gcc_tree.cc1.parent / "specs").write_text("*cc1_options:\n+ -fno-ident\n\n")
    after = identify(gcc_tree.driver, gcc_tree.env)
    assert "specs" in after.components and "specs" not in before.components
    assert str(gcc_tree.cc1.parent / "specs") in {file.path for file in after.files}


def test_concurrent_callers_share_one_examination(identifier: Identifier, gcc_tree, monkeypatch) -> None:
    examinations = []
    real = identity.examine

    async def counted(path, env):
        examinations.append(path)
        return await real(path, env)

    monkeypatch.setattr(identity, "examine", counted)

    async def scenario() -> None:
        tasks = [asyncio.create_task(identifier.identify(gcc_tree.driver, gcc_tree.env)) for _ in range(20)]
        await asyncio.sleep(0)
        tasks[0].cancel()  # must not take the others with it
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert len(set(map(id, results[1:]))) == 1

    asyncio.run(scenario())
    assert len(examinations) == 1


def test_compiler_that_changes_while_it_is_examined(gcc_tree, digest_of) -> None:
    upgrades = iter(range(1))

    def digest_during_upgrade(path: str) -> bytes:
        if path == str(gcc_tree.cc1) and next(upgrades, None) is not None:
            old = digest_of(path)
            gcc_tree.upgrade(gcc_tree.cc1)
            return old
        return digest_of(path)

    toolchain = asyncio.run(Identifier(digest_during_upgrade).identify(gcc_tree.driver, gcc_tree.env))
    assert toolchain.components["cc1"] == digest_of(str(gcc_tree.cc1))


def test_compiler_that_never_stops_changing(gcc_tree) -> None:
    def digest(path: str) -> bytes:
        os.utime(gcc_tree.cc1)
        return bytes(32)

    with pytest.raises(CompilerError, match="keeps changing"):
        asyncio.run(Identifier(digest).identify(gcc_tree.driver, gcc_tree.env))


def test_refusal_is_remembered_for_a_while(identifier: Identifier, tmp_path: Path, monkeypatch) -> None:
    shutil.copy2("/bin/true", tmp_path / "gcc")
    examined = []
    real = identity.examine

    async def counted(path, env):
        examined.append(path)
        return await real(path, env)

    monkeypatch.setattr(identity, "examine", counted)
    for _ in range(3):
        with pytest.raises(NotDistributable):
            asyncio.run(identifier.identify(str(tmp_path / "gcc"), {}))
    assert len(examined) == 1
    monkeypatch.setattr(identity, "REFUSAL_LASTS", -1.0)
    with pytest.raises(NotDistributable):
        asyncio.run(identifier.identify(str(tmp_path / "gcc"), {}))
    assert len(examined) == 2


def test_compiler_that_is_installed_after_it_was_asked_for(identifier: Identifier, gcc, tmp_path: Path) -> None:
    driver = tmp_path / "gcc"
    with pytest.raises(NotDistributable):
        asyncio.run(identifier.identify(str(driver), dict(os.environ)))
    driver.symlink_to(gcc.driver)
    assert asyncio.run(identifier.identify(str(driver), dict(os.environ))).fingerprint == gcc.fingerprint
