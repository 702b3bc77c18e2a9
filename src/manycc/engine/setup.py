"""The files of a BuildGrid for a team: one folder with everything that belongs to it.

PostgreSQL has its data and its socket in that folder and no port; the folder is its user's alone, so nobody else on
the machine comes near the database. Whoever has a certificate signed by the folder's authority is let in as a client
and as a worker.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import shlex
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from manycc.engine import setupfiles
from manycc.engine.buildgridconfig import POOL, VERSION, ResultsConfig, ServerConfig
from manycc.errors import ConfigError

PORT: Final = 50051
SLOTS: Final = 400
WORKERS: Final = 50
SPARE: Final = 50
"""Threads for calls of those who have no job there: questions, and agents that look whether the engine is there."""
PROCESSES: Final = 14
"""Server processes that the database has connections for."""
GIB: Final = 1024**3
CONSTRAINTS: Final = "buildgrid.constraints"
"""The versions of what BuildGrid needs: a file of this package, and of a set-up."""
MAX_SOCKET: Final = 107
"""Bytes of a socket's path, unix(7)."""
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_LISTEN: Final = re.compile(r"[0-9.]{7,15}|\[[0-9A-Fa-f:.]{2,45}\]")
_INSTANCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FOLDER: Final = re.compile(r"/[A-Za-z0-9._/+@-]*")
_THREADS: Final = """each job that waits holds one, and its
worker another while it reads inputs or brings the result; each worker that waits for work holds one; some are for
others."""


def constraints() -> str:
    """The versions that were tested, for pip's ``-c``."""
    return files("manycc.engine").joinpath(CONSTRAINTS).read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Setup:
    """One set-up. ``slots``: those of all clients together; ``store_size`` in bytes."""

    folder: str
    host: str
    port: int = PORT
    listen: str = "[::]"
    instance: str = "main"
    tls: bool = True
    slots: int = SLOTS
    workers: int = WORKERS
    store_size: int = 100 * GIB

    def check(self) -> None:
        """Raises ConfigError for what cannot be written into all of the files, or would not work."""
        checked = [
            ("address", self.listen, _LISTEN),
            ("instance", self.instance, _INSTANCE),
            ("folder", self.folder, _FOLDER),
        ]
        if self._address is None:
            checked.append(("host name", self.host, _HOST))
        for what, value, form in checked:
            if not form.fullmatch(value):
                raise ConfigError(f"{value!r} cannot be the {what}", "it has characters that it must not have")
        if len(f"{self.folder}/run/.s.PGSQL.5432") > MAX_SOCKET:
            raise ConfigError(f"{self.folder} is too long a path", "the database's socket lies in it")
        if os.path.isdir(self.folder) and os.listdir(self.folder):
            raise ConfigError(f"{self.folder} is not empty", "", "name another folder; nothing is written over")

    @property
    def _address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The host, if it is called by an address."""
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(self.host)
            if "%" not in self.host and not address.is_unspecified:
                return address
        return None

    @property
    def threads(self) -> int:
        """Calls that a server may have at once.

        The stream of each job holds one until the job is done, and its worker may read and write contents meanwhile;
        each worker's question for work holds one.
        """
        return 2 * self.slots + self.workers + SPARE

    @property
    def url(self) -> str:
        """For clients and nodes, who have the authority's certificate beside theirs."""
        host = f"[{self.host}]" if isinstance(self._address, ipaddress.IPv6Address) else self.host
        where = f"{host}:{self.port}/{self.instance}"
        if not self.tls:
            return f"reapi://{where}"
        return f"reapis://{where}?ca=/etc/manycc/ca.pem&cert=/etc/manycc/client.pem&key=/etc/manycc/client.key"

    def server(self) -> ServerConfig:
        """BuildGrid's own configuration."""
        tls = f"{self.folder}/tls" if self.tls else ""
        return ServerConfig(
            address=f"{self.listen}:{self.port}",
            database=f"postgresql://bgd@/bgd?host={self.folder}/run",
            storage=f"{self.folder}/cas",
            instance=self.instance,
            certificate=tls and f"{tls}/server.pem",
            key=tls and f"{tls}/server.key",
            clients=tls and f"{tls}/ca.pem",
            threads=self.threads,
            threads_note=f"2 x {self.slots} slots of all clients together + {self.workers} workers + {SPARE}: "
            + " ".join(_THREADS.split()),
            results=self._results.address,
        )

    @property
    def _results(self) -> ResultsConfig:
        return ResultsConfig(f"unix:{self.folder}/run/results.sock", f"{self.folder}/cas", self.instance)

    def files(self) -> dict[str, tuple[str, int]]:
        """Text and mode by name."""
        kind = "DNS" if self._address is None else "IP"
        words = {
            "folder": self.folder,
            "quoted": shlex.quote(self.folder),
            "version": VERSION,
            "url": self.url,
            "slots": self.slots,
            "workers": self.workers,
            "spare": SPARE,
            "threads": self.threads,
            "threads_words": _THREADS,
            "pool": POOL,
            "processes": PROCESSES,
            "connections": PROCESSES * POOL + 20,
            "blocks": self.store_size // 512,
            "gigabytes": f"{self.store_size / GIB:.3g}",
        }
        names = ",".join(dict.fromkeys((f"{kind}:{self.host}", "DNS:localhost", "IP:127.0.0.1")))
        certificates = setupfiles.CERTIFICATES.format(names=names, quietly=setupfiles.QUIETLY) if self.tls else ""
        made = {
            "buildgrid.yml": (self.server().text(), 0o600),
            "results.yml": (self._results.text(), 0o600),
            CONSTRAINTS: (constraints(), 0o644),
            "prepare.sh": (setupfiles.PREPARE.format(**words, certificates=certificates), 0o700),
            "clean.sh": (setupfiles.CLEAN_SCRIPT.format(**words), 0o700),
            "manycc-engine-database.service": (setupfiles.DATABASE.format(**words), 0o644),
            "manycc-engine-results.service": (setupfiles.RESULTS.format(**words), 0o644),
            "manycc-engine@.service": (setupfiles.SERVICE.format(**words), 0o644),
            "manycc-engine-clean.service": (setupfiles.CLEAN.format(**words), 0o644),
            "manycc-engine-clean.timer": (setupfiles.TIMER, 0o644),
            "README": (setupfiles.README.format(**words, certificates_note=setupfiles.NOTE if self.tls else ""), 0o644),
        }
        if self.tls:
            made["client-certificate.sh"] = (setupfiles.CLIENT.format(**words, quietly=setupfiles.QUIETLY), 0o700)
        return made

    def write(self) -> None:
        """Write them. Raises ConfigError."""
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            for name, (text, mode) in self.files().items():
                fd = os.open(os.path.join(self.folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
                with open(fd, "w", encoding="utf-8") as file:
                    file.write(text)
                os.chmod(os.path.join(self.folder, name), mode)
        except OSError as error:
            raise ConfigError(f"{error.filename or self.folder} cannot be written", error.strerror or "") from error

    def next_steps(self) -> str:
        """What its user does now."""
        return f"next: {self.folder}/prepare.sh, as the user that the engine shall run as (not root); see README there"
