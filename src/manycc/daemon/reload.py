"""Reading a running node's settings again."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from manycc.daemon.logs import Log
from manycc.daemon.settings import SETTINGS, NodeSettings
from manycc.errors import ManyccError
from manycc.node.service import Node

MAX_NICE: Final = 19
_log: Final = logging.getLogger("manycc.node")
_OF_NODE: Final = {"jobs": "slots"}
"""Settings by another name in ``NodeOptions``."""


class Reloader:
    """Applies what has changed in the settings, as far as that can be done while a node runs."""

    def __init__(
        self, load: Callable[[], NodeSettings], settings: NodeSettings, env: Mapping[str, str], log: Log, log_file: str
    ) -> None:
        """``log_file`` is where the log goes unless a setting says otherwise; empty for stderr."""
        self._load = load
        self._settings = settings
        self._env = env
        self._log = log
        self._log_file = log_file
        self._priority = os.getpriority(os.PRIO_PROCESS, 0)
        """Before any of it was given away."""

    def be_nice(self) -> None:
        """Give way to other work, as set. Raises OSError where more is claimed than may be."""
        # What others use can be told only from what is not nice.
        idle = self._settings.get("when_idle", False)
        nice = min(self._priority + max(self._settings.get("nice", MAX_NICE if idle else 0), int(idle)), MAX_NICE)
        if nice != os.getpriority(os.PRIO_PROCESS, 0):
            os.setpriority(os.PRIO_PROCESS, 0, nice)

    def open_log(self) -> None:
        """Open the log where the settings say. Raises ManyccError."""
        level = logging.getLevelNamesMapping()[self._settings.get("log_level", "info").upper()]
        self._log.open(self._settings.get("log_file", self._log_file), level)

    def reload(self, node: Node) -> None:
        """Read the settings, open the log anew, and go by what is new. What cannot be read changes nothing."""
        old = self._settings
        problem: ManyccError | None = None
        try:
            new = self._load()
            options = new.options(self._env)
            self._settings = new
        except ManyccError as error:
            problem = error
        try:
            self.open_log()
        except ManyccError as error:
            _log.error("the log stays where it is: %s", error)
        if problem is not None:
            _log.error("the settings stay as they were: %s", problem)
            return
        for note in new.notes:
            _log.warning("%s", note)
        changed = [setting for setting in SETTINGS if new.get(setting.name) != old.get(setting.name)]
        live: dict[str, Any] = {}
        for setting in changed:
            if not setting.live:
                _log.warning("%s takes effect when the node is started again", _told(setting.name, old, new))
                continue
            _log.info("%s", _told(setting.name, old, new))
            name = _OF_NODE.get(setting.name, setting.name)
            if hasattr(options, name):
                live[name] = getattr(options, name)
        node.reconfigure(dataclasses.replace(node.options, **live))
        try:
            self.be_nice()
        except OSError as error:
            _log.error("nice stays as it was: %s (only root can take priority back)", error.strerror)
        _log.info("settings read again, %d changed", len(changed))


def _told(name: str, old: NodeSettings, new: NodeSettings) -> str:
    return f"{name}: {shown(old.get(name))} -> {shown(new.get(name))} ({new.origin(name)})"


def shown(value: object) -> str:
    """A setting's value, for people."""
    if value is None:
        return "default"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return str(value)
