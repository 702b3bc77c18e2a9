"""Giving up root's rights: a node that is started by root runs as nobody in particular.

A job's compiler runs as the node's user. For root the kernel does not bound the number of processes,
and what escaped a sandbox would own the machine.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import sys

import manycc
from manycc.errors import ConfigError

DEFAULT_USERS = ("manycc", "distccd", "nobody")
"""Whom to run as, where none is named: the first of these that there is."""


def account(user: str | None) -> pwd.struct_passwd:
    """The user to run as. Raises ConfigError if there is none of that name."""
    for name in DEFAULT_USERS if user is None else (user,):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    if user is None:
        raise ConfigError(f"there is no user {', '.join(DEFAULT_USERS)}", "", "name one with --user")
    raise ConfigError(f"there is no user '{user}'", "", "name an existing one with --user")


def drop_root(user: str | None, store: str) -> str:
    """Become ``user``, who is given the store's folder; the sentence why that was not done, or nothing.

    Nothing happens unless root asks. Where the user cannot reach the store, Python or this program
    (below /root, say), root stays, unless ``user`` was named. Raises ConfigError if there is no such
    user, or if a user who was named cannot reach them.
    """
    if os.geteuid() != 0:
        if user is not None and user != pwd.getpwuid(os.geteuid()).pw_name:
            raise ConfigError("--user is for root", "another user cannot become someone else")
        return ""
    if user == "root":
        return "asked to run as root"
    try:
        entry = account(user)
    except ConfigError as error:
        if user is None:
            return error.what
        raise
    mask = os.umask(0o022)  # the folders on the way must let that user in
    try:
        os.makedirs(store, mode=0o700, exist_ok=True)
    finally:
        os.umask(mask)
    for what, path in _needed(store):
        barrier = _barrier(os.path.realpath(path), entry.pw_uid, entry.pw_gid)
        if barrier:
            why = f"{entry.pw_name} cannot enter {barrier}"
            if user is not None:
                raise ConfigError(f"{what} is out of reach", why, f"put {what} where {entry.pw_name} can reach it")
            return f"{why}, where {what} is"
    _give(store, entry.pw_uid, entry.pw_gid)
    os.setgroups([])
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    return ""


def barrier_to(entry: pwd.struct_passwd, store: str) -> str:
    """The folder that keeps a user from running a node; empty if there is none."""
    for _, path in _needed(store):
        barrier = _barrier(os.path.realpath(path), entry.pw_uid, entry.pw_gid)
        if barrier:
            return barrier
    return ""


def _needed(store: str) -> tuple[tuple[str, str], ...]:
    """What a node's user must be able to reach."""
    return ("the store", store), ("Python", os.__file__), ("Python", sys.executable), ("manycc", manycc.__file__)


def _barrier(path: str, uid: int, gid: int) -> str:
    """The first folder above ``path`` that the user may not search; empty if there is none."""
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):  # not made yet
        folder = os.path.dirname(folder)
    while True:
        status = os.stat(folder)
        shift = 6 if status.st_uid == uid else 3 if status.st_gid == gid else 0
        if not status.st_mode & (stat.S_IXOTH << shift):
            return folder
        if folder == "/":
            return ""
        folder = os.path.dirname(folder)


def _give(path: str, uid: int, gid: int) -> None:
    """Make the user the owner of a folder and all in it, if it is not yet."""
    if os.stat(path).st_uid == uid:
        return
    for folder, _, files, fd in os.fwalk(path, follow_symlinks=False):
        for name in files:
            os.chown(name, uid, gid, dir_fd=fd, follow_symlinks=False)
        os.chown(fd, uid, gid)
        del folder
