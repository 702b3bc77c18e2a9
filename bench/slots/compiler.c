/* A stand-in for a compiler: it takes the recorded time and writes the recorded object.
 *
 * Built with -DREAL="/usr/bin/g++" and -DOBJECT="recorded.o" and named as the real one, for that is what a compiler
 * is known by. A source that begins with RECORDED and a number of seconds is "compiled" by sleeping that long and
 * writing OBJECT to the path after -o. All else (what manycc asks a compiler about itself, other sources) is
 * answered by the real compiler, under the name that this one was called by.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RECORDED "/* recorded: "

__asm__(".section .rodata\n"
        ".global object_begin\nobject_begin:\n.incbin \"" OBJECT "\"\n"
        ".global object_end\nobject_end:\n.byte 0\n.previous\n");
extern const char object_begin[], object_end[];

/* The recorded seconds of a source, negative if it has none. */
static double recorded(const char *source)
{
    char start[64] = "";
    int fd = open(source, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t got = read(fd, start, sizeof start - 1);
    close(fd);
    if (got <= 0 || strncmp(start, RECORDED, strlen(RECORDED)) != 0)
        return -1;
    return strtod(start + strlen(RECORDED), NULL);
}

static int compile(double seconds, const char *output)
{
    struct timespec left = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
    int fd = open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    size_t size = (size_t)(object_end - object_begin);
    for (size_t done = 0; fd >= 0 && done < size;) {
        ssize_t wrote = write(fd, object_begin + done, size - done);
        if (wrote < 0)
            fd = -1;
        else
            done += (size_t)wrote;
    }
    if (fd < 0 || close(fd) != 0) {
        fprintf(stderr, "%s: %s\n", output, strerror(errno));
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *source = NULL, *output = NULL;
    int compiles = 0, asks = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-o") == 0 && i + 1 < argc)
            output = argv[++i];
        else if (strcmp(argv[i], "-c") == 0)
            compiles = 1;
        else if (strcmp(argv[i], "-E") == 0 || strcmp(argv[i], "-###") == 0 || strncmp(argv[i], "-M", 2) == 0)
            asks = 1;
        else if (argv[i][0] != '-')
            source = argv[i];
    }
    double seconds = compiles && !asks && source && output ? recorded(source) : -1;
    if (seconds >= 0)
        return compile(seconds, output);
    execv(REAL, argv);
    perror(REAL);
    return 127;
}
