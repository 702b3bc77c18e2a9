"""A node's settings: which there are, where each comes from, what it may be.

Precedence, lowest first: the default; distcc's ``/etc/default/distcc`` where that is asked for;
``/etc/default/manycc``; ``/etc/manycc/node.toml``; the user's ``node.toml`` beside their
``config.toml``; the environment (``MANYCC_NODE_JOBS``); a flag (``--jobs``). Each is read by the same
row of the same table, so that a value means the same everywhere, and every value knows where it came from.
"""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from manycc import hostlist
from manycc.config import folders
from manycc.daemon import keyvalue
from manycc.engine.address import is_engine, parse_engine
from manycc.errors import ConfigError
from manycc.node.access import LOOPBACK, Network, parse_networks
from manycc.node.machine import cpu_count
from manycc.node.options import DEFAULT_PORT, MIN_JOB_MEMORY, NodeOptions, parse_size

DEFAULT_FILE: Final = "/etc/default/manycc"
SYSTEM_FILE: Final = "/etc/manycc/node.toml"
PREFIX: Final = "MANYCC_NODE_"
MAX_SLOTS: Final = 4096
_MEBIBYTE: Final = 1024**2
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. ``name`` is its key in TOML; its flag and its variable are made of it.

    ``key`` is its name in ``/etc/default/manycc``. ``read`` makes the value of what was written, or
    raises ValueError or ConfigError. ``live``: a reload changes it.
    """

    name: str
    key: str
    read: Callable[[object], Any]
    shape: str
    meaning: str
    live: bool = False

    @property
    def flag(self) -> str:
        """As on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """As in the environment."""
        return PREFIX + self.name.upper()


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value or "\n" in value:
        raise ValueError("expected a text of one line")
    return value


def _path(value: object) -> str:
    # The node changes its folder when it goes to the background, and reads its settings again after that.
    return os.path.abspath(os.path.expanduser(_text(value)))


def _path_or_stderr(value: object) -> str:
    return _path(value) if value != "" else ""


def _whole(low: int, high: int | None = None) -> Callable[[object], int]:
    bound = f"must be between {low} and {high}" if high is not None else f"must be at least {low}"

    def read(value: object) -> int:
        if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("expected a whole number")
        if value < low or (high is not None and value > high):
            raise ValueError(bound)
        return value

    return read


def _size(low: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = value if isinstance(value, int) and not isinstance(value, bool) else parse_size(_text(value))
        if number < low:
            raise ValueError(f"must be at least {low}")
        return number

    return read


def _networks(value: object) -> tuple[Network, ...]:
    # A network that cannot be read ends the start: whoever meant to let in few must not let in more.
    if isinstance(value, str):
        return parse_networks(value.replace(",", " ").split() or [value])
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return parse_networks(value)
    raise ValueError("expected a network like 192.168.0.0/24, or a list of them")


def _choice(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in words:
            raise ValueError("must be one of " + ", ".join(words))
        return str(value)

    return read


def _engine(value: object) -> str:
    text = _text(value)
    if not is_engine(text):
        raise ValueError("expected reapi://HOST:PORT/INSTANCE, or reapis:// for TLS")
    parse_engine(text, hostlist.MAX_SLOTS)  # not for itself, but it may be what clients have, too
    return text


def _yes_or_no(value: object) -> bool:
    if not isinstance(value, bool) and value not in ("yes", "no"):
        raise ValueError("expected yes or no")
    return value in (True, "yes")


# fmt: off
SETTINGS: Final = (
    Setting("listen", "LISTENER", _text, "ADDR", "address to listen on, * for every one (default: 127.0.0.1)"),
    Setting("port", "PORT", _whole(0, 65535), "PORT", f"port, 0 for any free one (default: {DEFAULT_PORT})"),
    Setting("allow", "ALLOWEDNETS", _networks, "NET",
            "who may connect: 192.168.0.0/24, or one address; may be repeated (default: this machine only)", live=True),
    Setting("join", "JOIN", _engine, "URL",
            "take jobs from a remote execution engine, reapi://HOST:PORT/INSTANCE (reapis:// for TLS), instead of "
            "listening for clients; put it into node.toml if it holds a secret, as everybody sees command lines"),
    Setting("jobs", "JOBS", _whole(1, MAX_SLOTS), "N", "compiles at a time (default: the processors)", live=True),
    Setting("nice", "NICE", _whole(0, 20), "N",
            "give way to other work: 0 to 19 (default: 0; with when_idle: 19)", live=True),
    Setting("when_idle", "WHEN_IDLE", _yes_or_no, "yes|no",
            "offer only the processors that nobody else uses (default: no)", live=True),
    Setting("user", "USER", _text, "NAME",
            "whom to run as, when started by root (default: the first there is of manycc, distccd, nobody)"),
    Setting("name", "NAME", _text, "NAME", "what to call this node (default: the host name)"),
    Setting("store", "STORE", _path, "DIR", "folder for contents and results"),
    Setting("store_size", "STORE_SIZE", _size(_MEBIBYTE), "SIZE",
            "bound of the store (default: 5G, or a tenth of a smaller disk)"),
    Setting("tmpdir", "TMPDIR", _path, "DIR",
            "the store is made below this folder, unless a store is named"),
    Setting("sandbox", "SANDBOX", _choice("auto", "required", "off"), "WHEN",
            "required: do not start where jobs cannot be sealed; off: never seal (default: auto)"),
    Setting("toolchains", "TOOLCHAINS", _choice("any", "installed-only"), "WHICH",
            "any: clients may send their compilers, which run sealed; installed-only: never (default: any)", live=True),
    Setting("job_memory", "JOB_MEMORY", _size(MIN_JOB_MEMORY), "SIZE",
            "bound of each process's memory (default: this machine's)", live=True),
    Setting("job_time", "JOB_TIME", _whole(1), "S", "bound of each process's CPU seconds (default: 900)", live=True),
    Setting("job_lifetime", "JOB_LIFETIME", _whole(0), "S",
            "seconds after which a job is ended, 0 for no such bound (default: 0)", live=True),
    Setting("job_output", "JOB_OUTPUT", _size(_MEBIBYTE), "SIZE",
            "bound of each file written (default: 512M)", live=True),
    Setting("job_processes", "JOB_PROCESSES", _whole(8), "N", "processes that a job may add (default: 64)", live=True),
    Setting("drain_time", "DRAIN_TIME", _whole(0, 86400), "S",
            "after SIGTERM, seconds that jobs under way have to end (default: 60)", live=True),
    Setting("log_file", "LOG_FILE", _path_or_stderr, "FILE",
            "append the log to a file, or /dev/log (default: stderr; with --daemon: node.log)", live=True),
    Setting("log_level", "LOG_LEVEL", _choice("debug", "info", "notice", "warning", "error", "critical"), "LEVEL",
            "how much to log: debug, info (a line a job), notice, warning, error, critical (default: info)", live=True),
    Setting("pid_file", "PID_FILE", _path, "FILE", "write the process number to a file"),
    Setting("stats_port", "STATS_PORT", _whole(0, 65535), "PORT",
            "serve counters as text over HTTP on this port (default: not)"),
    Setting("oom_score_adj", "OOM_SCORE_ADJ", _whole(-1000, 1000), "N",
            "how readily the kernel ends the node for want of memory: -1000 to 1000"),
)
# fmt: on
BY_NAME: Final = {setting.name: setting for setting in SETTINGS}
BY_KEY: Final = {setting.key: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """The values that were set, by name, and where each came from. What was not set is not there."""

    values: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What was read and not understood, in sentences: told, but no reason not to start."""

    def get(self, name: str, default: Any = None) -> Any:
        """A value, or ``default`` where it was not set."""
        return self.values.get(name, default)

    def origin(self, name: str) -> str:
        """Where a value came from: "default", "a flag", a file's path and line, "MANYCC_NODE_… (environment)"."""
        return self.origins.get(name, "default")

    def options(self, env: Mapping[str, str]) -> NodeOptions:
        """As the node wants them. Raises ConfigError."""
        chosen: dict[str, Any] = {
            "store": self.store(env),
            "allow": self.get("allow", LOOPBACK),
            "slots": self.get("jobs", cpu_count()),
        }
        for name in ("listen", "port", "sandbox", "toolchains", "when_idle", "join", "name", "store_size", "job_memory",
                     "job_output", "job_time", "job_processes", "job_lifetime", "drain_time"):  # fmt: skip
            if name in self.values:
                chosen[name] = self.values[name]
        return NodeOptions(**chosen)

    def store(self, env: Mapping[str, str]) -> str:
        """The store's folder: the one set, below ``tmpdir``, a service's own, or the user's cache."""
        if "store" in self.values:
            return str(self.values["store"])
        if "tmpdir" in self.values:
            return os.path.join(self.values["tmpdir"], f"manycc-node-{os.geteuid()}")
        given = env.get("CACHE_DIRECTORY", "").partition(":")[0]  # the unit's, systemd.exec(5)
        if given:
            return os.path.join(given, "store")
        if os.geteuid() == 0 and not env.get("MANYCC_DIR") and not env.get("XDG_CACHE_HOME"):
            return "/var/cache/manycc/store"  # a home of root's could not be entered once root's rights are given up
        return os.path.join(folders(env)["cache_dir"], "store")


class Sources:
    """The places settings are read from; the same ones again at a reload.

    ``files`` None: the usual ones. ``base`` is what goes below all of them.
    """

    def __init__(
        self,
        flags: Mapping[str, object],
        env: Mapping[str, str],
        files: Sequence[str] | None = None,
        base: Callable[[], NodeSettings] | None = None,
    ) -> None:
        self._flags = dict(flags)
        self._env = dict(env)
        self._base = base
        user_file = os.path.join(os.path.dirname(folders(env)["user_file"]), "node.toml")
        # Files that were named must be there; the usual ones need not.
        self.must_exist = files is not None
        chosen = (DEFAULT_FILE, SYSTEM_FILE, user_file) if files is None else files
        self.files = [os.path.abspath(path) for path in chosen]
        self._absent: set[str] = set()

    def load(self) -> NodeSettings:
        """Read everything. Raises ConfigError naming the place of what is wrong."""
        base = self._base() if self._base is not None else NodeSettings()
        values, origins, notes = dict(base.values), dict(base.origins), list(base.notes)
        for path in self.files:
            for setting, origin, value in self._of_file(path, notes):
                values[setting.name], origins[setting.name] = _checked(setting, value, origin), origin
        for setting in SETTINGS:
            text = self._env.get(setting.variable)
            if text:
                origin = f"{setting.variable} (environment)"
                values[setting.name], origins[setting.name] = _checked(setting, text, setting.variable), origin
            given = self._flags.get(setting.name)
            if given is not None:
                values[setting.name], origins[setting.name] = _checked(setting, given, setting.flag), "a flag"
        return NodeSettings(values, origins, tuple(notes))

    def _of_file(self, path: str, notes: list[str]) -> list[tuple[Setting, str, object]]:
        """What a file sets: the setting, where that stands, and what is written there."""
        try:
            if path.endswith(".toml"):
                return _of_toml(path)
            return _of_default(path, notes)
        except (FileNotFoundError, NotADirectoryError) as error:
            if self.must_exist:
                raise ConfigError(f"{path} cannot be read", error.strerror or "") from error
            self._absent.add(path)
            return []
        except OSError as error:
            # Root's home cannot be entered any more once root's rights are given up.
            if isinstance(error, PermissionError) and path in self._absent:
                return []
            raise ConfigError(f"{path} cannot be read", error.strerror or str(error)) from error


def _of_toml(path: str) -> list[tuple[Setting, str, object]]:
    """Raises ConfigError, OSError."""
    with open(path, "rb") as file:
        data = file.read(_MEBIBYTE + 1)
    try:
        if len(data) > _MEBIBYTE:
            raise ValueError("it is larger than 1 MiB")
        table = tomllib.loads(data.decode())
    except ValueError as error:
        raise ConfigError(f"{path} is no TOML file", str(error)) from error
    for key in table:
        if key not in BY_NAME:
            raise ConfigError(f"{path}: {key!r} is no setting of a node", "", "settings are: " + ", ".join(BY_NAME))
    return [(BY_NAME[key], path, value) for key, value in table.items()]


def _of_default(path: str, notes: list[str]) -> list[tuple[Setting, str, object]]:
    """Raises ConfigError, OSError."""
    found: list[tuple[Setting, str, object]] = []
    for key, value in keyvalue.read(path).items():
        setting = BY_KEY.get(key)
        if setting is None:
            notes.append(f"{path}, line {value.line}: {key} is no setting of a node; settings are {', '.join(BY_KEY)}")
        elif value.text:  # an empty value is as none, as everywhere below /etc/default
            found.append((setting, f"{path}, line {value.line}", value.text))
    return found


def _checked(setting: Setting, value: object, where: str) -> Any:
    """The value as the setting reads it. Raises ConfigError."""
    if setting.name == "allow" and isinstance(value, list) and where == setting.flag:
        where = ""  # the sentence names the network itself
    spelled = f"{where}: {setting.name} = {value!r}" if not where.startswith("--") else f"{where} {value}"
    try:
        return setting.read(value)
    except ConfigError as error:
        what = f"{where}: {error.what}" if where else error.what
        raise ConfigError(what, error.why, error.hint) from None
    except ValueError as error:
        raise ConfigError(spelled, str(error)) from None


def writable(path: str) -> bool:
    """Whether a folder is there, or can be made, and written to by this process."""
    while not os.path.exists(path):
        path = os.path.dirname(path) or "/"
    with contextlib.suppress(OSError):
        return os.access(path, os.W_OK | os.X_OK)
    return False
