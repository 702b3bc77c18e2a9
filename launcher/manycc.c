/*
 * manycc: the launcher, the program that a build tool starts for each compile.
 *
 *   manycc g++ -c a.cc     a job
 *   g++ -c a.cc            the same, where "g++" is a symbolic link to this program
 *   distcc g++ -c a.cc     the same, with the conventions of distcc's client
 *   manycc status          a verb: handed to manycc-cli, the part written in Python
 *
 * A job goes to the user's agent over a Unix socket, in the format of src/manycc/wire/launcher.py. Whatever
 * goes wrong with the agent ends in the real compiler being exec'ed here, and in one line of the job records.
 * Every job pays for the way to a living agent; the rest may be slow.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_REQUEST (16u << 20) /* bytes of payload that the agent takes */
#define MAX_DEPTH 8             /* times that a compiler may run itself through launchers */
#define MAX_REPLACED 2          /* agents of another version replaced for the sake of one job */
#define FAILED_REST 10          /* seconds without another start after one that failed */
#define READY_FD 3              /* where a new agent says that it listens */

#define VERBS " node run explain status hosts stats agent doctor masquerade compat reasons" \
    " verify toolchain engine help --help -h --version "
#define QUESTIONS " --help --version --show-hosts -j --scan-includes --show-principal " /* to distcc */
#define SUFFIXES " c cc cpp cxx cp c++ C i ii m mm mi mii M s S o " /* of what a compiler reads */

static struct {
    char **argv; /* as the compiler will see it, NULL at the end */
    int argc;
    bool distcc;             /* called by that name, or by a link to it */
    char compiler[PATH_MAX]; /* absolute, links kept */
    char cwd[PATH_MAX];      /* empty where it has no path any more */
    char mark[48];           /* its file, as MANYCC_GUARD names it in launchers below */
    int times;               /* that launchers run it around this job already */
} job;

static struct stat self;          /* this program's file */
static struct timeval patience;   /* how long the agent may be silent */
static pid_t agent, refused = -1; /* the one last connected to, and the one that is of another version */

/* Why the agent does not do the job: a code of src/manycc/reasons.py, and a sentence. */
static struct trouble { const char *reason, *detail; } trouble;

static bool fail(const char *reason, const char *detail) {
    trouble = (struct trouble){reason, detail};
    return false;
}

static _Noreturn void die(int code, const char *what, const char *why, const char *hint) {
    dprintf(STDERR_FILENO, "manycc: %s: %s (%s)\n", what, why, hint);
    _exit(code);
}

/* Whether the text fits: a path that does not is one that nothing can be found at. */
#define format(out, ...) (snprintf(out, PATH_MAX, __VA_ARGS__) < PATH_MAX)

/* An environment variable; NULL if it is unset or empty. */
static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : NULL;
}

/* -- finding and running programs -------------------------------------------------------------- */

static bool is_self(const struct stat *file) {
    return file->st_dev == self.st_dev && file->st_ino == self.st_ino;
}

/* How often launchers run a file around this job already; `mark` becomes its name in MANYCC_GUARD. */
static int times_around(const struct stat *file, char mark[static sizeof job.mark]) {
    int times = 0;
    snprintf(mark, sizeof job.mark, ":%llx:%llx ", (long long)file->st_dev, (long long)file->st_ino);
    for (const char *at = getenv("MANYCC_GUARD"); at != NULL && (at = strstr(at, mark)) != NULL; at++) times++;
    return times;
}

/* Whether a program's path is a link to distcc, as compilers' names in a folder for masquerading can be. */
static bool leads_to_distcc(const char *path) {
    char target[PATH_MAX] = "";
    return readlink(path, target, sizeof target - 1) > 0 && strcmp(basename(target), "distcc") == 0;
}

/*
 * Finds a program as a shell would, but never this one: `met_self` tells whether this one came first.
 * The path found keeps its links, and is absolute unless the working folder has no path. With `met_self` set
 * before, a link to this one was called by its path: by a wrapper (ccache) that stands before it, or runs already.
 */
static bool find_on_path(const char *name, char out[PATH_MAX], bool *met_self) {
    const char *path = getenv("PATH"), *end;
    char other[PATH_MAX] = "", mark[sizeof job.mark];
    bool by_wrapper = *met_self, behind = false;
    for (path = path != NULL ? path : "/bin:/usr/bin";; path = end + 1) {
        end = strchrnul(path, ':');
        const char *base = *path == '/' ? "" : *job.cwd != '\0' ? job.cwd : ".";
        const char *slash = *base != '\0' && end > path ? "/" : "";
        struct stat file;
        if (format(out, "%s%s%.*s/%s", base, slash, (int)(end - path), path, name) && stat(out, &file) == 0 &&
            S_ISREG(file.st_mode) && access(out, X_OK) == 0) {
            bool mine = is_self(&file);
            if (!mine && (!by_wrapper || (behind && times_around(&file, mark) == 0))) return true;
            if (!mine && *other == '\0') strcpy(other, out);
            *met_self |= behind |= mine;
            job.distcc |= mine && leads_to_distcc(out);
        }
        if (*end == '\0') return *strcpy(out, other) != '\0';
    }
}

/*
 * Sets job.compiler, or ends as a shell does. Compilers find their parts by the name they are called by; so a
 * name that leads to this program becomes the path that was found.
 */
static void find_compiler(void) {
    char *name = job.argv[0];
    struct stat file = {0};
    bool by_path = strchr(name, '/') != NULL, found;
    bool met_self = by_path && stat(name, &file) == 0 && is_self(&file);
    if (met_self) job.distcc |= leads_to_distcc(name);
    const char *base = *name == '/' ? "" : job.cwd;
    if (by_path && !met_self) found = format(job.compiler, "%s%s%s", base, *base != '\0' ? "/" : "", name);
    else found = *name != '\0' && find_on_path(basename(name), job.compiler, &met_self);
    const char *why = job.distcc ? "failed to exec: not found" : "not found";
    if (met_self) why = "not found except as a link to manycc";
    if (!found) die(job.distcc ? 110 : 127, name, why, "install the compiler, or add its folder to PATH");
    if (met_self) job.argv[0] = job.compiler;
    stat(job.compiler, &file);
    job.times = times_around(&file, job.mark);
}

static _Noreturn void run_compiler(void) {
    char *around = getenv("MANYCC_GUARD"), *guard;
    bool made = asprintf(&guard, "%s%d%s", around != NULL ? around : "", (int)getpid(), job.mark) > 0;
    if (!made || setenv("MANYCC_GUARD", guard, 1) != 0) die(1, job.compiler, strerror(errno), "free some memory");
    execvp(job.compiler, job.argv); /* a path with a slash is not looked up */
    if (errno == ENOEXEC) {         /* a script without "#!" is for the shell; not every C library sees to that */
        char *line[job.argc + 2];
        memcpy(line + 2, job.argv + 1, (size_t)job.argc * sizeof *line);
        line[0] = "/bin/sh", line[1] = job.compiler;
        execv(line[0], line);
    }
    die(job.distcc ? 110 : errno == ENOENT ? 127 : 126, job.compiler, strerror(errno), "see whether it runs without manycc");
}

/* The Python part: beside this program, else on the PATH. */
static bool find_cli(char out[PATH_MAX]) {
    char here[PATH_MAX] = "/";
    bool known = readlink("/proc/self/exe", here, sizeof here - 1) > 0;
    *strrchr(here, '/') = '\0';
    if (known && format(out, "%s/manycc-cli", here) && access(out, X_OK) == 0) return true;
    return find_on_path("manycc-cli", out, &(bool){false});
}

static _Noreturn void run_cli(char **argv) {
    static char cli[PATH_MAX];
    argv[0] = cli;
    if (job.distcc) setenv("MANYCC_CALLED", "distcc", 1); /* argv[0] would not reach a script */
    if (find_cli(cli)) execv(cli, argv);
    die(127, "manycc-cli cannot be run", strerror(errno), "it belongs beside manycc: install manycc again");
}

/* -- folders, and records of the jobs that the agent does not hear of -------------------------- */

/* Opens the folder of the agent's socket, or the one of the job records; makes it if it is missing. */
static int open_folder(bool runtime) {
    char path[PATH_MAX];
    const char *base = setting("MANYCC_DIR"), *xdg = setting(runtime ? "XDG_RUNTIME_DIR" : "XDG_STATE_HOME");
    const char *home = setting("HOME");
    bool known = base != NULL  ? format(path, "%s/%s", base, runtime ? "run" : "state")
                 : xdg != NULL ? format(path, "%s/manycc", xdg)
                 : runtime     ? format(path, "/tmp/manycc-%u", (unsigned)getuid())
                               : home != NULL && format(path, "%s/.local/state/manycc", home);
    int flags = O_PATH | O_DIRECTORY | O_CLOEXEC | (runtime ? O_NOFOLLOW : 0), fd = known ? open(path, flags) : -1;
    if (fd >= 0 || !known || errno != ENOENT) return fd;
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700); /* whether that worked shows in the end */
        *slash = '/';
    }
    mkdir(path, 0700);
    return open(path, flags);
}

/* Writes a JSON string that ends before `end`, cut off if it must be; bytes that are not ASCII stay as they are. */
static char *quote(char *at, const char *end, const char *text) {
    *at++ = '"';
    for (; *text != '\0' && end - at > ((*text & 0xC0) == 0x80 ? 7 : 10); text++) { /* there is room for all of it */
        unsigned char byte = (unsigned char)*text;
        if (byte >= ' ' && byte != 0x7F && byte != '"' && byte != '\\') *at++ = *text;
        else at += sprintf(at, "\\u%04x", byte);
    }
    *at++ = '"';
    return at;
}

/* Appends one line to the job records, if it can. A single write keeps lines of many launchers whole. */
static void record(void) {
    char line[3500], *end = line + sizeof line, *at = line;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at += sprintf(at, "{\"t\": %lld.%03ld, \"pid\": %d", (long long)now.tv_sec, now.tv_nsec / 1000000, (int)getpid());
    at += sprintf(at, ", \"by\": \"launcher\", \"reason\": \"%s\", \"detail\": ", trouble.reason);
    at = quote(at, line + 500, trouble.detail);
    at = quote(stpcpy(at, ", \"run\": "), line + 900, setting("MANYCC_RUN") != NULL ? setting("MANYCC_RUN") : "");
    at = quote(stpcpy(at, ", \"cwd\": "), line + 2200, job.cwd);
    at = stpcpy(at, ", \"argv\": [");
    for (int i = 0; i < job.argc && i < 64 && end - at > 30; i++)
        at = quote(stpcpy(at, i > 0 ? ", " : ""), end - 4, job.argv[i]);
    at = stpcpy(at, "]}\n");
    int fd = openat(open_folder(false), "jobs.jsonl", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && write(fd, line, (size_t)(at - line)) > 0) close(fd);
}

/* -- reaching the agent ------------------------------------------------------------------------ */

/* Returns -1 if there is no agent but a refused one, or with trouble. The socket outlives an exec of the compiler. */
static int connect_agent(int folder) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    int error, low = socket(AF_UNIX, SOCK_STREAM, 0);
    int sock = fcntl(low, F_DUPFD, STDERR_FILENO + 1); /* a closed stdin must not become a socket for the compiler */
    close(low);
    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* counts for connect() too */
    /* By way of the folder that was checked, which also makes any path short enough. */
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/agent.sock", folder);
    do error = connect(sock, (const struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
    while (error == EINTR);
    if (error == 0) getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &size);
    agent = peer.pid;
    if (error == 0 && peer.uid == geteuid() && agent != refused) return sock;
    close(sock);
    if (error == 0 && peer.uid != geteuid()) fail("agent-missing", "its socket is another user's");
    else if (error == EAGAIN) fail("agent-silent", "it took no connection in time");
    else if (error != 0 && error != ENOENT && error != ECONNREFUSED) fail("agent-missing", strerror(error));
    return -1;
}

/* By asking again and again: a wait that ends in time would need a signal. */
static bool lock_in_time(int fd) {
    double left = (double)patience.tv_sec + (double)patience.tv_usec / 1e6;
    for (; flock(fd, LOCK_EX | LOCK_NB) != 0; left -= 0.01)
        if (errno != EWOULDBLOCK || left <= 0 || poll(NULL, 0, 10) > 0) return false;
    return true;
}

/* In a new process: becomes the agent, which holds nothing of the caller's but `ready`: it is not under fakeroot. */
static _Noreturn void become_agent(const char *cli, int ready) {
    sigprocmask(SIG_SETMASK, &(sigset_t){0}, NULL);
    ready = fcntl(ready, F_DUPFD, READY_FD);
    int null = open("/dev/null", O_RDWR);
    if (ready < 0 || null < 0 || setenv("MANYCC_READY_FD", "3", 1) + unsetenv("LD_PRELOAD") != 0) _exit(127);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) dup2(null, fd);
    dup2(ready, READY_FD);
    if (syscall(SYS_close_range, READY_FD + 1, ~0u, 0) != 0)
        for (int fd = READY_FD + 1, end = (int)sysconf(_SC_OPEN_MAX); fd < end; fd++) close(fd);
    execl(cli, cli, "agent", "serve", (char *)NULL);
    _exit(127);
}

/* Starts an agent and waits until it listens. False, with trouble, if it does not. */
static bool start_agent(void) {
    char cli[PATH_MAX], byte;
    int ends[2];
    if (!find_cli(cli)) return fail("agent-missing", "manycc-cli is not beside manycc");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return fail("agent-missing", strerror(errno));
    pid_t child = fork();
    if (child == 0) { /* a new session, and in it a child that can never have a terminal */
        setsid();
        if (fork() == 0) become_agent(cli, ends[1]);
        _exit(0);
    }
    close(ends[1]);
    if (child > 0) waitpid(child, NULL, 0);
    setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ssize_t count;
    do count = recv(ends[0], &byte, 1, 0);
    while (count < 0 && errno == EINTR);
    close(ends[0]);
    if (count == 1) return true;
    return fail("agent-missing", count < 0 ? "it took too long to start" : "it ended before it listened: see its log");
}

/* A start in vain keeps the jobs of a whole build from waiting for an agent in vain. */
static bool may_start(int folder) {
    struct stat mark;
    bool rests = fstatat(folder, "agent.failed", &mark, 0) == 0 && llabs(time(NULL) - mark.st_mtime) < FAILED_REST;
    return !rests || fail("agent-missing", "it was started in vain a moment ago");
}

/* A connection to an agent, else -1 and trouble. Of launchers that find none, the one that has the lock starts it. */
static int reach_agent(void) {
    struct stat file = {0};
    int folder = open_folder(true); /* this and what is opened in it ends with this program */
    /* Whoever can write into the folder could pose as the agent. */
    if (folder < 0 || fstat(folder, &file) != 0 || file.st_uid != geteuid() || (file.st_mode & 077) != 0)
        return fail("agent-missing", "its folder is not one of this user alone (mode 0700)"), -1;
    int sock = connect_agent(folder);
    if (sock >= 0 || trouble.reason != NULL || !may_start(folder)) return sock;
    int lock = openat(folder, "agent.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0) return fail("agent-missing", strerror(errno)), -1;
    if (!lock_in_time(lock)) return fail("agent-missing", "another launcher's start of it takes too long"), -1;
    sock = connect_agent(folder);
    if (sock < 0 && trouble.reason == NULL && may_start(folder)) {
        if (start_agent() && (sock = connect_agent(folder)) < 0 && trouble.reason == NULL)
            fail("agent-missing", "it says that it listens, but does not");
        bool rest = sock < 0 || refused >= 0; /* agents that replace one another would go on for ever, too */
        int mark = rest ? openat(folder, "agent.failed", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
        if (mark >= 0) futimens(mark, NULL);
    }
    close(lock);
    return sock;
}

/* -- the conversation -------------------------------------------------------------------------- */

/* The request as one block of *size bytes; NULL if it is larger than the agent takes. */
static char *build_request(size_t *size) {
    extern char **environ;
    char *head[] = {(char[]){MANYCC_VERSION}, job.compiler, job.cwd, NULL};
    char **lists[] = {head, job.argv, environ};
    size_t payload = 0;
    for (int list = 0; list < 3; list++)
        for (char **text = lists[list]; *text != NULL; text++) payload += strlen(*text) + 1;
    if (payload > MAX_REQUEST) return NULL;
    struct winsize window = {0}; /* of stdin: gcc goes by that */
    bool tty = isatty(STDERR_FILENO);
    if (tty && ioctl(STDIN_FILENO, TIOCGWINSZ, &window) != 0) window.ws_col = 0;
    mode_t mask = umask(0);
    umask(mask);
    uint32_t header[] = {htole32((uint32_t)payload), htole32(mask),
                         htole32((tty ? 1u : 0u) | (isatty(STDOUT_FILENO) ? 2u : 0u) | (job.distcc ? 4u : 0u)),
                         htole32(window.ws_col), htole32((uint32_t)job.argc)};
    *size = 4 + sizeof header + payload;
    char *request = malloc(*size);
    if (request == NULL) die(1, job.compiler, strerror(errno), "free some memory");
    char *at = mempcpy(mempcpy(request, "MCL1", 4), header, sizeof header);
    for (int list = 0; list < 3; list++)
        for (char **text = lists[list]; *text != NULL; text++) at = stpcpy(at, *text) + 1;
    return request;
}

static struct {
    int sock;
    size_t start, end; /* what has come and is not yet used */
    char data[65536];
} in;

/* Waits until `wanted` bytes, a buffer's worth at most, are at in.data + in.start. */
static bool receive(size_t wanted) {
    memmove(in.data, in.data + in.start, in.end - in.start);
    in.end -= in.start;
    in.start = 0;
    while (in.end < wanted) {
        ssize_t count = recv(in.sock, in.data + in.end, sizeof in.data - in.end, 0);
        if (count > 0) in.end += (size_t)count;
        else if (count == 0) return fail("agent-lost", "it closed the connection");
        else if (errno == EAGAIN) return fail("agent-silent", "it sent nothing in time");
        else if (errno != EINTR) return fail("agent-lost", strerror(errno));
    }
    return true;
}

static uint32_t number_at(const char *place) {
    uint32_t number;
    memcpy(&number, place, sizeof number);
    return le32toh(number);
}

/* Writes all of it, also to what someone has made non-blocking. */
static bool write_all(int fd, const char *data, size_t length) {
    for (ssize_t count; length > 0; data += count, length -= (size_t)count) {
        count = write(fd, data, length);
        if (count < 0 && errno == EAGAIN) poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        else if (count < 0 && errno != EINTR) return false;
        if (count < 0) count = 0;
    }
    return true;
}

/* Shows a result of `length` bytes and ends as the job did. Returns only if it does not come as it must. */
static bool show_result(size_t length) {
    /* All of it is waited for: what is shown now, the compiler would show again if the agent died in the middle. */
    char *result = malloc(length);
    if (result == NULL) return fail("agent-lost", "it sent a result that is larger than the memory");
    for (size_t have = 0, piece; have < length; have += piece, in.start += piece) {
        if (in.start == in.end && !receive(1)) return false;
        piece = in.end - in.start < length - have ? in.end - in.start : length - have;
        memcpy(result + have, in.data + in.start, piece);
    }
    uint32_t code = number_at(result), out = number_at(result + 4);
    if (code > 255 || out > length - 8) return fail("agent-lost", "it sent a result that cannot be");
    bool out_works = write_all(STDOUT_FILENO, result + 8, out);
    write_all(STDERR_FILENO, result + 8 + out, length - 8 - out);
    if (code == 0 && !out_works) die(1, "standard output", "cannot be written", "look for a full disk");
    _exit((int)code); /* as compilers do, never mind where the diagnostics went */
}

/* Sends the request. Returns the agent's answer 'L' or 'V', or 0 and trouble. */
static int converse(const char *request, size_t size) {
    for (ssize_t count; size > 0; request += count, size -= (size_t)count) {
        count = send(in.sock, request, size, MSG_NOSIGNAL);
        if (count < 0 && errno == EAGAIN) return fail("agent-silent", "it read nothing in time");
        if (count < 0 && errno != EINTR) break; /* it may have answered before it went */
        if (count < 0) count = 0;
    }
    in.start = in.end = 0;
    while (receive(5)) {
        char kind = in.data[in.start];
        uint32_t length = number_at(in.data + in.start + 1);
        in.start += 5;
        if (kind == 'R' && length >= 8) return show_result(length);
        if (kind == 'E' && length <= sizeof in.data) {
            const char *log = setting("UNCACHED_ERR_FD"); /* ccache repeats what comes on stderr, but not this */
            if (!receive(length)) return 0;
            write_all(log != NULL ? atoi(log) : STDERR_FILENO, in.data + in.start, length);
            in.start += length;
            continue;
        }
        if (length != 0 || memchr("PLV", kind, 3) == NULL) return fail("agent-lost", "it sent an answer that cannot be");
        if (kind != 'P') return kind;
    }
    return 0;
}

/* Has the agent do the job. Returns if the compiler is to be run here. */
static void run_by_agent(void) {
    size_t size = 0;
    int answer = 'V';
    char *request = build_request(&size);
    if (*job.cwd == '\0') fail("inputs-unknown", "the working folder has no path");
    else if (request == NULL) fail("input-too-large", "the command line and the environment");
    for (int tries = 0; trouble.reason == NULL && answer == 'V' && tries <= MAX_REPLACED; tries++) {
        in.sock = reach_agent();
        answer = in.sock >= 0 ? converse(request, size) : 0;
        if (answer == 'L') return;
        /* An agent that was only slow must know that the record of this job is written here. */
        if (in.sock >= 0 && trouble.reason != NULL) send(in.sock, "X", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (in.sock >= 0) close(in.sock);
        refused = agent;
    }
    if (trouble.reason == NULL) fail("agent-missing", "every agent that starts is of another version");
    record();
}

static bool is_among(const char *word, const char *list) {
    char wanted[32];
    int length = snprintf(wanted, sizeof wanted, " %s ", word);
    return length < (int)sizeof wanted && strchr(word, ' ') == NULL && strstr(list, wanted) != NULL;
}

int main(int argc, char **argv) {
    if (argc < 1) return 2;
    int own = open("/proc/self/exe", O_RDONLY | O_CLOEXEC); /* not by stat: that is the emulator's, under qemu */
    if (fstat(own, &self) != 0) stat((const char *)getauxval(AT_EXECFN), &self);
    close(own);
    job.argv = argv, job.argc = argc;
    job.distcc = strcmp(basename(argv[0]), "distcc") == 0;
    if (job.distcc || strncmp(basename(argv[0]), "manycc", strlen("manycc")) == 0) {
        if (argc == 1 || is_among(argv[1], job.distcc ? QUESTIONS : VERBS)) run_cli(argv);
        do job.argv++, job.argc--; /* this one's name, and that of a second one */
        while (job.argc > 1 && is_among(basename(job.argv[0]), " manycc distcc "));
        const char *dot = strrchr(job.argv[0], '.');
        bool named = *job.argv[0] != '-' && (dot == NULL || !is_among(dot + 1, SUFFIXES));
        if (!named) *--job.argv = "cc", job.argc++;
    }
    if (getcwd(job.cwd, sizeof job.cwd) == NULL) *job.cwd = '\0';
    find_compiler();
    double seconds = setting("MANYCC_AGENT_TIMEOUT") != NULL ? strtod(setting("MANYCC_AGENT_TIMEOUT"), NULL) : 0;
    if (!(seconds >= 0.001 && seconds <= 86400)) seconds = 20;
    patience = (struct timeval){(long)seconds, (long)((seconds - (double)(long)seconds) * 1e6)};
    /* What a launcher around this one runs may ask for jobs of its own; what asks for itself goes in a circle. */
    if (job.times > MAX_DEPTH) die(1, job.compiler, "calls itself through manycc", "see where its name leads");
    bool off = setting("MANYCC_DISABLE") != NULL && strcmp(setting("MANYCC_DISABLE"), "0") != 0;
    if (!off && job.times == 0) run_by_agent();
    else if (!fail(off ? "disabled" : "nested", off ? "MANYCC_DISABLE" : "MANYCC_GUARD")) record();
    run_compiler();
}
