"""A node that root starts does not stay root where it can help it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from manycc.errors import ConfigError
from manycc.node import privileges

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "..", "src"))
PYTHON = "/usr/bin/python3"
DROP = (
    "import os, sys; from manycc.node.privileges import drop_root; why = drop_root(None, sys.argv[1]);"
    "print(os.getresuid(), os.getgroups(), why); open(sys.argv[1] + '/blobs/new', 'w').close()"
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: must be root")


def reachable(path: str) -> bool:
    return all(os.stat(folder).st_mode & 1 for folder in [path, *map(str, Path(path).parents)])


@as_root
@pytest.mark.skipif(not os.path.exists(PYTHON) or not reachable(SOURCE), reason="nobody can reach Python or manycc")
def test_root_becomes_another_and_takes_the_store_along() -> None:
    uid = privileges.account(None).pw_uid
    assert uid != 0
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        store = f"{folder}/store"
        os.makedirs(f"{store}/blobs", 0o700)
        done = subprocess.run(
            [PYTHON, "-c", DROP, store], env={"PYTHONPATH": SOURCE}, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == f"({uid}, {uid}, {uid}) []"
        assert os.stat(f"{store}/blobs/new").st_uid == uid


@as_root
def test_a_store_out_of_reach_keeps_root_and_says_so(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o700)
    assert str(tmp_path) in privileges.drop_root(None, str(tmp_path / "store")) or "/" in privileges.drop_root(
        None, str(tmp_path / "store")
    )
    assert os.geteuid() == 0
    with pytest.raises(ConfigError):
        privileges.drop_root("nobody", str(tmp_path / "store"))
    with pytest.raises(ConfigError):
        privileges.drop_root("no-such-user-at-all", str(tmp_path / "store"))


def test_the_default_user_is_the_first_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"distccd": 5, "nobody": 6, "root": 0}

    def getpwnam(name: str) -> SimpleNamespace:
        return SimpleNamespace(pw_name=name, pw_uid=there[name])

    monkeypatch.setattr(privileges.pwd, "getpwnam", getpwnam)
    assert privileges.account(None).pw_name == "distccd"
    assert privileges.account("nobody").pw_uid == 6
    del there["distccd"]
    assert privileges.account(None).pw_name == "nobody"
    with pytest.raises(ConfigError, match="there is no user 'manycc'"):
        privileges.account("manycc")


def test_others_stay_who_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    assert privileges.drop_root(None, str(tmp_path)) == ""
    with pytest.raises(ConfigError):
        privileges.drop_root("root", str(tmp_path))
    shutil.rmtree(tmp_path)
