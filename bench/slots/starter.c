/* What a build tool does, and nothing else: keeps N jobs under way until all are done.
 *
 *     starter N spawn LAUNCHER ARGUMENT... < list      each line: FOLDER SOURCE OUTPUT; runs
 *                                                      LAUNCHER ARGUMENT... -c SOURCE -o OUTPUT there
 *     starter N ask SOCKET < requests                  each: length (4 bytes), a launcher's request;
 *                                                      puts it to the agent itself, without a launcher
 *
 * Prints one line of JSON: what it took. A job that did not end with 0 is counted, and makes the exit code 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static double *took;
static long done, failed, kept;

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static void note(double since)
{
    took = realloc(took, (size_t)(done + 1) * sizeof *took);
    took[done++] = now() - since;
}

struct child {
    pid_t pid;
    double since;
};

static void spawn_all(int most, int words, char **command)
{
    struct child *running = calloc((size_t)most, sizeof *running);
    char *line = NULL, *argv[64];
    size_t room = 0;
    int count = 0;
    if (words > 50)
        exit(2);
    memcpy(argv, command, (size_t)words * sizeof *argv);
    for (int more = 1; more || count;) {
        if (more && count < most) {
            if (getline(&line, &room, stdin) <= 0) {
                more = 0;
                continue;
            }
            char *folder = strtok(line, " \n"), *source = strtok(NULL, " \n"), *output = strtok(NULL, " \n");
            char *rest[] = {"-c", source, "-o", output, NULL};
            memcpy(argv + words, rest, sizeof rest);
            posix_spawn_file_actions_t actions;
            posix_spawn_file_actions_init(&actions);
            posix_spawn_file_actions_addchdir_np(&actions, folder);
            running[count].since = now();
            if (posix_spawn(&running[count].pid, argv[0], &actions, NULL, argv, environ) != 0)
                die(argv[0]);
            posix_spawn_file_actions_destroy(&actions);
            count++;
            continue;
        }
        int status;
        pid_t pid = wait(&status);
        for (int i = 0; i < count; i++)
            if (running[i].pid == pid) {
                note(running[i].since);
                failed += status != 0;
                running[i] = running[--count];
                break;
            }
    }
}

struct asked {
    int fd;
    double since;
    char *request;
    uint32_t size, got;
    unsigned char head[9];
    uint32_t skip;
};

static struct asked *ask(int poll, const struct sockaddr_un *agent)
{
    struct asked *one = calloc(1, sizeof *one);
    if (fread(&one->size, 4, 1, stdin) != 1) {
        free(one);
        return NULL;
    }
    one->request = malloc(one->size);
    if (fread(one->request, 1, one->size, stdin) != one->size)
        die("requests");
    one->since = now();
    one->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (one->fd < 0 || connect(one->fd, (const struct sockaddr *)agent, sizeof *agent) != 0)
        die("connect");
    for (uint32_t sent = 0; sent < one->size;) {
        ssize_t wrote = write(one->fd, one->request + sent, one->size - sent);
        if (wrote <= 0)
            die("write");
        sent += (uint32_t)wrote;
    }
    free(one->request);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
    epoll_ctl(poll, EPOLL_CTL_ADD, one->fd, &event);
    return one;
}

/* Read an answer on: 'R' and its exit code end it, 'P' is a sign of life, all else was not done by a node. */
static int answered(struct asked *one)
{
    unsigned char data[65536];
    ssize_t got = read(one->fd, data, sizeof data);
    if (got <= 0) {
        failed++;
        return 1;
    }
    for (ssize_t i = 0; i < got; i++) {
        if (one->skip) {
            one->skip--;
            continue;
        }
        one->head[one->got++] = data[i];
        uint32_t number;
        if (one->got == 5 && one->head[0] == 'E') {
            memcpy(&one->skip, one->head + 1, 4);
            one->got = 0;
        } else if (one->got == 5 && one->head[0] == 'P') {
            one->got = 0;
        } else if (one->got == 5 && one->head[0] != 'R') {
            kept++;
            return 1;
        } else if (one->got == 9) {
            memcpy(&number, one->head + 5, 4);
            failed += number != 0;
            return 1;
        }
    }
    return 0;
}

static void ask_all(int most, const char *path)
{
    struct sockaddr_un agent = {.sun_family = AF_UNIX};
    struct epoll_event events[256];
    int poll = epoll_create1(EPOLL_CLOEXEC), count = 0;
    if (strlen(path) >= sizeof agent.sun_path)
        exit(2);
    strcpy(agent.sun_path, path);
    for (int more = 1; more || count;) {
        while (more && count < most) {
            if (ask(poll, &agent) == NULL)
                more = 0;
            else
                count++;
        }
        if (!count) /* the last ones had all ended together */
            break;
        int ready = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct asked *one = events[i].data.ptr;
            if (answered(one)) {
                note(one->since);
                close(one->fd);
                free(one);
                count--;
            }
        }
    }
}

static int by_size(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double cpu(int who)
{
    struct rusage usage;
    getrusage(who, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    int most = argc > 3 ? atoi(argv[1]) : 0;
    if (most < 1)
        return 2;
    double began = now();
    if (strcmp(argv[2], "ask") == 0)
        ask_all(most, argv[3]);
    else
        spawn_all(most, argc - 3, argv + 3);
    double wall = now() - began;
    if (done == 0)
        return 2;
    qsort(took, (size_t)done, sizeof *took, by_size);
    printf("{\"jobs\": %ld, \"failed\": %ld, \"kept\": %ld, \"wall\": %.6f, \"own_cpu\": %.6f, \"children_cpu\": %.6f, "
           "\"median\": %.6f, \"p99\": %.6f, \"longest\": %.6f}\n",
           done, failed, kept, wall, cpu(RUSAGE_SELF), cpu(RUSAGE_CHILDREN), took[done / 2],
           took[(long)((double)done * 0.99)], took[done - 1]);
    return failed || kept;
}
