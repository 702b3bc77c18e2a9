"""The files of a BuildGrid for a team: one folder with everything that belongs to it.

PostgreSQL has its data and its socket in that folder and no port; the folder is its user's alone, so nobody else on
the machine comes near the database. Whoever has a certificate signed by the folder's authority is let in as a client
and as a worker.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from typing import Final

from manycc.engine.buildgridconfig import VERSION, ServerConfig
from manycc.errors import ConfigError

PORT: Final = 50051
MAX_SOCKET: Final = 107
"""Bytes of a socket's path, unix(7)."""
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_LISTEN: Final = re.compile(r"[0-9.]{7,15}|\[[0-9A-Fa-f:.]{2,45}\]")
_INSTANCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FOLDER: Final = re.compile(r"/[A-Za-z0-9._/+@-]*")


@dataclass(frozen=True, slots=True)
class Setup:
    """One set-up. ``clients``: how many jobs may wait, and how many workers be joined, at the same time."""

    folder: str
    host: str
    port: int = PORT
    listen: str = "[::]"
    instance: str = "main"
    tls: bool = True
    clients: int = 20

    def check(self) -> None:
        """Raises ConfigError for what cannot be written into all of the files, or would not work."""
        for what, value, form in (
            ("host name", self.host, _HOST),
            ("address", self.listen, _LISTEN),
            ("instance", self.instance, _INSTANCE),
            ("folder", self.folder, _FOLDER),
        ):
            if not form.fullmatch(value):
                raise ConfigError(f"{value!r} cannot be the {what}", "it has characters that it must not have")
        if len(f"{self.folder}/run/.s.PGSQL.5432") > MAX_SOCKET:
            raise ConfigError(f"{self.folder} is too long a path", "the database's socket lies in it")
        if os.path.isdir(self.folder) and os.listdir(self.folder):
            raise ConfigError(f"{self.folder} is not empty", "", "name another folder; nothing is written over")

    @property
    def url(self) -> str:
        """For clients and nodes, who have the authority's certificate beside theirs."""
        where = f"{self.host}:{self.port}/{self.instance}"
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
            threads=2 * self.clients + 20,
        )

    def files(self) -> dict[str, tuple[str, int]]:
        """Text and mode by name."""
        words = {
            "folder": self.folder,
            "host": self.host,
            "quoted": shlex.quote(self.folder),
            "version": VERSION,
            "url": self.url,
            "certificates": _CERTIFICATES.format(host=self.host) if self.tls else "",
            "connections": self.clients + 60,
        }
        made = {
            "buildgrid.yml": (self.server().text(), 0o600),
            "prepare.sh": (_PREPARE.format(**words), 0o700),
            "manycc-engine-database.service": (_DATABASE.format(**words), 0o644),
            "manycc-engine.service": (_SERVICE.format(**words), 0o644),
            "manycc-engine-clean.service": (_CLEAN.format(**words), 0o644),
            "manycc-engine-clean.timer": (_TIMER, 0o644),
            "README": (_README.format(**words, certificates_note=_NOTE if self.tls else ""), 0o644),
        }
        if self.tls:
            made["client-certificate.sh"] = (_CLIENT.format(**words), 0o700)
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


_PREPARE: Final = """\
#!/bin/sh
# Make what the engine runs on: BuildGrid's Python environment, the database, certificates. Safe to run again.
# Needs Debian's packages postgresql and openssl, and a Python 3.13 (PYTHON=/path/to/python3.13 if it is not in PATH).
set -eu
umask 077
here={quoted}
cd "$here"
if [ "$(id -u)" = 0 ]; then
    echo "prepare: run this as an unprivileged user who owns $here: PostgreSQL refuses to run as root" >&2
    exit 1
fi
initdb=$(command -v initdb || ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -n 1)
if [ -z "$initdb" ]; then
    echo "prepare: PostgreSQL is not installed: apt-get install postgresql" >&2
    exit 1
fi
bin=$(dirname "$(readlink -f "$initdb")")
python=${{PYTHON:-python3.13}}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 13))' 2>/dev/null; then
    echo "prepare: BuildGrid needs Python 3.13 or newer: name it with PYTHON=/path/to/python3.13" >&2
    exit 1
fi
mkdir -p cas run
if [ ! -e venv/complete ]; then
    "$python" -m venv venv
    venv/bin/pip install -q --disable-pip-version-check buildgrid=={version}
    touch venv/complete
fi
if [ ! -e data/PG_VERSION ]; then
    "$bin/initdb" -D data -U bgd --auth=trust -E UTF8 --locale=C >/dev/null
    # No port: only who may enter this folder reaches it.
    printf '%s\\n' "listen_addresses = ''" "unix_socket_directories = '$here/run'" \\
        "max_connections = {connections}" >>data/postgresql.conf
fi
ln -sfn "$bin/postgres" postgres
started=no
if ! "$bin/pg_ctl" -D data status >/dev/null; then
    "$bin/pg_ctl" -D data -w -l run/prepare.log start >/dev/null
    started=yes
fi
"$bin/psql" -h "$here/run" -U bgd -d bgd -c '' 2>/dev/null || "$bin/createdb" -h "$here/run" -U bgd bgd
venv/bin/bgd migrate apply "postgresql://bgd@/bgd?host=$here/run"
[ "$started" = no ] || "$bin/pg_ctl" -D data -w -m fast stop >/dev/null
{certificates}venv/bin/bgd server lint buildgrid.yml
echo "prepare: ready. As root, now:"
echo "  cp $here/manycc-engine*.service $here/manycc-engine*.timer /etc/systemd/system/"
echo "  systemctl daemon-reload && systemctl enable --now manycc-engine manycc-engine-clean.timer"
"""

_CERTIFICATES: Final = """\
mkdir -p tls
if [ ! -e tls/ca.pem ]; then
    openssl req -x509 -newkey rsa:3072 -nodes -days 3650 -subj "/CN=manycc engine" \\
        -addext "keyUsage=critical,keyCertSign" -keyout tls/ca.key -out tls/ca.pem 2>/dev/null
fi
if [ ! -e tls/server.pem ]; then
    openssl req -newkey rsa:3072 -nodes -subj "/CN={host}" -keyout tls/server.key -out tls/server.csr 2>/dev/null
    printf 'subjectAltName=DNS:{host},DNS:localhost,IP:127.0.0.1\\nextendedKeyUsage=serverAuth\\n' >tls/server.ext
    openssl x509 -req -in tls/server.csr -CA tls/ca.pem -CAkey tls/ca.key -CAcreateserial -days 825 \\
        -extfile tls/server.ext -out tls/server.pem 2>/dev/null
fi
[ -e tls/client.pem ] || ./client-certificate.sh client
"""

_CLIENT: Final = """\
#!/bin/sh
# client-certificate.sh NAME: a certificate for a client or a node, tls/NAME.pem and tls/NAME.key.
set -eu
umask 077
cd {quoted}/tls
name=${{1:?usage: client-certificate.sh NAME}}
openssl req -newkey rsa:3072 -nodes -subj "/CN=$name" -keyout "$name.key" -out "$name.csr" 2>/dev/null
printf 'extendedKeyUsage=clientAuth\\n' >"$name.ext"
openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -extfile "$name.ext" \\
    -out "$name.pem" 2>/dev/null
rm "$name.csr" "$name.ext"
echo "made tls/$name.pem and tls/$name.key: take them and tls/ca.pem to the machine"
"""

_DATABASE: Final = """\
[Unit]
Description=PostgreSQL of the manycc engine

[Service]
Type=notify
User=manycc-engine
ExecStart={folder}/postgres -D {folder}/data
ExecReload=/bin/kill -HUP $MAINPID
# SIGINT ends PostgreSQL at once and in good order.
KillSignal=SIGINT
KillMode=mixed
TimeoutStopSec=60
Restart=on-failure
NoNewPrivileges=yes

[Install]
WantedBy=multi-user.target
"""

_SERVICE: Final = """\
[Unit]
Description=BuildGrid for manycc
After=network-online.target manycc-engine-database.service
Wants=network-online.target
Requires=manycc-engine-database.service

[Service]
User=manycc-engine
ExecStart={folder}/venv/bin/bgd server start {folder}/buildgrid.yml
# Jobs and sessions are in the database: what was under way goes on when the server is back.
Restart=always
RestartSec=2
TimeoutStopSec=30
LimitNOFILE=65536
NoNewPrivileges=yes
ProtectSystem=full
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
"""

_CLEAN: Final = """\
[Unit]
Description=Remove what nobody read for two weeks from the manycc engine's contents

[Service]
Type=oneshot
User=manycc-engine
# What is removed and needed after all is sent again by whoever needs it.
ExecStart=/usr/bin/find {folder}/cas -type f -atime +14 -mtime +14 -delete
Nice=19
"""

_TIMER: Final = """\
[Unit]
Description=Daily: see manycc-engine-clean.service

[Timer]
OnCalendar=daily
Persistent=true

[Install]
WantedBy=timers.target
"""

_NOTE: Final = """\
3. Each client and each node gets a certificate: ./client-certificate.sh NAME, then ca.pem, NAME.pem and NAME.key go to
   that machine, as /etc/manycc/ca.pem, client.pem and client.key, readable by who runs the node there. Whoever has
   one may send jobs and be a worker, and a worker decides what objects others get: give them to machines that you
   trust. tls/ca.key stays here.
"""

_README: Final = """\
A remote execution engine for manycc: BuildGrid {version} and its PostgreSQL.

1. On this machine: apt-get install postgresql openssl, and a Python 3.13. As root: useradd -r manycc-engine;
   chown -R manycc-engine {folder}; the folders above it must let that user through.
2. As manycc-engine: {folder}/prepare.sh, then as root what it prints.
{certificates_note}
On each machine that compiles, with manycc[engine] installed:

    manycc node --join '{url}'

On each machine that builds, in MANYCC_HOSTS (slots: how many of its jobs may be there at once):

    manycc engine check '{url}'

What buildgrid.yml avoids, with the reason at each line: BuildGrid's usual second between two assignments, a setting
that makes workers spin, too few threads for those who wait. A job whose compiler no worker has waits in the engine
for ever: clients give up and compile elsewhere, or themselves. Contents that nobody read for two weeks are removed
by manycc-engine-clean.timer. data/ has the jobs under way and the workers' sessions; cas/ and data/ may be removed
together while the services are stopped (then prepare.sh again): everything is sent and compiled anew. Which results
there are, the server knows in its memory only: when it is started anew, each unit is compiled once more.
"""
