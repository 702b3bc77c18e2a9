#!/bin/sh
# Install what a target needs, on a machine that has Debian's base, python3, pip, gcc and make.
#   setup.sh run    what manycc itself and the demo need
#   setup.sh test   that, and what the tests need
#   setup.sh long   that, and what the long tests need
#   setup.sh bench  that, and what bench/lab compares and draws with
# Root installs packages; anyone else is told what is missing.
set -eu
cd "$(dirname "$0")/.."
what=${1:-run}

packages="bubblewrap:bwrap g++:g++ xz-utils:xz perl:perl unicode-data:/usr/share/unicode/Scripts.txt"
[ "$what" = run ] || packages="$packages cmake:cmake ninja-build:ninja meson:meson ccache:ccache clang-14:clang-14 iproute2:ip strace:strace e2fsprogs:mkfs.ext4 systemd:systemd-analyze libboost-dev:/usr/include/boost/preprocessor.hpp makepkg:makepkg pacman-package-manager:pacman libarchive-tools:bsdtar fakeroot:fakeroot
    distcc:distccd python3-dev:python3-config gdb:gdb iputils-ping:ping openssl:openssl"
# The launcher starts sooner with it, but nothing needs it.
[ "$(id -u)" != 0 ] || packages="$packages musl-tools:musl-gcc"
gcc=/usr/lib/gcc/x86_64-linux-gnu/12
[ "$what" = run ] || packages="$packages gobjc:$gcc/cc1obj gobjc++:$gcc/cc1objplus locales:/usr/share/i18n/locales/de_DE
    gcc-12-plugin-dev:$gcc/plugin/include/gcc-plugin.h gcc-12-locales:/usr/share/locale/de/LC_MESSAGES/gcc-12.mo
    libc6-dev-i386:/usr/include/gnu/stubs-32.h llvm-14:llvm-profdata-14
    libclang-rt-14-dev:/usr/lib/llvm-14/lib/clang/14.0.6/share/cfi_ignorelist.txt
    g++-aarch64-linux-gnu:aarch64-linux-gnu-g++ g++-arm-linux-gnueabihf:arm-linux-gnueabihf-g++
    qemu-user-static:qemu-aarch64-static debootstrap:/usr/sbin/debootstrap
    gcc-arm-linux-gnueabi:arm-linux-gnueabi-gcc zstd:zstd bzip2:bzip2
    postgresql:/usr/lib/postgresql/15/bin/initdb
    python3-yaml:/usr/lib/python3/dist-packages/yaml/__init__.py"
inc=/usr/include
long=$([ "$what" = long ] || [ "$what" = bench ] && echo yes || echo no)
[ "$long" = no ] || packages="$packages gettext:msgfmt pkg-config:pkg-config libglib2.0-dev:$inc/glib-2.0/glib.h
    libfreetype-dev:$inc/freetype2/ft2build.h libxml2-dev:$inc/libxml2/libxml/tree.h libjpeg-dev:$inc/jpeglib.h
    libpng-dev:$inc/libpng16/png.h libgif-dev:$inc/gif_lib.h libspiro-dev:$inc/spiroentrypoints.h
    libuninameslist-dev:$inc/uninameslist.h libwoff-dev:$inc/woff2/encode.h zlib1g-dev:$inc/zlib.h m4:m4 bzip2:bzip2"
[ "$what" != bench ] || packages="$packages icecc:iceccd valgrind:valgrind"
missing=""
for entry in $packages; do
    what_it_brings=${entry#*:}
    [ -e "$what_it_brings" ] || command -v "$what_it_brings" >/dev/null 2>&1 || missing="$missing ${entry%%:*}"
done
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "setup: missing packages:$missing" >&2
        echo "  install them as root: apt-get install$missing" >&2
        exit 1
    fi
    echo "setup: installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086  # a list of words
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

# The stamp names everything the environment is made of: any change makes it anew.
case $what in
    run) extras="" stamp=.venv/stamp-run ;;
    bench) extras="[test,lint,bench]" stamp=.venv/stamp-bench ;;
    *) extras="[test,lint]" stamp=.venv/stamp-test ;;
esac
if [ ! -e "$stamp" ] || [ -n "$(find pyproject.toml setup.py launcher -newer "$stamp")" ]; then
    echo "setup: making .venv"
    [ -x .venv/bin/python ] || python3 -m venv .venv
    .venv/bin/python -m pip install -q --disable-pip-version-check -e ".$extras"
    touch "$stamp"
fi
