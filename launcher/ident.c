/*
 * manycc-ident: stands in a node's sandbox where a compiler's assembler is, and runs that one.
 *
 * A compiler writes what it is called into each object (.ident). A node's compiler that stands in for the client's
 * is called otherwise, be it by a distribution's revision. So the last .ident of the assembly, which is the
 * compiler's own, is made the client's before it is assembled: in the file itself, or in what comes on stdin.
 *
 *   MANYCC_AS            the assembler to run
 *   MANYCC_IDENT_FROM    the string that this node's compiler writes; any other is somebody else's, and is left
 *   MANYCC_IDENT_TO      the string that the client's compiler writes
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTIVE "\t.ident\t\""

static _Noreturn void die(const char *what, const char *why) {
    dprintf(STDERR_FILENO, "manycc-ident: %s: %s\n", what, why);
    _exit(1);
}

static void write_all(int fd, const char *data, size_t size, off_t at) {
    while (size > 0) {
        ssize_t done = pwrite(fd, data, size, at);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) die("the assembly cannot be written", strerror(errno));
        data += done;
        at += done;
        size -= (size_t)done;
    }
}

/* Where the last .ident line begins, from the end of the text; NULL if there is none. */
static const char *last_ident(const char *text, size_t size) {
    const char *end = text + size;
    while (end > text) {
        const char *before = memrchr(text, '\n', (size_t)(end - text - 1));
        const char *line = before == NULL ? text : before + 1;
        if ((size_t)(end - line) > strlen(DIRECTIVE) && memcmp(line, DIRECTIVE, strlen(DIRECTIVE)) == 0) return line;
        end = line;
    }
    return NULL;
}

/* Replaces the last .ident of a file, if it is `from`. */
static void rewrite(int fd, const char *from, const char *to) {
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0) return;
    size_t size = (size_t)status.st_size;
    char *text = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (text == MAP_FAILED) die("the assembly cannot be read", strerror(errno));
    const char *line = last_ident(text, size);
    if (line != NULL) {
        const char *start = line + strlen(DIRECTIVE);
        size_t left = (size_t)(text + size - start), length = strlen(from);
        if (left > length + 1 && memcmp(start, from, length) == 0 && memcmp(start + length, "\"\n", 2) == 0) {
            const char *rest = start + length;
            size_t tail = (size_t)(text + size - rest);
            char *copy = malloc(tail); /* of what lies behind it, which moves */
            if (copy == NULL) die("the assembly cannot be read", strerror(ENOMEM));
            memcpy(copy, rest, tail);
            off_t at = start - text;
            write_all(fd, to, strlen(to), at);
            write_all(fd, copy, tail, at + (off_t)strlen(to));
            if (ftruncate(fd, at + (off_t)(strlen(to) + tail)) != 0) die("the assembly cannot be cut", strerror(errno));
            free(copy);
        }
    }
    munmap(text, size);
}

/* All of stdin, in a file without a name that takes its place. */
static int kept_stdin(void) {
    static char buffer[1 << 16];
    int fd = memfd_create("manycc-ident", MFD_CLOEXEC);
    if (fd < 0) die("stdin cannot be kept", strerror(errno));
    for (off_t at = 0;;) {
        ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) die("stdin cannot be read", strerror(errno));
        if (got == 0) return fd;
        write_all(fd, buffer, (size_t)got, at);
        at += got;
    }
}

int main(int argc, char **argv) {
    const char *assembler = getenv("MANYCC_AS"), *from = getenv("MANYCC_IDENT_FROM"), *to = getenv("MANYCC_IDENT_TO");
    if (assembler == NULL || from == NULL || to == NULL) die("cannot run by itself", "a node starts it");
    /* Drivers name the assembly last; where there is no name behind the output's, or "-", it comes on stdin. */
    const char *input = argc > 1 ? argv[argc - 1] : "";
    if (strcmp(input, "-") == 0 || (argc > 2 && strcmp(argv[argc - 2], "-o") == 0)) {
        int fd = kept_stdin();
        rewrite(fd, from, to);
        if (lseek(fd, 0, SEEK_SET) != 0 || dup2(fd, STDIN_FILENO) < 0) die("stdin cannot be kept", strerror(errno));
    } else if (input[0] != '-' && input[0] != '\0') {
        int fd = open(input, O_RDWR | O_CLOEXEC);
        if (fd >= 0) {
            rewrite(fd, from, to);
            close(fd);
        } /* else the assembler says why it cannot be read */
    }
    char *real = strdup(assembler);
    if (real == NULL) die("cannot run the assembler", strerror(ENOMEM));
    unsetenv("MANYCC_AS");
    unsetenv("MANYCC_IDENT_FROM");
    unsetenv("MANYCC_IDENT_TO");
    execv(real, argv);
    die(real, strerror(errno));
}
