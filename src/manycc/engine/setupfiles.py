"""The texts of a set-up (``setup.py``) but BuildGrid's own configuration: scripts, services, what to do with them."""

from __future__ import annotations

from typing import Final

PREPARE: Final = """\
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
# A database that is there goes on with the PostgreSQL that made it.
made_by=$(cat data/PG_VERSION 2>/dev/null || echo '*')
# shellcheck disable=SC2086  # a pattern
initdb=$(ls -d /usr/lib/postgresql/$made_by/bin/initdb 2>/dev/null | sort -V | tail -n 1)
initdb=${{initdb:-$(command -v initdb || true)}}
if [ -z "$initdb" ]; then
    echo "prepare: PostgreSQL is not installed (or not that of data/PG_VERSION): apt-get install postgresql" >&2
    exit 1
fi
bin=$(dirname "$(readlink -f "$initdb")")
python=${{PYTHON:-python3.13}}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 13))'; then
    echo "prepare: BuildGrid needs a Python 3.13 or newer that $(id -un) can run:" \\
        "name it with PYTHON=/path/to/python3.13" >&2
    exit 1
fi
mkdir -p cas run
case ,$(findmnt -n -o OPTIONS -T cas), in
    *,noatime,*) echo "prepare: $here lies on a file system that does not note when a file was read (noatime):" \\
        "contents will be removed by the time they were written. Mount it with relatime." >&2 ;;
esac
if [ ! -e venv/complete ]; then
    "$python" -m venv venv
    venv/bin/pip install -q --no-cache-dir --disable-pip-version-check -c buildgrid.constraints buildgrid=={version}
    touch venv/complete
fi
if [ ! -e data/PG_VERSION ]; then
    "$bin/initdb" -D data -U bgd --auth=trust -E UTF8 --locale=C >/dev/null
    # No port: only who may enter this folder reaches it.
    printf '%s\\n' "listen_addresses = ''" "unix_socket_directories = '$here/run'" \\
        "# {pool} for each BuildGrid process, and some to look after it: enough for {processes}." \\
        "max_connections = {connections}" >>data/postgresql.conf
fi
ln -sfn "$bin/postgres" postgres
if ! "$bin/pg_ctl" -D data status >/dev/null; then
    "$bin/pg_ctl" -D data -w -l run/prepare.log start >/dev/null
    # Whatever comes of the rest, it is not left behind: its service could not start then.
    trap '"$bin/pg_ctl" -D data -w -m fast stop >/dev/null' EXIT
    trap 'exit 1' HUP INT TERM
fi
"$bin/psql" -h "$here/run" -U bgd -d bgd -c '' 2>/dev/null || "$bin/createdb" -h "$here/run" -U bgd bgd
venv/bin/bgd migrate apply "postgresql://bgd@/bgd?host=$here/run"
{certificates}venv/bin/bgd server lint buildgrid.yml
echo "prepare: ready. As root, now:"
echo "  cp $here/manycc-engine*.service $here/manycc-engine*.timer /etc/systemd/system/"
echo "  systemctl daemon-reload && systemctl enable --now manycc-engine@1 manycc-engine-clean.timer"
"""

QUIETLY: Final = """\
# What openssl says is of interest if it fails.
quietly() {
    said=$("$@" 2>&1) || {
        printf '%s\\n' "$said" >&2
        exit 1
    }
}
"""

CERTIFICATES: Final = """\
{quietly}mkdir -p tls
new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
if [ ! -e tls/ca.pem ]; then
    # shellcheck disable=SC2086  # words
    quietly openssl req -x509 $new -days 3650 -subj "/CN=manycc engine" \\
        -addext "keyUsage=critical,keyCertSign" -keyout tls/ca.key -out tls/ca.pem
fi
if [ ! -e tls/server.pem ]; then
    # shellcheck disable=SC2086  # words
    quietly openssl req $new -subj "/CN=manycc engine server" -keyout tls/server.key -out tls/server.csr
    printf 'subjectAltName={names}\\nextendedKeyUsage=serverAuth\\n' >tls/server.ext
    quietly openssl x509 -req -in tls/server.csr -CA tls/ca.pem -CAkey tls/ca.key -CAcreateserial -days 825 \\
        -extfile tls/server.ext -out tls/server.pem
    rm tls/server.csr tls/server.ext
fi
[ -e tls/client.pem ] || ./client-certificate.sh client
"""

CLIENT: Final = """\
#!/bin/sh
# client-certificate.sh NAME: a certificate for a client or a node, tls/NAME.pem and tls/NAME.key.
set -eu
umask 077
cd {quoted}/tls
{quietly}name=${{1:?usage: client-certificate.sh NAME}}
case $name in
    ca | server)
        echo "client-certificate: $name is the name of the engine's own certificate: take another one" >&2
        exit 2 ;;
    .* | -* | *[!A-Za-z0-9._-]*)
        echo "client-certificate: NAME is made of letters, digits, dots, dashes and underscores" >&2
        exit 2 ;;
esac
if [ ${{#name}} -gt 64 ]; then
    echo "client-certificate: NAME is longer than 64 characters" >&2
    exit 2
fi
if [ -e "$name.pem" ]; then
    echo "client-certificate: tls/$name.pem is there. For a new one, remove it first" >&2
    exit 1
fi
quietly openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -keyout "$name.key" \\
    -out "$name.csr"
printf 'extendedKeyUsage=clientAuth\\n' >"$name.ext"
quietly openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -extfile "$name.ext" \\
    -out "$name.pem"
rm "$name.csr" "$name.ext"
echo "made tls/$name.pem and tls/$name.key: take them and tls/ca.pem to the machine"
"""

CLEAN_SCRIPT: Final = """\
#!/bin/sh
# Bound the contents by age and by size. What is removed and needed after all is sent again by whoever needs it.
set -eu
here={quoted}
days=14
# In blocks of 512 bytes.
most={blocks}
cd "$here/cas"
find . -type f -atime +$days -mtime +$days -delete
# Those that were read last come first; what lies beyond the size goes. Names are digests: there is no blank in them.
find cas/objects -type f -printf '%A@ %b %p\\n' | LC_ALL=C sort -rn |
    awk -v "most=$most" '{{ sum += $2 }} sum > most {{ print $3 }}' | xargs -r rm -f --
# Jobs that no worker took until they were too old: BuildGrid's own pruner looks for when a worker was done.
[ ! -S "$here/run/.s.PGSQL.5432" ] || "$(dirname "$(readlink -f "$here/postgres")")/psql" -q -h "$here/run" -U bgd \\
    -d bgd -c "delete from jobs where stage = 4 and worker_completed_timestamp is null
               and queued_timestamp < now() at time zone 'utc' - interval '3 days'"
"""

DATABASE: Final = """\
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
# After a power cut it may have much to go through.
TimeoutStartSec=infinity
Restart=on-failure
NoNewPrivileges=yes

[Install]
WantedBy=multi-user.target
"""

RESULTS: Final = """\
[Unit]
Description=The results that the manycc engine's servers have in common

[Service]
User=manycc-engine
ExecStart={folder}/venv/bin/bgd server start {folder}/results.yml
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

SERVICE: Final = """\
[Unit]
Description=BuildGrid for manycc, process %i
After=network-online.target manycc-engine-database.service manycc-engine-results.service
Wants=network-online.target manycc-engine-results.service
Requires=manycc-engine-database.service

[Service]
User=manycc-engine
# All of them listen on the same port: each connection is given to one of them by the kernel.
ExecStart={folder}/venv/bin/bgd server start {folder}/buildgrid.yml
# Jobs and sessions are in the database: what was under way goes on when the server is back, or at another one.
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

CLEAN: Final = """\
[Unit]
Description=Bound the manycc engine's contents by age and size

[Service]
Type=oneshot
User=manycc-engine
ExecStart={folder}/clean.sh
Nice=19
IOSchedulingClass=idle
"""

TIMER: Final = """\
[Unit]
Description=Hourly: see manycc-engine-clean.service

[Timer]
OnCalendar=hourly
Persistent=true

[Install]
WantedBy=timers.target
"""

NOTE: Final = """\
3. Each client and each node gets a certificate: ./client-certificate.sh NAME, then ca.pem, NAME.pem and NAME.key go to
   that machine, as /etc/manycc/ca.pem, client.pem and client.key, readable by who runs the node there. Whoever has
   one may send jobs, be a worker and write results, so any of them can decide what objects the others get: give
   them to machines that you trust. tls/ca.key stays here.
"""

README: Final = """\
A remote execution engine for manycc: BuildGrid {version} and its PostgreSQL.

1. On this machine: apt-get install postgresql openssl, and a Python 3.13. As root: useradd -r manycc-engine;
   chown -R manycc-engine {folder}; the folders above it must let that user through.
2. As manycc-engine: {folder}/prepare.sh, then as root what it prints.
{certificates_note}
On each machine that compiles, with manycc[engine] installed (what stands behind --join can be seen among the
processes; as a service, JOIN= in /etc/default/manycc):

    manycc node --join '{url}'

On each machine that builds, in MANYCC_HOSTS with &slots=N behind it (how many of its jobs may be there at once):

    manycc engine check '{url}'

How many: this was made for {slots} slots= of all clients together, and {workers} workers. thread-pool-size in
buildgrid.yml is reckoned from them, {threads} = 2 x {slots} + {workers} + {spare}: {threads_words}
Calls beyond it are refused. For more: set the sum there, and restart the servers.

A server process is Python and fills one core. More of them on this machine, all on the same port, the same database
and the same contents: systemctl enable --now manycc-engine@2 manycc-engine@3. Each takes part of the
connections, as clients and nodes connect. data/postgresql.conf has connections for {processes} of them, {pool} each
(max_connections).

What buildgrid.yml avoids, with the reason at each line: BuildGrid's usual second between two assignments, a setting
that makes workers spin, too few threads, jobs that wait for ever, tables that grow for ever. clean.sh, which
manycc-engine-clean.timer runs every hour, removes contents that nobody read for two weeks, and the longest unread
beyond {gigabytes} GiB (`most` in it). data/ has the jobs of three days and the workers' sessions; cas/ and data/ may be
removed together while the services are stopped (then prepare.sh again): everything is sent and compiled anew.
Which results there are is in the memory of manycc-engine-results alone: when that is started anew, each unit is
compiled once more.
"""
