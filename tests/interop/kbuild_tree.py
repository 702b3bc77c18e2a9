"""A tree that is built as the Linux kernel is: many small C files, dependency files that are read at once and
rewritten, objects that are changed after they were compiled, headers made from assembly."""

from __future__ import annotations

from pathlib import Path

from tools import write

SUBSYSTEMS = ("init", "kernel", "mm", "drivers/net")
FILES = 12
"""In each subsystem."""

_FLAGS = """\
-nostdinc -I./arch/include -I./include -I./include/generated -include ./include/linux/kconfig.h -D__KERNEL__
-std=gnu11 -Wall -Wundef -Werror=strict-prototypes -Wno-trigraphs -fno-strict-aliasing -fno-common -fshort-wchar
-fno-PIE -mcmodel=kernel -mno-sse -mno-mmx -mno-sse2 -mno-80387 -mno-red-zone -mpreferred-stack-boundary=3
-mskip-rax-setup -fno-asynchronous-unwind-tables -mindirect-branch=thunk-extern -mindirect-branch-register
-mindirect-branch-cs-prefix -mfunction-return=thunk-extern -fno-jump-tables -mharden-sls=all -fcf-protection=none
-fno-delete-null-pointer-checks -O2 -fno-allow-store-data-races -fstack-protector-strong -fno-stack-clash-protection
-ftrivial-auto-var-init=zero -pg -mrecord-mcount -mfentry -DCC_USING_FENTRY
-falign-functions=16 -fpatchable-function-entry=16,16 -fmacro-prefix-map=./= -fconserve-stack -g -gdwarf-5
-Wimplicit-fallthrough=5 -Wvla -Wno-pointer-sign -Wno-maybe-uninitialized
"""

_MAKEFILE = """\
CC = gcc
HOSTCC = gcc
try = $(shell mkdir -p .tmp_$$$$; if $(CC) -Werror $(1) -c -x c /dev/null -o .tmp_$$$$/tmp >/dev/null 2>&1; \
then echo "$(1)"; else echo "$(2)"; fi; rm -rf .tmp_$$$$)
export CC HOSTCC
ifeq ($(MAKELEVEL),0)
export PLUGIN_INCLUDE := $(shell $(CC) -print-file-name=plugin)
export CC_VERSION := $(shell printf '__GNUC__ __GNUC_MINOR__' | $(CC) -E -P -x c -)
export EXTRA := $(call try,-Wframe-larger-than=2048) $(call try,-mno-such-option-exists,-fno-ivopts)
endif
vmlinux.o: FORCE
\t$(MAKE) -f scripts/Makefile.host scripts/fixdep
\t$(MAKE) -f scripts/Makefile.build obj=kernel include/generated/asm-offsets.h
\t$(MAKE) -f scripts/Makefile.build obj=arch arch/built-in.a
@SUBSYSTEMS@
\tld -m elf_x86_64 -r -o $@ --whole-archive arch/built-in.a @ARCHIVES@
FORCE:
.PHONY: FORCE
"""
_MAKEFILE_HOST = """\
scripts/fixdep: scripts/fixdep.c
\t$(HOSTCC) -Wp,-MMD,scripts/.fixdep.d -Wall -O2 -o $@ $<
"""
_MAKEFILE_BUILD = """\
include scripts/flags
name = $(basename $(notdir $<))
c_flags = -Wp,-MMD,$(@D)/.$(@F).d $(FLAGS) $(EXTRA) -DKBUILD_MODFILE='"$(@D)/$(name)"' \
-DKBUILD_BASENAME='"$(name)"' -DKBUILD_MODNAME='"$(name)"' -D"KBUILD_STR(s)=\\#s" -D__KBUILD_MODNAME=kmod_$(name)
fix = scripts/fixdep $(@D)/.$(@F).d $@ >$(@D)/.$(@F).cmd && rm -f $(@D)/.$(@F).d
objs = $(addsuffix .o,$(basename $(sort $(wildcard $(obj)/*.c $(obj)/*.S))))
$(obj)/built-in.a: $(filter-out kernel/asm-offsets.o,$(objs))
\trm -f $@; ar cDPrST $@ $^
$(obj)/%.o: $(obj)/%.c
\t$(CC) $(c_flags) -c -o $@ $<
\tobjcopy --rename-section .comment=.objtool $@
\t$(fix)
$(obj)/%.o: $(obj)/%.S
\t$(CC) -Wp,-MMD,$(@D)/.$(@F).d -D__ASSEMBLY__ -nostdinc -I./include -I./include/generated -m64 -g -c -o $@ $<
\t$(fix)
$(obj)/%.s: $(obj)/%.c
\t$(CC) $(c_flags) -fverbose-asm -S -o $@ $<
\t$(fix)
include/generated/asm-offsets.h: kernel/asm-offsets.s
\tmkdir -p $(@D)
\tsed -n 's/.*\\.ascii.*"->\\([A-Z_]*\\) \\$$\\([0-9]*\\).*/#define \\1 \\2/p' $< >$@
-include $(wildcard $(obj)/.*.cmd)
"""
_FIXDEP = r"""
#include <stdio.h>
/* Copies a dependency file to what make includes later. It must be there as soon as the compiler has ended. */
int main(int argc, char **argv) {
    FILE *file = argc == 3 ? fopen(argv[1], "r") : NULL;
    int c;
    if (!file) return perror("fixdep"), 2;
    while ((c = getc(file)) != EOF && c != ':') continue; /* the compiler's target lacks the folder */
    printf("%s:", argv[2]);
    while ((c = getc(file)) != EOF) putchar(c);
    return 0;
}
"""
_OFFSETS = """\
#include <linux/sched.h>
#define DEFINE(sym, val) asm volatile("\\n.ascii \\"->" #sym " %0 " #val "\\"" : : "i" (val))
int main(void);
int main(void)
{
\tDEFINE(TASK_PID, __builtin_offsetof(struct task, pid));
\tDEFINE(TASK_SIZE, sizeof(struct task));
\treturn 0;
}
"""
_SOURCE = """\
#include <linux/printk.h>
#include <linux/sched.h>
#include "@LOCAL@"
static int count_@N@;
int @NAME@(struct task *task, int value)
{
\tpr_info("%s %d", KBUILD_STR(@NAME@), value);
\tfor (int i = 0; i < value; i++)
\t\tcount_@N@ += task->pid ^ (i * @N@);
\tif (CONFIG_ANSWER > value)
\t\treturn helper(count_@N@);
\treturn count_@N@;
}
"""


def make(folder: Path) -> None:
    """Write the tree."""
    files = {
        "Makefile": _MAKEFILE.replace(
            "@SUBSYSTEMS@", "\n".join(f"\t$(MAKE) -f scripts/Makefile.build obj={name}" for name in SUBSYSTEMS)
        ).replace("@ARCHIVES@", " ".join(f"{name}/built-in.a" for name in SUBSYSTEMS)),
        "scripts/Makefile.host": _MAKEFILE_HOST,
        "scripts/Makefile.build": _MAKEFILE_BUILD,
        "scripts/flags": "FLAGS = " + " ".join(_FLAGS.split()) + "\n",
        "scripts/fixdep.c": _FIXDEP,
        "include/linux/kconfig.h": "#define CONFIG_ANSWER 42\n",
        "include/linux/printk.h": "#define pr_fmt(fmt) KBUILD_MODNAME \": \" fmt\n"
        "#define pr_info(fmt, ...) printk(KBUILD_BASENAME pr_fmt(fmt), ##__VA_ARGS__)\n"
        "int printk(const char *, ...);\n",
        "include/linux/sched.h": "struct task { char state[12]; int pid; };\n",
        "kernel/asm-offsets.c": _OFFSETS,
        "arch/include/asm/empty.h": "",
        "arch/head.S": "#include <asm-offsets.h>\n.text\n.globl head\nhead:\n\tmovl TASK_PID(%rdi), %eax\n"
        "\tmovl $TASK_SIZE, %edx\n\tret\n.section .note.GNU-stack,\"\",@progbits\n",
    }  # fmt: skip
    for place, subsystem in enumerate(SUBSYSTEMS):
        files[f"{subsystem}/local.h"] = "static inline int helper(int x) { return x + " + str(place) + "; }\n"
        for number in range(FILES):
            name = f"{subsystem.replace('/', '_')}_{number}"
            text = _SOURCE.replace("@LOCAL@", "local.h").replace("@NAME@", name).replace("@N@", str(number + 1))
            files[f"{subsystem}/{name}.c"] = text
    write(folder, files)
