"""A node's settings: the same from everywhere, each knowing where it came from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from manycc.daemon import distccdefault, keyvalue, settings
from manycc.daemon.settings import SETTINGS, NodeSettings, Sources
from manycc.errors import ConfigError
from manycc.node.access import PRIVATE
from manycc.node.options import NodeOptions

FLAGS = {"jobs": "7"}
VARIABLES = {"MANYCC_NODE_JOBS": "6", "MANYCC_NODE_NICE": "5"}


def text_of(setting: settings.Setting) -> str:
    """A value that can be written for a setting."""
    special = {"allow": "10.0.0.0/8 ::1", "sandbox": "required", "toolchains": "installed-only", "log_level": "error",
               "job_memory": "2G", "when_idle": "yes", "join": "reapi://engine:50051/main?slots=9999",
               "oom_score_adj": "-5", "job_processes": "20"}  # fmt: skip
    if setting.name in special:
        return special[setting.name]
    return {"N": "9", "S": "9", "PORT": "9", "SIZE": "3M", "DIR": "/a/b", "FILE": "/a/b"}.get(setting.shape, "word")


def load(tmp_path: Path, flags: dict[str, object] | None = None, env: dict[str, str] | None = None) -> NodeSettings:
    files = [str(path) for path in (tmp_path / "manycc", tmp_path / "node.toml") if path.exists()]
    return Sources(flags or {}, {"MANYCC_DIR": str(tmp_path), **(env or {})}, files).load()


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_all_ways_read_alike(tmp_path: Path, setting: settings.Setting) -> None:
    text = text_of(setting)
    (tmp_path / "manycc").write_text(f'# a comment\n{setting.key}="{text}"\n')
    from_file = load(tmp_path)
    assert from_file.origin(setting.name) == f"{tmp_path}/manycc, line 2"
    (tmp_path / "manycc").unlink()
    spelled = text if text.lstrip("-").isdigit() else f'"{text}"'
    (tmp_path / "node.toml").write_text(f"{setting.name} = {spelled}\n")
    from_toml = load(tmp_path)
    assert from_toml.origin(setting.name) == f"{tmp_path}/node.toml"
    (tmp_path / "node.toml").unlink()
    from_env = load(tmp_path, env={setting.variable: text})
    assert from_env.origin(setting.name) == f"{setting.variable} (environment)"
    from_flag = load(tmp_path, {setting.name: text.split() if setting.name == "allow" else text})
    assert from_flag.origin(setting.name) == "a flag"
    values = [found.get(setting.name) for found in (from_file, from_toml, from_env, from_flag)]
    assert values[0] is not None and values == [values[0]] * 4


def test_precedence(tmp_path: Path) -> None:
    (tmp_path / "manycc").write_text("JOBS=2\nNICE=2\nNAME=low\nSTORE=/low\n")
    (tmp_path / "node.toml").write_text('jobs = 3\nnice = 3\nname = "high"\n')
    found = load(tmp_path, dict(FLAGS), VARIABLES)
    assert [found.get(name) for name in ("jobs", "nice", "name", "store")] == [7, 5, "high", "/low"]
    assert [found.origin(name) for name in ("jobs", "nice", "name", "store", "port")] == [
        "a flag", "MANYCC_NODE_NICE (environment)", f"{tmp_path}/node.toml", f"{tmp_path}/manycc, line 4", "default",
    ]  # fmt: skip


def test_the_usual_files_need_not_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "DEFAULT_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(settings, "SYSTEM_FILE", str(tmp_path / "etc.toml"))
    sources = Sources({}, {"MANYCC_DIR": str(tmp_path / "home")})
    assert sources.load().values == {}
    (tmp_path / "etc.toml").write_text("jobs = 1\nport = 99\n")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "node.toml").write_text("jobs = 2\n")
    assert sources.load().values == {"jobs": 2, "port": 99}
    with pytest.raises(ConfigError, match="cannot be read"):
        Sources({}, {}, [str(tmp_path / "none")]).load()


def test_a_home_that_cannot_be_entered_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by root, a node reads its settings again as its own user."""
    monkeypatch.setattr(settings, "DEFAULT_FILE", "/etc/default/none")
    monkeypatch.setattr(settings, "SYSTEM_FILE", "/etc/none.toml")
    home = tmp_path / "home"
    home.mkdir()
    absent = Sources({}, {"MANYCC_DIR": str(home)})
    assert absent.load().values == {}
    (home / "node.toml").write_text("jobs = 2\n")
    present = Sources({}, {"MANYCC_DIR": str(home)})
    assert present.load().values == {"jobs": 2}
    home.chmod(0)
    root = os.geteuid()
    os.seteuid(root or 65534)
    try:
        assert absent.load().values == {}
        with pytest.raises(ConfigError, match="cannot be read"):  # what was set must not be forgotten
            present.load()
    finally:
        os.seteuid(root)
        home.chmod(0o700)


@pytest.mark.parametrize("net", ["192.168.0.0/33", "192.168.0.7/24", "everyone", "*", "/0", "10.0.0.0/8 all"])
@pytest.mark.parametrize("way", ["file", "toml", "toml list", "environment", "flag"])
def test_a_net_that_is_none_never_lets_anybody_in(tmp_path: Path, net: str, way: str) -> None:
    flags: dict[str, object] = {}
    env: dict[str, str] = {}
    if way == "file":
        (tmp_path / "manycc").write_text(f'ALLOWEDNETS="{net}"\n')
    elif way.startswith("toml"):
        (tmp_path / "node.toml").write_text(f'allow = "{net}"\n' if way == "toml" else f'allow = ["{net}"]\n')
    elif way == "environment":
        env["MANYCC_NODE_ALLOW"] = net
    else:
        flags["allow"] = [net]
    with pytest.raises(ConfigError, match="is not a network"):
        load(tmp_path, flags, env)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("node.toml", "jobs = ", "is no TOML file"),
        ("node.toml", "job = 1", "'job' is no setting"),
        ("node.toml", "jobs = 1.5", "expected a whole number"),
        ("node.toml", "jobs = true", "expected a whole number"),
        ("node.toml", "allow = []", "expected a network"),
        ("node.toml", "allow = 3", "expected a network"),
        ("node.toml", "name = 3", "expected a text"),
        ("node.toml", 'listen = ""', "expected a text"),
        ("node.toml", 'tmpdir = ""', "expected a text"),
        ("manycc", "JOBS=many", "line 1: jobs = 'many'"),
        ("manycc", "PORT=65536", "must be between 0 and 65535"),
        ("manycc", "STORE_SIZE=big", "not a size"),
        ("manycc", "SANDBOX=none", "must be one of auto, required, off"),
        ("manycc", "NAME=`id`", "computed by a shell"),
    ],
)
def test_what_cannot_be_used_names_its_place(tmp_path: Path, file: str, text: str, words: str) -> None:
    (tmp_path / file).write_text(text + "\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert words in str(caught.value) and str(tmp_path / file) in str(caught.value)


def test_an_unknown_key_is_told_and_an_empty_value_is_none(tmp_path: Path) -> None:
    (tmp_path / "manycc").write_text('JOBS=""\nCOLOUR=red\n')
    found = load(tmp_path)
    assert found.values == {} and "line 2: COLOUR is no setting" in found.notes[0]


def test_the_nodes_options(tmp_path: Path) -> None:
    env = {"MANYCC_DIR": str(tmp_path)}
    plain = NodeSettings().options(env)
    assert plain == NodeOptions(store=f"{tmp_path}/cache/store", name=plain.name)
    (tmp_path / "manycc").write_text(
        "JOBS=3\nJOB_LIFETIME=9\nSTORE_SIZE=1G\nDRAIN_TIME=5\nALLOWEDNETS=::1\nLISTENER=::1\n"
    )
    options = load(tmp_path).options(env)
    assert (options.slots, options.job_lifetime, options.store_size, options.drain_time) == (3, 9, 1 << 30, 5)
    assert (options.listen, [str(net) for net in options.allow]) == ("::1", ["::1/128"])


def test_where_the_store_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    home = {"HOME": "/h"}
    assert NodeSettings().store(home) == "/h/.cache/manycc/store"
    assert NodeSettings({"tmpdir": "/t"}).store(home) == "/t/manycc-node-1000"
    assert NodeSettings({"tmpdir": "/t", "store": "/s"}).store(home) == "/s"
    assert NodeSettings().store({**home, "CACHE_DIRECTORY": "/var/cache/manycc"}) == "/var/cache/manycc/store"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert NodeSettings().store(home) == "/var/cache/manycc/store"
    assert NodeSettings().store({**home, "MANYCC_DIR": "/m"}) == "/m/cache/store"


# -- KEY=VALUE files


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A=1\nB=2", {"A": "1", "B": "2"}),
        ("A='x y' # why\n", {"A": "x y"}),
        ('A="x \\"y\\" \\n"\n', {"A": 'x "y" \\n'}),
        ("A=a\\ b\n", {"A": "a b"}),
        ("export A=1\n  B=2\n", {"A": "1", "B": "2"}),
        ("A=\nB=''\n", {"A": "", "B": ""}),
        ("#A=1\n\n \n", {}),
        ("A=1\nA=2\n", {"A": "2"}),
        ('A="one\ntwo"\nB=3\n', {"A": "one\ntwo", "B": "3"}),
        ("A=one\\\ntwo\nB=3\n", {"A": "onetwo", "B": "3"}),
        ('A=it"\'"s\n', {"A": "it's"}),
        ("A='$x `y`'\n", {"A": "$x `y`"}),
        ("A=a#b\n", {"A": "a#b"}),
    ],
)
def test_values_are_what_a_shell_would_read(text: str, values: dict[str, str]) -> None:
    assert {key: value.text for key, value in keyvalue.parse(text, "f").items()} == values


def test_lines_are_counted_over_values_of_several() -> None:
    found = keyvalue.parse('A="one\ntwo"\nB=3\n\nC=x\\\ny\nD=4', "f")
    assert {key: value.line for key, value in found.items()} == {"A": 1, "B": 3, "C": 5, "D": 7}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("A=$B", "computed"),
        ('A="$(id)"', "computed"),
        ("A=`id`", "computed"),
        ("A=1; rm -rf /", "would end the value"),
        ("A=1 && id", "something after the value"),
        ("A=1 B=2", "something after the value"),
        ("A='1", "not closed"),
        ("A 1", "no KEY=VALUE"),
        ("echo x", "no KEY=VALUE"),
        ("if true; then", "no KEY=VALUE"),
    ],
)
def test_what_a_shell_would_do_is_an_error(line: str, words: str) -> None:
    with pytest.raises(ConfigError, match="f, line 2") as caught:
        keyvalue.parse(f"OK=1\n{line}\n", "f")
    assert words in str(caught.value)


# -- distcc's own file


def distcc_default(tmp_path: Path, text: str) -> NodeSettings:
    path = tmp_path / "distcc"
    path.write_text(text)
    return distccdefault.read(str(path))


def test_a_file_of_distccs(tmp_path: Path) -> None:
    found = distcc_default(
        tmp_path,
        'STARTDISTCC="true"\nALLOWEDNETS="10.1.2.3/8 127.0.0.1"\nLISTENER="127.0.0.1"\nNICE="10"\nJOBS=""\n'
        'ZEROCONF="false"\nTMPDIR=/var/tmp\nOTHER=x\n',
    )
    assert {**found.values, "allow": [str(net) for net in found.get("allow")]} == {
        "listen": "127.0.0.1", "allow": ["10.0.0.0/8", "127.0.0.1/32"], "nice": 10, "tmpdir": "/var/tmp",
    }  # fmt: skip
    assert found.origin("nice") == f"{tmp_path}/distcc, line 4" and "OTHER" in found.notes[0]


def test_what_it_leaves_empty_is_distccds_default(tmp_path: Path) -> None:
    found = distcc_default(tmp_path, "STARTDISTCC=YES\nALLOWEDNETS=''\nZEROCONF=true\n")
    assert found.get("allow") == PRIVATE and found.get("listen") == "*"
    assert "distccd's default" in found.origin("allow") and "zeroconf" in found.notes[0]


@pytest.mark.parametrize("text", ["", "STARTDISTCC=false\n", 'STARTDISTCC="no"\n'])
def test_it_may_say_not_to_start(tmp_path: Path, text: str) -> None:
    with pytest.raises(distccdefault.NotWanted, match="not started"):
        distcc_default(tmp_path, text)


@pytest.mark.parametrize("line", ["ALLOWEDNETS=10.0.0.0/33", "NICE=much", "JOBS=-1", "ALLOWEDNETS=$X", "LISTENER='"])
def test_what_is_wrong_in_it(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match="line 2"):
        distcc_default(tmp_path, f"STARTDISTCC=true\n{line}\n")


def test_it_lies_below_everything_else(tmp_path: Path) -> None:
    path = tmp_path / "distcc"
    path.write_text("STARTDISTCC=true\nNICE=10\nJOBS=4\n")
    (tmp_path / "manycc").write_text("NICE=3\n")
    found = Sources({}, {}, [str(tmp_path / "manycc")], lambda: distccdefault.read(str(path))).load()
    assert (found.get("nice"), found.get("jobs")) == (3, 4)
