"""``manycc node``: run a node, which compiles for other machines."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Sequence
from typing import Final

from manycc.config import folders
from manycc.errors import ConfigError, ManyccError
from manycc.inputs.fileview import FileView
from manycc.node.access import LOOPBACK, parse_networks
from manycc.node.machine import cpu_count
from manycc.node.options import DEFAULT_PORT, MIN_JOB_MEMORY, NodeOptions, parse_size
from manycc.node.privileges import drop_root
from manycc.node.service import Node

MAX_OPEN_FILES: Final = 65536
_PR_SET_PDEATHSIG: Final = 1
_log: Final = logging.getLogger("manycc.node")

_DESCRIPTION: Final = """\
Run a node: compile for the machines that are allowed to ask. It serves the compilers that are
installed here, each to those machines that have the very same one. Every compile is sealed: it sees
its own inputs, has no network and cannot write outside its own folder."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "node", help="run a node, which compiles for other machines", description=_DESCRIPTION
    )
    _add_arguments(parser)
    parser.set_defaults(run=run)


def main(argv: Sequence[str]) -> int:
    """Run with the verb's own arguments; the exit code."""
    parser = argparse.ArgumentParser(prog="manycc node", description=_DESCRIPTION)
    _add_arguments(parser)
    return run(parser.parse_args(argv))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    # fmt: off
    add = parser.add_argument
    add("--listen", metavar="ADDR", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=DEFAULT_PORT, help="port, 0 for any free one (default: %(default)s)")
    add("--allow", metavar="NET", action="append", default=[],
        help="who may connect: 192.168.0.0/24, or one address; may be repeated (default: this machine only)")
    add("--jobs", "-j", type=int, default=None, metavar="N", help="compiles at a time (default: the processors)")
    add("--nice", type=int, default=0, metavar="N", help="give way to other work: 0 to 19 (default: 0)")
    add("--daemon", action="store_true", help="go to the background once it listens")
    add("--no-detach", action="store_true", help="with --daemon: stay in the foreground, for a supervisor")
    add("--log-file", metavar="FILE", help="append the log to a file (default: stderr; with --daemon: node.log)")
    add("--pid-file", metavar="FILE", help="write the process number to a file")
    add("--user", metavar="NAME", help="whom to run as, when started by root (default: nobody)")
    add("--store", metavar="DIR", help="folder for contents and results")
    add("--store-size", metavar="SIZE", help="bound of the store (default: 5G, or a tenth of a smaller disk)")
    add("--job-memory", metavar="SIZE", help="bound of each process's memory (default: this machine's)")
    add("--job-time", type=int, metavar="S", help="bound of each process's CPU seconds (default: 900)")
    add("--job-output", metavar="SIZE", help="bound of each file written (default: 512M)")
    add("--job-processes", type=int, metavar="N", help="processes that a job may add (default: 64)")
    add("--sandbox", choices=("auto", "required", "off"), default="auto",
        help="required: do not start where jobs cannot be sealed; off: never seal (default: auto)")
    add("--name", help="what to call this node (default: the host name)")
    add("--ready-fd", type=int, metavar="FD", help="write the port and a newline there once it listens")
    add("--die-with-parent", action="store_true", help="end when the process that started it ends")
    # fmt: on


def run(arguments: argparse.Namespace) -> int:
    """Run the verb; the exit code: 0, 1 if it cannot start, 2 for a wrong setting."""
    try:
        options = _options(arguments)
    except ConfigError as error:
        _complain(error)
        return 2
    try:
        return _run(arguments, options)
    except ManyccError as error:
        _complain(error)
        return 1


def _options(arguments: argparse.Namespace) -> NodeOptions:
    """Raises ConfigError."""
    chosen: dict[str, object] = {
        "store": arguments.store or os.path.join(folders(os.environ)["cache_dir"], "store"),
        "listen": arguments.listen,
        "port": arguments.port,
        # A network that cannot be read ends the start: whoever meant to let in few must not let in more.
        "allow": parse_networks(arguments.allow) or LOOPBACK,
        "slots": cpu_count() if arguments.jobs is None else arguments.jobs,
        "sandbox": arguments.sandbox,
    }
    for name in ("store_size", "job_memory", "job_output"):
        if getattr(arguments, name) is not None:
            chosen[name] = parse_size(getattr(arguments, name))
    for name in ("job_time", "job_processes", "name"):
        if getattr(arguments, name) is not None:
            chosen[name] = getattr(arguments, name)
    options = NodeOptions(**chosen)  # type: ignore[arg-type]
    for name, value, low, high in (
        ("--port", options.port, 0, 65535),
        ("--jobs", options.slots, 1, 4096),
        ("--nice", arguments.nice, 0, 19),
        ("--store-size", options.store_size, 1024**2, None),
        ("--job-memory", options.job_memory, MIN_JOB_MEMORY, None),
        ("--job-output", options.job_output, 1024**2, None),
        ("--job-time", options.job_time, 1, None),
        ("--job-processes", options.job_processes, 8, None),
    ):
        if value is not None and (value < low or (high is not None and value > high)):
            bound = f"between {low} and {high}" if high is not None else f"at least {low}"
            raise ConfigError(f"{name} {value}", f"must be {bound}")
    return options


def _run(arguments: argparse.Namespace, options: NodeOptions) -> int:
    """Go to the background if asked to, and serve until told to end. Raises ManyccError."""
    log_file = arguments.log_file
    detach = arguments.daemon and not arguments.no_detach
    if detach and log_file is None:
        state = folders(os.environ)["state_dir"]
        os.makedirs(state, mode=0o700, exist_ok=True)
        log_file = os.path.join(state, "node.log")
    _open_log(log_file)
    if arguments.nice:
        os.nice(arguments.nice)
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    # What is usual serves a shell; agents, jobs and large outputs each take some.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, MAX_OPEN_FILES), files))
    report = _detach() if detach else -1
    pid_file = _write_pid(arguments.pid_file) if arguments.pid_file else -1
    try:
        why_root = drop_root(arguments.user, options.store)
        if why_root:
            _log.warning("running as root, so processes of jobs are not counted: %s", why_root)
        if arguments.die_with_parent:
            _die_with_parent()  # last: the kernel forgets it when the user changes
        return asyncio.run(_serve(options, arguments.ready_fd, report))
    except ManyccError as error:
        if report >= 0:
            _log.error("%s", error)
            _tell(report, str(error))
            return 1
        raise
    except OSError as error:
        raise ManyccError("the node cannot start", str(error)) from error
    finally:
        if pid_file >= 0:
            _remove_pid(arguments.pid_file, pid_file)


async def _serve(options: NodeOptions, ready_fd: int | None, report: int) -> int:
    loop = asyncio.get_running_loop()
    asked: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.put_nowait, number)
    node = Node(options, FileView().digest_of)
    try:
        await node.start()
        # What lives now lives for good: keep the collector from looking at it again and again.
        gc.collect()
        gc.freeze()
        if report >= 0:
            _tell(report, "")
        if ready_fd is not None:
            with contextlib.suppress(OSError), open(ready_fd, "w", encoding="ascii") as ready:
                ready.write(f"{node.port}\n")
        elif report < 0:
            print(f"listening on {options.listen} port {node.port}", flush=True)
        await _until_told(node, asked)
    finally:
        await node.stop()
    return 0


async def _until_told(node: Node, asked: asyncio.Queue[signal.Signals]) -> None:
    """Wait for SIGTERM, then for the jobs; or for SIGINT, or a second signal, and for nothing more."""
    if await asked.get() is signal.SIGINT:
        _log.info("interrupted")
        return
    _log.info("asked to end: finishing the jobs under way")
    drained = asyncio.create_task(node.drain())
    again = asyncio.create_task(asked.get())
    await asyncio.wait((drained, again), return_when=asyncio.FIRST_COMPLETED)
    for task in (drained, again):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _complain(error: ManyccError) -> None:
    print(f"manycc node: {error.what}" + (f": {error.why}" if error.why else ""), file=sys.stderr)
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)


def _open_log(path: str | None) -> None:
    try:
        handler = logging.FileHandler(path, errors="backslashreplace") if path else logging.StreamHandler()
    except OSError as error:
        raise ManyccError(f"the log file {path} cannot be written", error.strerror or "") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.propagate = False
    # None of these is shown, and finding them out costs as much as the rest of a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def _detach() -> int:
    """Become a daemon. The caller's process waits for a report on the descriptor returned, and ends."""
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        with open(read, encoding="utf-8", errors="replace") as pipe:
            text = pipe.read()
        if text != "\n":
            print(f"manycc node: {text.strip() or 'it ended at its start; see its log'}", file=sys.stderr)
        os._exit(0 if text == "\n" else 1)
    os.close(read)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    return write


def _tell(report: int, text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(report, text.encode("utf-8", "replace") + b"\n")
    os.close(report)


def _write_pid(path: str) -> int:
    """Raises ManyccError. The file stays open: who started as root may not be able to open it later."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        os.write(fd, f"{os.getpid()}\n".encode())
    except OSError as error:
        raise ManyccError(f"the pid file {path} cannot be written", error.strerror or "") from error
    return fd


def _remove_pid(path: str, fd: int) -> None:
    try:
        os.unlink(path)
    except OSError:
        os.ftruncate(fd, 0)
    os.close(fd)


def _die_with_parent() -> None:
    import ctypes

    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        raise ManyccError("the process that started the node has ended")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
