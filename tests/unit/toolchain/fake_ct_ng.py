"""A program that behaves as crosstool-NG does towards who drives it: configures, saves steps, logs, fails, restarts.

What it is to do is told by files beside it: ``drops`` is a sed script over the configuration; ``fails-STEP`` makes a
step fail once; ``breaks-STEP`` makes saving before a step fail once; ``hangs`` makes it wait in its first step. It
notes in ``ran`` the steps it did, in ``target`` what it was called for, in ``env`` its environment. ``product`` is
what it "builds".
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

STEPS: Final = ("companion_libs_for_build", "binutils_for_build", "cc_core", "libc_main", "cc_for_build", "finish")

_SCRIPT: Final = r"""#!/bin/bash
here=$(cd "$(dirname "$0")" && pwd)
log() { printf '[%-5s]    %s\n' "$1" "$2" | tee -a build.log; }
case $1 in
defconfig)
    if [ -e "$here/no-defconfig" ]; then echo "config/gcc.in:1: syntax error"; exit 2; fi
    echo "# made $(date +%N)" > .config
    if [ -e "$here/drops" ]; then sed -f "$here/drops" "$DEFCONFIG" >> .config; else cat "$DEFCONFIG" >> .config; fi
    echo '# configuration written to .config' ;;
build | build.[0-9]*)
    echo "$1" > "$here/target"
    env > "$here/env"
    rm -f build.log
    export CT_TOP_DIR=$PWD
    . ./.config
    state=${CT_WORK_DIR:-$PWD/.build}/target/state
    log INFO 'Performing some trivial sanity checks'
    log DEBUG '==> Executing: nothing a person reads'
    running=${RESTART:+no}
    if [ -z "$RESTART" ]; then mkdir -p "$state"; cp .config "$state/config"
    elif ! cmp -s .config "$state/config"; then
        log ERROR 'The configuration file has changed between two runs'; exit 1
    fi
    for step in STEPS; do
        if [ "$running" = no ]; then
            [ "$RESTART" = "$step" ] || continue
            running=
            [ -e "$state/$step/src_dir.tar" ] || { log ERROR "You asked to restart a non-restartable build"; exit 1; }
            log INFO "Restoring state at step '$step', as requested."
        elif [ -n "$CT_DEBUG_CT_SAVE_STEPS" ]; then
            log INFO "Saving state to restart at step '$step'..."
            mkdir -p "$state/$step"
            if [ -e "$here/breaks-$step" ]; then
                rm "$here/breaks-$step"; log ERROR "tar: No space left on device"; exit 1
            fi
            touch "$state/$step/src_dir.tar"
        fi
        log INFO '================================================================='
        log INFO "Installing $step"
        echo "$step" >> "$here/ran"
        if [ -e "$here/hangs" ]; then sleep 1000 & echo $! > "$here/child"; wait; fi
        if [ -e "$here/fails-$step" ]; then
            rm "$here/fails-$step"
            log ALL 'gcc -c broken.c'
            log ERROR "    broken.c:1:1: error: it is broken"
            log ERROR '>>'
            log ERROR ">>  Build failed in step 'Installing $step'"
            log ERROR ">>        called in step '(top-level)'"
            exit 2
        fi
        printf '\r[00:01] / ' ; printf '\r[00:01] - \r'
        log INFO "Installing $step: done in 0.10s (at 00:01)"
    done
    mkdir -p "$CT_PREFIX_DIR"
    cp -a "$here/product/." "$CT_PREFIX_DIR"
    log INFO 'Build completed at 20260101.120000' ;;
*) exit 64 ;;
esac
"""


class FakeCtNg:
    """The program in a folder of its own."""

    def __init__(self, folder: Path, triple: str = "x86_64-linux-gnu") -> None:
        self.folder = folder
        (folder / "product/bin").mkdir(parents=True)
        shutil.copy("/bin/true", folder / f"product/bin/{triple}-gcc")
        self.path = folder / "ct-ng"
        self.path.write_text(_SCRIPT.replace("STEPS;", " ".join(STEPS) + ";", 1))
        self.path.chmod(0o755)

    def told(self, name: str, text: str = "") -> None:
        """Leave a file that tells it what to do."""
        (self.folder / name).write_text(text)

    @property
    def ran(self) -> list[str]:
        """The steps it did, since last asked."""
        path = self.folder / "ran"
        steps = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return steps

    @property
    def env(self) -> dict[str, str]:
        """The environment of the latest build."""
        lines = (self.folder / "env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)
