"""What ``-Wa,`` and ``-Xassembler`` may hand to the assembler.

An allow-list: an assembler option that is not here (listings, which name temporary files; ``-o``;
``--MD``; ``@file``; ``--statistics``) keeps the job on this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from manycc.errors import NotDistributable
from manycc.reasons import Reason


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SAFE: Final = _words("""
    --noexecstack --execstack --32 --64 --x32 -W --no-warn --warn --fatal-warnings -Z -R -L --keep-locals -g
    --gen-debug --gstabs --gstabs+ --gdwarf-2 --gdwarf-3 --gdwarf-4 --gdwarf-5 -gdwarf-2 -gdwarf-3 -gdwarf-4
    -gdwarf-5 --gdwarf-sections -J -D -f -n -k -s -q -Q --divide --compress-debug-sections
    --nocompress-debug-sections --reduce-memory-overheads --strip-local-absolute --no-pad-sections --sectname-subst
    --traditional-format --multibyte-handling=allow -mmnemonic=att -mmnemonic=intel -msyntax=att -msyntax=intel
    -mindex-reg -mnaked-reg -madd-bnd-prefix -mshared -mbig-obj -msse2avx -mbranches-within-32B-boundaries -mthumb
    -mthumb-interwork -mall -mno-warn-deprecated -mwarn-syms -mno-warn-syms -EB -EL -mbig-endian -mlittle-endian
    -mbig -mlittle -mapcs-32 -mapcs-26 -mccs -meabi=5 -mrelax -mno-relax -march-attr -mno-arch-attr -mcsr-check
    -mno-csr-check -many -maltivec -mvsx -mpower8 -mpower9 -mpower10 -mppc64 -mppc -mregnames -mno-regnames -a32
    -a64 -mverbose-error -mno-verbose-error --fdpic --emulation -mrelocatable
""")
_SAFE_BEGINNINGS: Final = (
    "--defsym=", "--debug-prefix-map=", "--compress-debug-sections=", "--generate-missing-build-notes=",
    "--elf-stt-common=", "--size-check=", "--hash-size=", "--gdwarf-cie-version=", "--alternate=", "--gsframe=",
    "-march=", "-mcpu=", "-mtune=", "-mfpu=", "-mfloat-abi=", "-mabi=", "-misa-spec=", "-mpriv-spec=", "-mimplicit-it=",
    "-mfp16-format=", "-mrelax-relocations=", "-mx86-used-note=", "-momit-lock-prefix=", "-mfence-as-lock-add=",
    "-mlfence-", "-malign-branch", "-moperand-check=", "-msse-check=", "-mavxscalar=", "-mvexwig=", "-mevexlig=",
    "-mevexwig=", "-mevexrcig=", "-mtls-check=",
)  # fmt: skip
_WITH_VALUE: Final = frozenset({"--defsym", "-defsym"})


def check(words: Sequence[str]) -> list[str]:
    """Look at the assembler's arguments in order; give the folders it searches for ``.include`` and ``.incbin``.

    Raises NotDistributable: LOCAL_OPTION for a word that is not known to be harmless, BAD_COMMAND for
    a missing value.
    """
    folders: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if word in _SAFE or word.startswith(_SAFE_BEGINNINGS):
            continue
        if word.startswith("-I"):
            folder = word[2:] or next(remaining, "")
            if not folder:
                raise NotDistributable(Reason.BAD_COMMAND, "-Wa,-I names no folder")
            folders.append(folder)
        elif word in _WITH_VALUE:
            if not next(remaining, ""):
                raise NotDistributable(Reason.BAD_COMMAND, f"-Wa,{word} has no value")
        else:
            raise NotDistributable(Reason.LOCAL_OPTION, f"-Wa,{word}")
    return folders
