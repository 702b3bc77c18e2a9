"""What ``gcc -v`` says on several distributions: the options each of them configures its gcc with."""

from __future__ import annotations

from typing import Final

DEBIAN: Final = """\
Using built-in specs.
COLLECT_GCC=/usr/bin/gcc
Target: aarch64-linux-gnu
Configured with: ../src/configure -v --with-pkgversion='Debian 12.2.0-14+deb12u1' --with-bugurl=file:///x/README.Bugs \
--enable-languages=c,ada,c++,go --prefix=/usr --with-gcc-major-version-only --program-suffix=-12 --enable-shared \
--enable-linker-build-id --libexecdir=/usr/lib --without-included-gettext --enable-threads=posix --libdir=/usr/lib \
--enable-nls --enable-clocale=gnu --with-default-libstdcxx-abi=new --enable-gnu-unique-object --enable-default-pie \
--enable-fix-cortex-a53-843419 --disable-werror --enable-checking=release --build=aarch64-linux-gnu \
--host=aarch64-linux-gnu --target=aarch64-linux-gnu
Thread model: posix
Supported LTO compression algorithms: zlib zstd
gcc version 12.2.0 (Debian 12.2.0-14+deb12u1)
 /usr/lib/gcc/aarch64-linux-gnu/12/cc1 -quiet -imultiarch aarch64-linux-gnu /dev/null "-mlittle-endian" "-mabi=lp64" \
-fasynchronous-unwind-tables -o /tmp/x.s
"""

UBUNTU: Final = """\
Using built-in specs.
COLLECT_GCC=gcc
OFFLOAD_TARGET_NAMES=nvptx-none:amdgcn-amdhsa
Target: x86_64-linux-gnu
Configured with: ../src/configure -v --with-pkgversion='Ubuntu 13.2.0-23ubuntu4' --with-bugurl=file:///x/README.Bugs \
--enable-languages=c,ada,c++ --prefix=/usr --with-gcc-major-version-only --program-suffix=-13 --enable-shared \
--enable-linker-build-id --libexecdir=/usr/libexec --enable-bootstrap --with-default-libstdcxx-abi=new \
--enable-gnu-unique-object --enable-plugin --enable-default-pie --with-system-zlib --enable-multiarch --disable-werror \
--enable-cet --with-arch-32=i686 --with-abi=m64 --with-multilib-list=m32,m64,mx32 --enable-multilib \
--with-tune=generic \
--enable-offload-targets=nvptx-none=/build/nvptx/usr,amdgcn-amdhsa=/build/gcn/usr --enable-checking=release \
--build=x86_64-linux-gnu --host=x86_64-linux-gnu --target=x86_64-linux-gnu --with-build-config=bootstrap-lto-lean
Thread model: posix
Supported LTO compression algorithms: zlib zstd
gcc version 13.2.0 (Ubuntu 13.2.0-23ubuntu4)
 /usr/libexec/gcc/x86_64-linux-gnu/13/cc1 -quiet -v -imultiarch x86_64-linux-gnu /dev/null -quiet "-mtune=generic" \
"-march=x86-64" -version -fasynchronous-unwind-tables -fstack-protector-strong -Wformat -Wformat-security \
-fstack-clash-protection -fcf-protection -o /tmp/x.s
"""

ARCH: Final = """\
Using built-in specs.
COLLECT_GCC=gcc
Target: x86_64-pc-linux-gnu
Configured with: /build/gcc/src/gcc/configure --enable-languages=ada,c,c++,d,fortran,go,lto,m2,objc,obj-c++,rust \
--enable-bootstrap --prefix=/usr --libdir=/usr/lib --libexecdir=/usr/lib --mandir=/usr/share/man \
--infodir=/usr/share/info --with-bugurl=https://gitlab.archlinux.org/ --with-build-config=bootstrap-lto \
--with-linker-hash-style=gnu --with-system-zlib --enable-__cxa_atexit --enable-cet=auto --enable-checking=release \
--enable-clocale=gnu --enable-default-pie --enable-default-ssp --enable-gnu-indirect-function \
--enable-gnu-unique-object --enable-libstdcxx-backtrace --enable-link-serialization=1 --enable-linker-build-id \
--enable-lto --enable-multilib --enable-plugin --enable-shared --enable-threads=posix --disable-libssp \
--disable-libstdcxx-pch --disable-werror
Thread model: posix
Supported LTO compression algorithms: zlib zstd
gcc version 14.2.1 20240910 (GCC)
 /usr/lib/gcc/x86_64-pc-linux-gnu/14.2.1/cc1 -quiet /dev/null -quiet -mtune=generic -march=x86-64 -o /tmp/x.s
"""

ARCH_ARM: Final = """\
Using built-in specs.
COLLECT_GCC=gcc
Target: armv7l-unknown-linux-gnueabihf
Configured with: /build/gcc/src/gcc/configure --enable-languages=c,c++,fortran,go,lto,objc,obj-c++ --enable-bootstrap \
--prefix=/usr --libdir=/usr/lib --with-linker-hash-style=gnu --with-system-zlib --enable-__cxa_atexit \
--enable-checking=release --enable-default-pie --enable-default-ssp --enable-gnu-unique-object \
--enable-linker-build-id \
--disable-multilib --disable-libssp --disable-werror --host=armv7l-unknown-linux-gnueabihf \
--build=armv7l-unknown-linux-gnueabihf --with-arch=armv7-a --with-float=hard --with-fpu=vfpv3-d16
Thread model: posix
Supported LTO compression algorithms: zlib zstd
gcc version 14.2.1 20250207 (GCC)
 /usr/lib/gcc/armv7l-unknown-linux-gnueabihf/14.2.1/cc1 -quiet /dev/null -mfloat-abi=hard -mfpu=vfpv3-d16 \
-mtls-dialect=gnu -marm -march=armv7-a -o /tmp/x.s
"""

FEDORA: Final = """\
Using built-in specs.
COLLECT_GCC=gcc
Target: x86_64-redhat-linux
Configured with: ../configure --enable-bootstrap --enable-languages=c,c++,fortran,objc,obj-c++,ada,go,d,m2,lto \
--prefix=/usr --mandir=/usr/share/man --infodir=/usr/share/info --with-bugurl=http://bugzilla.redhat.com/bugzilla \
--enable-shared --enable-threads=posix --enable-checking=release --enable-multilib --with-system-zlib \
--enable-__cxa_atexit --disable-libunwind-exceptions --enable-gnu-unique-object --enable-linker-build-id \
--with-gcc-major-version-only --enable-libstdcxx-backtrace --with-libstdcxx-zoneinfo=/usr/share/zoneinfo \
--with-linker-hash-style=gnu --enable-plugin --enable-initfini-array --with-isl=/builddir/isl-install \
--enable-offload-targets=nvptx-none --without-cuda-driver --enable-offload-defaulted --enable-gnu-indirect-function \
--enable-cet --with-tune=generic --with-arch_32=i686 --build=x86_64-redhat-linux \
--with-build-config=bootstrap-lto --enable-link-serialization=1
Thread model: posix
Supported LTO compression algorithms: zlib zstd
gcc version 13.2.1 20231205 (Red Hat 13.2.1-6) (GCC)
 /usr/libexec/gcc/x86_64-redhat-linux/13/cc1 -quiet -v /dev/null -quiet -mtune=generic -march=x86-64 -o /tmp/x.s
"""

ALPINE: Final = """\
Using built-in specs.
COLLECT_GCC=gcc
Target: x86_64-alpine-linux-musl
Configured with: /home/buildozer/gcc-13/configure --prefix=/usr --mandir=/usr/share/man \
--build=x86_64-alpine-linux-musl \
--host=x86_64-alpine-linux-musl --target=x86_64-alpine-linux-musl --enable-checking=release --disable-cet \
--disable-fixed-point --disable-libstdcxx-pch --disable-multilib --disable-nls --disable-werror --disable-symvers \
--enable-__cxa_atexit --enable-default-pie --enable-default-ssp --enable-languages=c,c++,d,objc,go,fortran,ada \
--enable-link-serialization=2 --enable-linker-build-id --disable-libssp --disable-libsanitizer --enable-shared \
--enable-threads --enable-tls --with-bugurl=https://gitlab.alpinelinux.org --with-system-zlib \
--with-linker-hash-style=gnu --with-pkgversion='Alpine 13.2.1_git20240309'
Thread model: posix
Supported LTO compression algorithms: zlib
gcc version 13.2.1 20240309 (Alpine 13.2.1_git20240309)
 /usr/libexec/gcc/x86_64-alpine-linux-musl/13.2.1/cc1 -quiet -v /dev/null -quiet -mtune=generic -march=x86-64 -o \
/tmp/x.s
"""
