#!/bin/sh
# Set this machine up as a node: manycc below /opt/manycc, a user of its own, units, settings. As root, from anywhere:
#   packaging/install.sh
# Then name your networks in /etc/default/manycc, and start it: systemctl enable --now manycc-node
# (without systemd: /opt/manycc/bin/manycc node --daemon). Settings that are there already are left as they are.
# PREFIX is where manycc goes, PYTHON what it is run by; DESTDIR goes before every path, and then no user is made and nothing is built.
set -eu
umask 022 # the node's own user must be able to enter what is made here
here=$(cd "$(dirname "$0")" && pwd)
prefix=${PREFIX:-/opt/manycc}
root=${DESTDIR:-}

if [ -z "$root" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "install: only root can set up a service; an ordinary user starts a node with: manycc node --daemon" >&2
        exit 1
    fi
    # A Python below somebody's home is out of the service's reach.
    python=${PYTHON:-/usr/bin/python3}
    [ -x "$prefix/bin/python" ] || "$python" -m venv "$prefix"
    "$prefix/bin/python" -m pip install -q --disable-pip-version-check --upgrade "$here/.."
    id manycc >/dev/null 2>&1 || useradd --system --home-dir /var/cache/manycc --shell /usr/sbin/nologin manycc
    command -v bwrap >/dev/null || echo "install: install the package bubblewrap, too: compiles are sealed in it" >&2
fi

place() { # FILE DESTINATION
    mkdir -p "$root$(dirname "$2")"
    sed "s|/opt/manycc/|$prefix/|g" "$here/$1" >"$root$2"
    chmod 644 "$root$2"
}
place systemd/manycc-node.service /etc/systemd/system/manycc-node.service
place systemd/manycc-node.socket /etc/systemd/system/manycc-node.socket
place logrotate/manycc-node /etc/logrotate.d/manycc-node
[ -e "$root/etc/default/manycc" ] || place default/manycc /etc/default/manycc

if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    echo "install: name your networks in /etc/default/manycc, then: systemctl enable --now manycc-node"
else
    echo "install: name your networks in /etc/default/manycc, then: $prefix/bin/manycc node --daemon"
fi
