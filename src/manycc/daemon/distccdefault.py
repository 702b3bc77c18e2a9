"""distcc's own ``/etc/default/distcc``, understood: what its start script would have made of it, for a node."""

from __future__ import annotations

from typing import Any, Final

from manycc.daemon import keyvalue
from manycc.daemon.settings import BY_NAME, NodeSettings
from manycc.errors import ConfigError, ManyccError
from manycc.node.access import PRIVATE, parse_client_networks

FILE: Final = "/etc/default/distcc"
_YES: Final = ("true", "YES")
_KEYS: Final = {"LISTENER": "listen", "NICE": "nice", "JOBS": "jobs", "TMPDIR": "tmpdir"}
_KNOWN: Final = {*_KEYS, "STARTDISTCC", "ALLOWEDNETS", "ZEROCONF"}


class NotWanted(ManyccError):
    """The file says that nothing is to be started."""


def read(path: str) -> NodeSettings:
    """The settings. Raises NotWanted if it says not to start; ConfigError for what cannot be read."""
    try:
        given = keyvalue.read(path)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read", error.strerror or str(error), "--from-distcc-default=FILE names another one"
        ) from error
    start = given.get("STARTDISTCC")
    if start is None or start.text not in _YES:
        where = f"{path}, line {start.line}" if start else path
        said = f'STARTDISTCC="{start.text}"' if start else "STARTDISTCC is not set"
        raise NotWanted(
            "not started", f"{where}: {said}", f'write STARTDISTCC="true" into {path} to have a node started'
        )
    # Where the file says nothing, distccd's defaults hold: every address, and private networks.
    values: dict[str, Any] = {"listen": "*", "allow": PRIVATE}
    origins = dict.fromkeys(values, f"distccd's default, since {path} sets none")
    notes: list[str] = []
    for key, value in given.items():
        where = f"{path}, line {value.line}"
        if key not in _KNOWN:
            notes.append(f"{where}: {key} is not known, and has no effect")
        if key == "ZEROCONF" and value.text in _YES:
            notes.append(f"{where}: this node does not announce itself by zeroconf; name it in the clients' host list")
        if not value.text.strip():
            continue
        try:
            if key == "ALLOWEDNETS":
                values["allow"] = parse_client_networks(value.text.split())
            elif key in _KEYS:
                values[_KEYS[key]] = BY_NAME[_KEYS[key]].read(value.text.strip())
            else:
                continue
        except ConfigError as error:
            raise ConfigError(f"{where}: {error.what}", error.why, error.hint) from None
        except ValueError as error:
            raise ConfigError(f"{where}: {key} = {value.text!r}", str(error)) from None
        origins[_KEYS.get(key, "allow")] = where
    return NodeSettings(values, origins, tuple(notes))
