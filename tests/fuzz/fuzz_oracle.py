"""What a compiler really reads: its own process tells, through a small preloaded library.

``-M`` leaves out what a compiler opens only to compare it (``#pragma once``), what it asks ``__has_include`` for, and
what the assembler reads. The library writes down the physical path of each regular file that is opened for
reading, and costs next to nothing.
"""

from __future__ import annotations

import os
import subprocess

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One write a line, to a descriptor of its own each time: compilers close what they do not know. */
static void tell(int descriptor)
{
    const char *log = getenv("OPENED_LOG");
    static int (*real)(const char *, int, ...);
    struct stat status;
    char name[64], path[4097];
    if (log == NULL || descriptor < 0 || fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode))
        return;
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_WRONLY || (flags & O_PATH))
        return;
    snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length <= 0)
        return;
    path[length] = '\0';  /* no path holds one */
    if (real == NULL)
        real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    int out = real(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (out >= 0) {
        if (write(out, path, (size_t)length + 1) < 0)
            abort();
        close(out);
    }
}

#define OPEN(name, given, passed)                                                   \
    int name given                                                                  \
    {                                                                               \
        static int (*real) given;                                                   \
        mode_t mode = 0;                                                            \
        if (real == NULL)                                                           \
            real = (int (*) given)dlsym(RTLD_NEXT, #name);                          \
        if (flags & (O_CREAT | O_TMPFILE)) {                                        \
            va_list rest;                                                           \
            va_start(rest, flags);                                                  \
            mode = va_arg(rest, mode_t);                                            \
            va_end(rest);                                                           \
        }                                                                           \
        int descriptor = real passed;                                               \
        tell(descriptor);                                                           \
        return descriptor;                                                          \
    }

OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))
OPEN(openat64, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))

#define FOPEN(name)                                                                 \
    FILE *name(const char *path, const char *how)                                   \
    {                                                                               \
        static FILE *(*real)(const char *, const char *);                           \
        if (real == NULL)                                                           \
            real = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, #name); \
        FILE *file = real(path, how);                                               \
        if (file != NULL)                                                           \
            tell(fileno(file));                                                     \
        return file;                                                                \
    }

FOPEN(fopen)
FOPEN(fopen64)
"""


def build_library(folder: str) -> str:
    """Compile the library; returns its path."""
    source, library = os.path.join(folder, "opened.c"), os.path.join(folder, "opened.so")
    with open(source, "w", encoding="ascii") as file:
        file.write(SOURCE)
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def preload(library: str, log: str) -> dict[str, str]:
    """Variables that make a process and its children write down what they open."""
    return {"LD_PRELOAD": library, "OPENED_LOG": log}


def opened(log: str) -> set[str]:
    """The physical paths of all files that were opened to be read; the log is removed."""
    try:
        with open(log, "rb") as file:
            data = file.read()
        os.unlink(log)
    except FileNotFoundError:
        return set()
    return {os.fsdecode(path) for path in data.split(b"\0") if path}
