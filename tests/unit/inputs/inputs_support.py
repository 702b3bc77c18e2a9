"""What the tests of the inputs share: collecting as the agent does, and the compiler as the judge."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import cache

from manycc.command.parse import parse
from manycc.inputs.collect import Collector
from manycc.inputs.fileview import FileView
from manycc.inputs.manifest import Manifest
from manycc.inputs.preprocess import dependency_arguments, parse_dependencies
from manycc.job import FILE, FOLDER, LINK, Toolchain, ToolFile
from manycc.testing.fileview import Tree, settled_view
from manycc.testing.requirements import lacking

ENV = {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}


def toolchain(driver: str = "gcc", kind: str = "gcc", target: str = "") -> Toolchain:
    """A toolchain as far as the inputs care."""
    path = shutil.which(driver)
    if path is None:
        lacking(f"{driver} not installed")
    files = (ToolFile(_cc1(path), b"", 0),) if kind == "gcc" else ()
    return Toolchain(f"{driver} of this machine", path, kind, "", target, "", files, (), {})


@cache
def _cc1(driver: str) -> str:
    done = subprocess.run([driver, "-print-prog-name=cc1"], capture_output=True, text=True, check=False)
    return os.path.realpath(done.stdout.strip())


class Client:
    """A view and a collector over a tree."""

    def __init__(self, tree: Tree, view: FileView | None = None, database: str | None = None) -> None:
        self.tree = tree
        self.view = view or settled_view()
        self.collector = Collector(self.view, database)

    def collect(
        self,
        *argv: str,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        extra: Sequence[str] = (),
        kind: str = "gcc",
        driver: str = "",
    ) -> Manifest:
        """The manifest of a command, its working folder relative to the tree."""
        place = os.path.normpath(self.tree.path(cwd))
        variables = {**ENV, **(env or {})}
        command = parse(argv, place, variables, None, kind)
        chain = toolchain(driver or argv[0], kind)
        since = self.view.now()
        return asyncio.run(self.collector.collect(command, chain, place, variables, extra, since))

    def check(self, manifest: Manifest) -> bool:
        """Whether a job that comes in now may use the manifest."""
        return self.collector.check(manifest, time.monotonic_ns())

    def names(self, manifest: Manifest) -> set[str]:
        """Files of the manifest that are in the tree, relative to it."""
        root = self.tree.root + "/"
        return {
            item.path.removeprefix(root) for item in manifest.inputs.items if item.kind == FILE and root in item.path
        }

    def links(self, manifest: Manifest) -> dict[str, str]:
        """Links of the manifest that are in the tree, relative to it, with their targets."""
        root = self.tree.root + "/"
        found = {item.path: item.target for item in manifest.inputs.items if item.kind == LINK}
        return {path.removeprefix(root): target for path, target in found.items() if path.startswith(root)}

    def folders(self, manifest: Manifest) -> set[str]:
        """Folders of the manifest, relative to the tree if they are in it."""
        root = self.tree.root + "/"
        return {item.path.removeprefix(root) for item in manifest.inputs.items if item.kind == FOLDER}


def compiler_opens(argv: Sequence[str], cwd: str, env: Mapping[str, str] | None = None) -> set[str]:
    """Physical paths of all files that the compiler opens to preprocess the command."""
    command = [*argv[:1], *dependency_arguments(argv[1:]), "-MG"]
    done = subprocess.run(command, cwd=cwd, env={**ENV, **(env or {})}, capture_output=True, check=False)
    names = parse_dependencies(os.fsdecode(done.stdout))
    assert names is not None, done.stderr.decode()
    paths = [os.path.join(cwd, name) for name in names]
    return {os.path.realpath(path) for path in paths if os.path.exists(path)}


def sealed_preprocess(manifest: Manifest, argv: Sequence[str], cwd: str, stage: str) -> tuple[int, bytes]:
    """Preprocess where nothing exists but the manifest's inputs and the compiler."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        lacking("bwrap not installed")
    for item in manifest.inputs.items:
        place = stage + item.path
        if item.kind == FOLDER:
            os.makedirs(place, exist_ok=True)
            continue
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if item.kind == LINK:
            os.symlink(item.target, place)
        else:
            shutil.copyfile(item.path, place)
    compiler = ["/usr/lib", "/usr/libexec", "/usr/bin", "/lib64", "/usr/lib64", "/etc/alternatives"]
    binds = [word for path in compiler if os.path.isdir(path) for word in ("--ro-bind", path, path)]
    if os.path.islink("/lib"):
        binds += ["--symlink", "usr/lib", "/lib"]
    command = [bwrap, "--unshare-all", "--bind", stage, "/", *binds, "--dev", "/dev", "--chdir", cwd, *argv, "-E"]
    done = subprocess.run(command, env=ENV, capture_output=True, check=False)
    return done.returncode, done.stdout + done.stderr
