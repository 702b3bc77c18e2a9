"""Settings: where each comes from, and what it may be.

Precedence, lowest first: the default, ``/etc/manycc/config.toml``, the user's ``config.toml``, the
environment, a flag. Every value knows which of them it came from (``Config.origin``). Hosts that none of
these names are those that distcc would use (``compat/hostfiles.py``).

The folders follow the XDG rules, or lie together below ``MANYCC_DIR``. The launcher computes the same
paths in C: the rule is written out here rather than taken from a library, so that the two stay equal.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from manycc.compat.hostfiles import DistccHosts
from manycc.errors import ConfigError, shown
from manycc.hostlist import MAX_SLOTS, HostList, HostSpec, parse_list

SYSTEM_FILE: Final = "/etc/manycc/config.toml"
MEBIBYTE: Final = 1024 * 1024
PREFERRED: Final = "preferred"
REQUIRED: Final = "required"

ON: Final = "on"
OFF: Final = "off"

_RATE = re.compile(r"1/([1-9][0-9]{0,8})")


def rate(value: object) -> str:
    """How often something is to be done: ``1/N``, or ``off`` (also spelled 0). Raises ValueError for anything else."""
    if value in ("off", "0") or (type(value) is int and value == 0):
        return "off"
    if not isinstance(value, str) or _RATE.fullmatch(value) is None:
        raise ValueError(value)
    return value


def same_bytes(value: object) -> str:
    """PREFERRED or REQUIRED. Raises ValueError for anything else."""
    if value not in (PREFERRED, REQUIRED):
        raise ValueError(value)
    return str(value)


def switch(value: object) -> str:
    """ON or OFF. Raises ValueError for anything else."""
    if value not in (ON, OFF):
        raise ValueError(value)
    return str(value)


def every(rate_text: str) -> int:
    """The N of ``1/N``; 0 for ``off``. Raises ValueError for what is no rate."""
    text = rate(rate_text)
    return 0 if text == "off" else int(text[2:])


def cpu_count() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its key in a file, its variable, its type, bounds and meaning.

    ``convert``, where there is one, makes the value of what was written, or raises ValueError.
    """

    name: str
    variable: str
    default: Callable[[], Any]
    kind: type
    expected: str
    meaning: str
    least: float = 0.0
    most: float = 0.0
    convert: Callable[[object], Any] | None = None

    def check(self, value: object) -> Any:
        """The value in its own type. Raises ValueError if it is none that is expected."""
        if self.convert is not None:
            return self.convert(value)
        if self.kind is str:
            if isinstance(value, list) and all(isinstance(item, str) for item in value):
                value = "\n".join(value)
            if not isinstance(value, str):
                raise ValueError
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError
        if (self.kind is int and not isinstance(value, int)) or not self.least <= value <= self.most:
            raise ValueError
        return self.kind(value)

    def read(self, text: str) -> Any:
        """The value of a text, as an environment variable has it. Raises ValueError."""
        return self.check(text if self.kind is str else self.kind(text))


SETTINGS: Final = (
    Setting("hosts", "MANYCC_HOSTS", str, str, "a host list: a text, or a list of texts", "where to compile"),
    Setting("local_slots", "MANYCC_LOCAL_SLOTS", cpu_count, int, f"a whole number from 1 to {MAX_SLOTS}",
            "how many compilers may run on this machine at once", 1, MAX_SLOTS),
    Setting("idle_s", "MANYCC_IDLE", lambda: 600.0, float, "seconds, 1 to 31536000",
            "an agent without work ends itself after this time", 1, 31_536_000),
    Setting("connect_timeout_s", "MANYCC_CONNECT_TIMEOUT", lambda: 3.0, float, "seconds, 0.05 to 600",
            "how long a host may take to answer before it counts as down", 0.05, 600),
    Setting("job_timeout_s", "MANYCC_JOB_TIMEOUT", lambda: 1800.0, float, "seconds, 1 to 86400",
            "how long a host may be silent about a job before it is done elsewhere", 1, 86400),
    Setting("silence_s", "MANYCC_SILENCE", lambda: 20.0, float, "seconds, 0.5 to 600",
            "how long a host that is connected may say nothing at all before it counts as lost", 0.5, 600),
    Setting("record_log_bytes", "MANYCC_RECORD_LOG_BYTES", lambda: 16 * MEBIBYTE, int,
            "bytes, a whole number from 65536 to 1099511627776",
            "the job records' file is put aside when it has grown to this size", 65536, 1 << 40),
    Setting("verify", "MANYCC_VERIFY", lambda: "off", str, '"1/N" with a whole number N, or "off"',
            "one of N jobs that nodes answered is compiled here again in idle time and compared", convert=rate),
    Setting("race", "MANYCC_RACE", lambda: ON, str, '"on" or "off"',
            "whether a late job is done a second time, on another host or here: the first answer counts",
            convert=switch),
    Setting("same_bytes", "MANYCC_SAME_BYTES", lambda: PREFERRED, str, '"preferred" or "required"',
            "whether stock distccd hosts may do what they cannot keep byte for byte", convert=same_bytes),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Config:
    """All settings and folders of one process. Made by ``load``."""

    hosts: str
    local_slots: int
    idle_s: float
    connect_timeout_s: float
    job_timeout_s: float
    silence_s: float
    record_log_bytes: int
    verify: str
    race: str
    same_bytes: str

    runtime_dir: str
    state_dir: str
    cache_dir: str
    user_file: str
    origins: Mapping[str, str] = field(default_factory=dict, repr=False)

    def origin(self, name: str) -> str:
        """Where a value came from: "default", a file's path, "MANYCC_… (environment)", "a flag"."""
        return self.origins.get(name, "default")

    def host_specs(self) -> tuple[HostSpec, ...]:
        """The hosts of the list. Raises ConfigError that says where the list came from."""
        return self.host_list().hosts

    def host_list(self) -> HostList:
        """The host list, read. Raises ConfigError that says where the list came from."""
        try:
            return parse_list(self.hosts)
        except ConfigError as error:
            raise ConfigError(f"{self.origin('hosts')}: {error.what}", error.why, error.hint) from None

    @property
    def socket_path(self) -> str:
        """The agent's socket. May be too long for ``sockaddr_un``: go through ``/proc/self/fd``."""
        return os.path.join(self.runtime_dir, "agent.sock")

    @property
    def lock_path(self) -> str:
        """Locked (flock) by whoever starts an agent, so that only one does."""
        return os.path.join(self.runtime_dir, "agent.lock")

    @property
    def agent_log_path(self) -> str:
        """What the agent has to say."""
        return os.path.join(self.state_dir, "agent.log")

    @property
    def records_path(self) -> str:
        """The job records (``monitor/records.py``)."""
        return os.path.join(self.state_dir, "jobs.jsonl")

    @property
    def samples_path(self) -> str:
        """What was seen of this machine and the agent during builds (``monitor/samples.py``)."""
        return os.path.join(self.state_dir, "samples.jsonl")

    @property
    def verifications_path(self) -> str:
        """What became of jobs that were compiled here again (``monitor/verifications.py``)."""
        return os.path.join(self.state_dir, "verify.jsonl")

    @property
    def quarantine_path(self) -> str:
        """The hosts that are not trusted with a toolchain any more (``verify/quarantine.py``)."""
        return os.path.join(self.state_dir, "quarantine.json")

    @property
    def reports_dir(self) -> str:
        """What is kept of results that differed (``verify/report.py``)."""
        return os.path.join(self.state_dir, "reports")

    @property
    def kinds_path(self) -> str:
        """What kind each host was last (``backends/discover.py``)."""
        return os.path.join(self.state_dir, "hosts.json")

    @property
    def learned_path(self) -> str:
        """What compiles cost and how quick hosts are (``schedule/learned.py``)."""
        return os.path.join(self.state_dir, "learned")

    @property
    def canaries_dir(self) -> str:
        """The sources that hosts are tried with (``toolchain/canaries.py``)."""
        return os.path.join(self.cache_dir, "canaries")

    @property
    def equivalence_dir(self) -> str:
        """Where canaries are compiled for nodes with equivalent compilers (``backends/equivalent.py``)."""
        return os.path.join(self.cache_dir, "equivalent")

    @property
    def engines_path(self) -> str:
        """How engines came to serve toolchains (``engine/remembered.py``)."""
        return os.path.join(self.state_dir, "engines.json")

    @property
    def equivalence_path(self) -> str:
        """What was found out about such compilers (``toolchain/equivalence.py``)."""
        return os.path.join(self.state_dir, "equivalent.json")

    @property
    def recompile_dir(self) -> str:
        """Where jobs are compiled again: of nobody's use when no agent is at it."""
        return os.path.join(self.state_dir, "recompile")

    @property
    def masquerade_dir(self) -> str:
        """Compiler names that lead to the launcher."""
        return os.path.join(self.cache_dir, "masquerade")

    @property
    def compat_dir(self) -> str:
        """distcc's programs by their own names (``compat/programs.py``)."""
        return os.path.join(self.cache_dir, "compat")

    def ensure_runtime_dir(self) -> str:
        """Make the runtime folder, mode 0700, and return it.

        Raises ConfigError if there is something else, somebody else's, or a folder open to others:
        whoever can write there could answer in the agent's place.
        """
        path = self.runtime_dir
        hint = "set MANYCC_DIR or XDG_RUNTIME_DIR to a folder of your own"
        try:
            os.makedirs(os.path.dirname(path) or "/", exist_ok=True)
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                pass
            found = os.lstat(path)
        except OSError as error:
            raise ConfigError(f"the runtime folder {path} cannot be made", error.strerror or "", hint) from error
        if not stat.S_ISDIR(found.st_mode):
            raise ConfigError(f"the runtime folder {path} is not to be trusted", "it is no folder", hint)
        if found.st_uid != os.getuid():
            raise ConfigError(f"the runtime folder {path} is not to be trusted", "it belongs to another user", hint)
        if found.st_mode & 0o077:
            raise ConfigError(
                f"the runtime folder {path} is not to be trusted", "others have access to it", f"chmod 700 {path}"
            )
        return path


def folders(env: Mapping[str, str]) -> dict[str, str]:
    """The folders of this environment: runtime_dir, state_dir, cache_dir, user_file."""
    base = env.get("MANYCC_DIR")
    if base:
        base = os.path.abspath(base)
        return {
            "runtime_dir": os.path.join(base, "run"),
            "state_dir": os.path.join(base, "state"),
            "cache_dir": os.path.join(base, "cache"),
            "user_file": os.path.join(base, "config.toml"),
        }
    home = env.get("HOME") or _home()
    runtime = env.get("XDG_RUNTIME_DIR")
    return {
        "runtime_dir": os.path.join(runtime, "manycc") if runtime else f"/tmp/manycc-{os.getuid()}",  # noqa: S108
        "state_dir": os.path.join(env.get("XDG_STATE_HOME") or os.path.join(home, ".local/state"), "manycc"),
        "cache_dir": os.path.join(env.get("XDG_CACHE_HOME") or os.path.join(home, ".cache"), "manycc"),
        "user_file": os.path.join(env.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "manycc/config.toml"),
    }


def data_dir(env: Mapping[str, str]) -> str:
    """Where this user keeps what was brought along and is no setting: toolchains."""
    if env.get("MANYCC_DIR"):
        return os.path.abspath(env["MANYCC_DIR"])
    home = env.get("HOME") or _home()
    return os.path.join(env.get("XDG_DATA_HOME") or os.path.join(home, ".local/share"), "manycc")


def _home() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return "/"


def load(
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    system_file: str = SYSTEM_FILE,
    distcc: bool = True,
) -> Config:
    """The settings of this process.

    ``flags`` holds values given on the command line by setting name; None stands for "not given". With
    ``distcc``, distcc's host list is taken where there is no other. Raises ConfigError for a file, variable
    or flag that cannot be read.
    """
    env = os.environ if env is None else env
    places = folders(env)
    values: dict[str, Any] = {**places, **{setting.name: setting.default() for setting in SETTINGS}}
    origins: dict[str, str] = {}
    for path in (system_file, places["user_file"]):
        for name, value in _read_file(path).items():
            values[name] = value
            origins[name] = path
    for setting in SETTINGS:
        text = env.get(setting.variable)
        # An empty MANYCC_HOSTS means "no hosts"; any other empty variable means "not set".
        if text is not None and (text or setting.name == "hosts"):
            try:
                values[setting.name] = setting.read(text)
            except ValueError:
                raise ConfigError(
                    f"{setting.variable}={shown(text)} in the environment", f"expected {setting.expected}"
                ) from None
            origins[setting.name] = f"{setting.variable} (environment)"
        given = None if flags is None else flags.get(setting.name)
        if given is not None:
            try:
                values[setting.name] = setting.check(given)
            except ValueError:
                raise ConfigError(f"the value {shown(str(given))}", f"expected {setting.expected}") from None
            origins[setting.name] = "a flag"
    if distcc and "hosts" not in origins:
        found = DistccHosts().find(env)
        if found is not None:
            values["hosts"], origins["hosts"] = found
    return Config(**values, origins=origins)


def _read_file(path: str) -> dict[str, Any]:
    """The settings of a TOML file, checked; none if there is no such file."""
    try:
        with open(path, "rb") as file:
            data = file.read(MEBIBYTE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", error.strerror or str(error)) from error
    import tomllib

    try:
        if len(data) > MEBIBYTE:
            raise ValueError("it is larger than 1 MiB")
        table = tomllib.loads(data.decode())
    except ValueError as error:
        raise ConfigError(f"{path} is no TOML file", str(error)) from error
    known = {setting.name: setting for setting in SETTINGS}
    values: dict[str, Any] = {}
    for key, value in table.items():
        setting = known.get(key)
        if setting is None:
            raise ConfigError(f"{path}: {shown(key)} is no setting", "", "settings are: " + ", ".join(known))
        try:
            values[key] = setting.check(value)
        except ValueError:
            raise ConfigError(f"{path}: {key} = {shown(repr(value))}", f"expected {setting.expected}") from None
        if key == "hosts":
            try:
                parse_list(values[key])
            except ConfigError as error:
                raise ConfigError(f"{path}: {error.what}", error.why, error.hint) from None
    return values
