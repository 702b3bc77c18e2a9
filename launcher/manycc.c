/*
 * manycc: the launcher, the program a build tool starts for each compile.
 *
 * It hands the command to the user's agent over a Unix socket and shows what comes back; the format
 * is described in src/manycc/wire/launcher.py. Whatever goes wrong with the agent ends in the real
 * compiler being exec'ed, with one line in the job records that says why.
 *
 *   manycc g++ -c a.cc     a job
 *   g++ -c a.cc            the same, when "g++" is a symbolic link to this program
 *   manycc status          a verb: handed to manycc-cli, the part written in Python
 *
 * Every job pays for what happens here, so the way of a job that meets a living agent allocates once
 * and waits in one place; the rest may be slow.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
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
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MANYCC_VERSION
#error "give the version: -DMANYCC_VERSION='\"1.2.3\"'"
#endif

#define MAX_REQUEST (16u * 1024 * 1024) /* bytes of payload, as the agent bounds it */
#define MAX_GUARD 8                     /* compilers that start this program again, one in another */
#define MAX_REPLACED 2                  /* agents of another version replaced for one job */
#define FAILED_REST 10                  /* seconds without a new start after one that failed */
#define READY_FD 3                      /* where a new agent reports that it listens */
#define RECORD_SIZE 3500                /* under PIPE_BUF, so that lines of many launchers stay whole */
#define RECORD_ARGS 64

struct job {
    char **argv; /* as the compiler will see it, ended by NULL */
    int argc;
    char compiler[PATH_MAX]; /* absolute, links kept */
    char cwd[PATH_MAX];      /* empty if it has no path any more */
};

/* Why a job that should have gone to the agent runs here: a code of src/manycc/reasons.py. */
struct trouble {
    const char *reason, *detail;
};

static struct stat self;         /* this program's file */
static struct timeval patience;  /* how long the agent may be silent */

/* -- small things ------------------------------------------------------------------------------ */

__attribute__((format(printf, 2, 3))) static bool format(char out[PATH_MAX], const char *form, ...)
{
    va_list values;
    va_start(values, form);
    int length = vsnprintf(out, PATH_MAX, form, values);
    va_end(values);
    return length >= 0 && length < PATH_MAX;
}

__attribute__((noreturn)) static void die(int code, const char *what, const char *why, const char *hint)
{
    dprintf(STDERR_FILENO, "manycc: %s: %s (%s)\n", what, why, hint);
    _exit(code);
}

/* An environment variable; NULL if it is unset or empty. */
static const char *setting(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : NULL;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static int milliseconds(struct timeval span)
{
    return (int)(span.tv_sec * 1000 + (span.tv_usec + 999) / 1000);
}

/* MANYCC_AGENT_TIMEOUT in seconds, fractions allowed; 20 if it is unset or makes no sense. */
static struct timeval read_patience(void)
{
    const char *text = setting("MANYCC_AGENT_TIMEOUT");
    double seconds = text != NULL ? strtod(text, NULL) : 0;
    if (!(seconds >= 0.001 && seconds <= 86400))
        seconds = 20;
    long whole = (long)seconds;
    return (struct timeval){whole, (long)((seconds - (double)whole) * 1e6)};
}

/* Writes all of it, also to a descriptor that someone has made non-blocking. */
static bool write_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t done = write(fd, data, length);
        if (done >= 0) {
            data += done;
            length -= (size_t)done;
        } else if (errno == EAGAIN) {
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

/* -- finding and running programs -------------------------------------------------------------- */

static bool is_self(const struct stat *file)
{
    return file->st_dev == self.st_dev && file->st_ino == self.st_ino;
}

/*
 * Finds `name` as a shell would, but never this program itself. `met_self` tells whether this program
 * came first. The path found is absolute, with its links kept, unless the working folder has no path.
 */
static bool find_on_path(const char *name, const char *cwd, char out[PATH_MAX], bool *met_self)
{
    const char *path = getenv("PATH");
    if (path == NULL)
        path = "/bin:/usr/bin";
    for (;; path++) {
        const char *end = strchrnul(path, ':');
        int length = (int)(end - path);
        struct stat file;
        bool fits = *path == '/' ? format(out, "%.*s/%s", length, path, name)
                  : length > 0   ? format(out, "%s%s%.*s/%s", cwd, *cwd ? "/" : "", length, path, name)
                                 : format(out, "%s/%s", *cwd ? cwd : ".", name);
        if (fits && stat(out, &file) == 0 && S_ISREG(file.st_mode) && access(out, X_OK) == 0) {
            if (!is_self(&file))
                return true;
            *met_self = true;
        }
        path = end;
        if (*path == '\0')
            return false;
    }
}

/*
 * Sets job->compiler, or ends as a shell does. The compiler is told the name the caller used, for it
 * finds its own parts from that name; so where the name leads to this program, the path found
 * takes its place.
 */
static void find_compiler(struct job *job)
{
    char *name = job->argv[0];
    bool met_self = false, found;
    struct stat file;
    if (strchr(name, '/') == NULL) {
        found = *name != '\0' && find_on_path(name, job->cwd, job->compiler, &met_self);
    } else if (stat(name, &file) == 0 && is_self(&file)) {
        met_self = true;
        found = find_on_path(base_name(name), job->cwd, job->compiler, &met_self);
    } else {
        bool whole = *name == '/' || *job->cwd == '\0';
        found = whole ? format(job->compiler, "%s", name) : format(job->compiler, "%s/%s", job->cwd, name);
    }
    if (!found)
        die(127, name, met_self ? "not found, other than as a link to manycc" : "not found",
            "install the compiler, or add its folder to PATH");
    if (met_self)
        job->argv[0] = job->compiler;
}

/* How many launchers this one runs in; -1 if none has exec'ed a compiler yet. */
static long guard_depth(void)
{
    const char *depth = getenv("MANYCC_GUARD");
    return depth != NULL ? strtol(depth, NULL, 10) : -1;
}

__attribute__((noreturn)) static void run_compiler(struct job *job)
{
    char depth[24];
    long outer = guard_depth();
    snprintf(depth, sizeof depth, "%ld", outer > 0 ? outer + 1 : 1);
    if (setenv("MANYCC_GUARD", depth, 1) != 0)
        die(1, job->compiler, "out of memory", "free some");
    execvp(job->compiler, job->argv); /* the path has a slash: nothing is looked up */
    int error = errno;
    die(error == ENOENT ? 127 : 126, job->compiler, strerror(error), "run it without manycc to compare");
}

/* The Python part: beside this program, else on the PATH. */
static bool find_cli(char out[PATH_MAX])
{
    char here[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", here, sizeof here);
    if (length > 0 && length < (ssize_t)sizeof here) {
        here[length] = '\0';
        *strrchr(here, '/') = '\0';
        if (format(out, "%s/manycc-cli", here) && access(out, X_OK) == 0)
            return true;
    }
    return find_on_path("manycc-cli", "", out, &(bool){false});
}

__attribute__((noreturn)) static void run_cli(char **argv)
{
    static char cli[PATH_MAX];
    if (find_cli(cli)) {
        argv[0] = cli;
        execv(cli, argv);
    }
    die(127, "manycc-cli cannot be started", strerror(errno), "it belongs beside manycc: install manycc again");
}

/* -- state folders ----------------------------------------------------------------------------- */

static bool runtime_folder(char out[PATH_MAX])
{
    const char *base = setting("MANYCC_DIR");
    if (base != NULL)
        return format(out, "%s/run", base);
    base = setting("XDG_RUNTIME_DIR");
    return base != NULL ? format(out, "%s/manycc", base) : format(out, "/tmp/manycc-%u", (unsigned)getuid());
}

static bool state_folder(char out[PATH_MAX])
{
    const char *base = setting("MANYCC_DIR");
    if (base != NULL)
        return format(out, "%s/state", base);
    base = setting("XDG_STATE_HOME");
    if (base != NULL)
        return format(out, "%s/manycc", base);
    base = setting("HOME");
    return base != NULL && format(out, "%s/.local/state/manycc", base);
}

/* Makes a folder and those above it. Whether that worked shows when the folder is used. */
static void make_folder(const char *path)
{
    char part[PATH_MAX];
    format(part, "%s", path);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(part, 0700);
        *slash = '/';
    }
    mkdir(part, 0700);
}

/* Whoever can write into the folder could pose as the agent, so it must be ours alone. */
static bool is_private(const char *folder)
{
    struct stat file;
    if (lstat(folder, &file) != 0) {
        make_folder(folder);
        if (lstat(folder, &file) != 0)
            return false;
    }
    return S_ISDIR(file.st_mode) && file.st_uid == geteuid() && (file.st_mode & 077) == 0;
}

/* -- records of jobs the agent does not know of ------------------------------------------------ */

struct line {
    size_t used;
    char text[RECORD_SIZE];
};

/* Reads one character; a byte that is not UTF-8 becomes U+DC80 to U+DCFF, Python's surrogateescape. */
static unsigned next_character(const unsigned char **text)
{
    static const unsigned least[] = {0, 0x80, 0x800, 0x10000};
    const unsigned char *at = *text;
    unsigned more = *at >= 0xF0 ? 3 : *at >= 0xE0 ? 2 : *at >= 0xC0 ? 1 : 0;
    unsigned code = *at < 0x80 ? *at : *at & (0x3Fu >> more), used = 1;
    for (; used <= more && (at[used] & 0xC0) == 0x80; used++)
        code = code << 6 | (at[used] & 0x3Fu);
    if (used <= more || code < least[more] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000) ||
        *at >= 0xF8 || (more == 0 && *at >= 0x80)) {
        code = 0xDC00u + *at;
        used = 1;
    }
    *text += used;
    return code;
}

/* Adds `text` as a JSON string, cut off where the line would grow beyond `limit` bytes. */
static void add_string(struct line *line, const char *text, size_t limit)
{
    const unsigned char *at = (const unsigned char *)text;
    line->text[line->used++] = '"';
    while (*at != '\0') {
        char escaped[16];
        unsigned code = next_character(&at);
        int length;
        if (code >= 0x10000)
            length = snprintf(escaped, sizeof escaped, "\\u%04x\\u%04x", 0xD7C0u + (code >> 10), 0xDC00u | (code & 0x3FF));
        else if (code < ' ' || code >= 0x80)
            length = snprintf(escaped, sizeof escaped, "\\u%04x", code);
        else
            length = snprintf(escaped, sizeof escaped, code == '"' || code == '\\' ? "\\%c" : "%c", (int)code);
        if (line->used + (size_t)length + 1 > limit)
            break;
        memcpy(line->text + line->used, escaped, (size_t)length);
        line->used += (size_t)length;
    }
    line->text[line->used++] = '"';
}

static void add_raw(struct line *line, const char *text)
{
    size_t length = strlen(text);
    memcpy(line->text + line->used, text, length);
    line->used += length;
}

/* Appends a line to the job records. That is a courtesy: where it cannot be done, the job goes on. */
static void record(const struct job *job, const struct trouble *trouble)
{
    struct line line = {0};
    struct timespec now;
    const char *run = getenv("MANYCC_RUN");
    clock_gettime(CLOCK_REALTIME, &now);
    line.used = (size_t)snprintf(line.text, sizeof line.text,
                                 "{\"t\": %lld.%03ld, \"by\": \"launcher\", \"reason\": \"%s\", \"detail\": ",
                                 (long long)now.tv_sec, now.tv_nsec / 1000000, trouble->reason);
    add_string(&line, trouble->detail, 500);
    add_raw(&line, ", \"run\": ");
    add_string(&line, run != NULL ? run : "", 900);
    add_raw(&line, ", \"cwd\": ");
    add_string(&line, job->cwd, 2200);
    add_raw(&line, ", \"argv\": [");
    for (int i = 0; i < job->argc && i < RECORD_ARGS && line.used < RECORD_SIZE - 20; i++) {
        add_raw(&line, i > 0 ? ", " : "");
        add_string(&line, job->argv[i], RECORD_SIZE - 4);
    }
    add_raw(&line, "]}\n");

    char path[PATH_MAX];
    if (!state_folder(path))
        return;
    make_folder(path);
    if (strlen(path) + sizeof "/jobs.jsonl" > sizeof path)
        return;
    strcat(path, "/jobs.jsonl");
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    ssize_t ignored = write(fd, line.text, line.used);
    (void)ignored;
    close(fd);
}

/* -- reaching the agent, starting it if need be ------------------------------------------------ */

/*
 * Connects to the agent, whose process is `pid`. Returns -1 with errno if none listens, EAGAIN if it
 * does not accept in time, EPERM if it is another user's. The socket outlives an exec of the compiler
 * on purpose: its end tells the agent that the compiler is done. All waits on it are bounded.
 */
static int connect_agent(const char *folder, pid_t *pid)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    int folder_fd = -1, error;
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    if (sock >= 0 && sock <= STDERR_FILENO) { /* the caller has closed it: it must not become the compiler's */
        int low = sock;
        sock = fcntl(low, F_DUPFD, STDERR_FILENO + 1);
        close(low);
    }
    if (sock < 0)
        return -1;
    if (snprintf(address.sun_path, sizeof address.sun_path, "%s/agent.sock", folder) >= (int)sizeof address.sun_path) {
        folder_fd = open(folder, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/agent.sock", folder_fd);
    }
    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* counts for connect too */
    do
        error = connect(sock, (const struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
    while (error == EINTR);
    if (folder_fd >= 0)
        close(folder_fd);
    if (error == 0 && (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.uid != geteuid()))
        error = EPERM;
    *pid = peer.pid;
    if (error == 0)
        return sock;
    close(sock);
    errno = error;
    return -1;
}

static void on_alarm(int number)
{
    (void)number; /* its arrival is what matters: it ends a flock() */
}

/* Takes the lock, waiting no longer than for the agent. The caller's own timer and mask are put back. */
static bool lock_in_time(int fd)
{
    /* Repeated, for a signal that arrives just before flock() would be lost. */
    struct itimerval timer = {.it_interval = {0, 100000}, .it_value = patience}, old_timer;
    struct sigaction action = {.sa_handler = on_alarm}, old_action;
    sigset_t alarm_only, old_mask;
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    sigaction(SIGALRM, &action, &old_action);
    sigprocmask(SIG_UNBLOCK, &alarm_only, &old_mask);
    setitimer(ITIMER_REAL, &timer, &old_timer);
    bool locked = flock(fd, LOCK_EX) == 0;
    setitimer(ITIMER_REAL, &old_timer, NULL);
    sigprocmask(SIG_SETMASK, &old_mask, NULL);
    sigaction(SIGALRM, &old_action, NULL);
    return locked;
}

/* In a new process: becomes the agent, which holds nothing of the caller's but the pipe. */
__attribute__((noreturn)) static void become_agent(const char *cli, const char *cwd, int ready)
{
    char folder[PATH_MAX], ready_text[8];
    const char *base = setting("MANYCC_DIR");
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    snprintf(ready_text, sizeof ready_text, "%d", READY_FD);
    if (setenv("MANYCC_READY_FD", ready_text, 1) != 0)
        _exit(127);
    if (base != NULL && *base != '/' && (!format(folder, "%s/%s", cwd, base) || setenv("MANYCC_DIR", folder, 1) != 0))
        _exit(127);
    ready = fcntl(ready, F_DUPFD, READY_FD);
    int null = open("/dev/null", O_RDWR);
    if (ready < 0 || null < 0 || chdir("/") != 0)
        _exit(127);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        dup2(null, fd);
    dup2(ready, READY_FD);
    if (syscall(SYS_close_range, READY_FD + 1, ~0u, 0) != 0)
        for (int fd = READY_FD + 1, end = (int)sysconf(_SC_OPEN_MAX); fd < end; fd++)
            close(fd);
    execl(cli, cli, "agent", "serve", (char *)NULL);
    _exit(127);
}

/* Starts an agent and waits until it listens. Returns NULL, or what went wrong. */
static const char *start_agent(const char *cwd)
{
    char cli[PATH_MAX], byte;
    int ends[2];
    if (!find_cli(cli))
        return "manycc-cli is not installed beside manycc";
    if (pipe2(ends, O_CLOEXEC) != 0)
        return "there is no pipe left";
    pid_t child = fork();
    if (child == 0) { /* a session of its own, then a child that can never get a terminal again */
        setsid();
        pid_t agent = fork();
        if (agent == 0)
            become_agent(cli, cwd, ends[1]);
        _exit(agent < 0);
    }
    close(ends[1]);
    if (child > 0)
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
    struct pollfd ready = {.fd = ends[0], .events = POLLIN};
    int count;
    do
        count = poll(&ready, 1, milliseconds(patience));
    while (count < 0 && errno == EINTR);
    bool listens = count > 0 && read(ends[0], &byte, 1) == 1;
    close(ends[0]);
    return listens ? NULL : child < 0 ? "no process could be made for it"
                 : count == 0         ? "it took too long to start"
                                      : "it ended before it listened: its log says why";
}

/* The mark that keeps every job of a build from waiting for an agent that cannot start. */
static void mark_failed(const char *folder)
{
    char mark[PATH_MAX];
    int fd = format(mark, "%s/agent.failed", folder) ? open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) {
        futimens(fd, NULL);
        close(fd);
    }
}

static bool failed_lately(const char *folder)
{
    char mark[PATH_MAX];
    struct stat file;
    return format(mark, "%s/agent.failed", folder) && stat(mark, &file) == 0 &&
           llabs((long long)time(NULL) - (long long)file.st_mtime) < FAILED_REST;
}

/* Connects to an agent that is not the process `refused`. Returns -1 without trouble->reason if there is none. */
static int try_agent(const char *folder, pid_t refused, pid_t *pid, struct trouble *trouble)
{
    int sock = connect_agent(folder, pid);
    if (sock >= 0 && *pid != refused)
        return sock;
    if (sock >= 0)
        close(sock);
    else if (errno == EAGAIN)
        *trouble = (struct trouble){"agent-silent", "it accepted no connection in time"};
    else if (errno == EPERM)
        *trouble = (struct trouble){"agent-missing", "the agent's socket is another user's"};
    else if (errno != ENOENT && errno != ECONNREFUSED)
        *trouble = (struct trouble){"agent-missing", strerror(errno)};
    return -1;
}

/*
 * A connection to an agent, started if there is none but `refused`; else -1 and the trouble. Of all
 * launchers that find no agent at the same instant, the one with the lock starts it.
 */
static int reach_agent(const char *cwd, pid_t refused, pid_t *pid, struct trouble *trouble)
{
    static const struct trouble lately = {"agent-missing", "a start of the agent failed a moment ago"};
    char folder[PATH_MAX], path[PATH_MAX];
    if (!runtime_folder(folder) || !is_private(folder) || !format(path, "%s/agent.lock", folder)) {
        *trouble = (struct trouble){"agent-missing", "its folder is not a folder of this user alone (mode 0700)"};
        return -1;
    }
    int sock = try_agent(folder, refused, pid, trouble);
    if (sock >= 0 || trouble->reason != NULL)
        return sock;
    if (failed_lately(folder)) {
        *trouble = lately;
        return -1;
    }
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0 || !lock_in_time(lock)) {
        const char *detail = lock < 0 ? strerror(errno) : "another launcher's start of it takes too long";
        *trouble = (struct trouble){"agent-missing", detail};
    } else if ((sock = try_agent(folder, refused, pid, trouble)) < 0 && trouble->reason == NULL) {
        *trouble = lately;
        if (!failed_lately(folder)) {
            const char *problem = start_agent(cwd);
            if (problem == NULL && (sock = try_agent(folder, refused, pid, trouble)) < 0)
                problem = "it said that it listens, but does not";
            if (problem != NULL) {
                *trouble = (struct trouble){"agent-missing", problem};
                mark_failed(folder);
            }
        }
    }
    if (lock >= 0)
        close(lock);
    return sock;
}

/* -- the conversation -------------------------------------------------------------------------- */

static char *put_number(char *at, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        *at++ = (char)(number >> (8 * i));
    return at;
}

static uint32_t get_number(const char *at)
{
    const unsigned char *bytes = (const unsigned char *)at;
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* The request as one block of `size` bytes; NULL if it is larger than the agent takes. */
static char *build_request(const struct job *job, size_t *size)
{
    extern char **environ;
    const char *head[] = {MANYCC_VERSION, job->compiler, job->cwd, NULL};
    const char *const *lists[] = {head, (const char *const *)job->argv, (const char *const *)environ};
    struct winsize window = {0};
    size_t payload = 0;
    for (size_t list = 0; list < 3; list++)
        for (const char *const *text = lists[list]; *text != NULL; text++)
            payload += strlen(*text) + 1;
    if (payload > MAX_REQUEST)
        return NULL;
    *size = 24 + payload;
    char *request = malloc(*size);
    if (request == NULL)
        die(1, job->compiler, "out of memory", "free some");

    bool tty = isatty(STDERR_FILENO);
    if (tty)
        ioctl(STDERR_FILENO, TIOCGWINSZ, &window);
    mode_t mask = umask(0);
    umask(mask);
    char *at = memcpy(request, "MCL1", 4);
    at = put_number(at + 4, (uint32_t)payload);
    at = put_number(at, mask);
    at = put_number(at, (tty ? 1u : 0u) | (isatty(STDOUT_FILENO) ? 2u : 0u));
    at = put_number(at, window.ws_col);
    at = put_number(at, (uint32_t)job->argc);
    for (size_t list = 0; list < 3; list++)
        for (const char *const *text = lists[list]; *text != NULL; text++)
            at = stpcpy(at, *text) + 1;
    return request;
}

struct stream {
    int fd;
    size_t start, end; /* what has been received and not yet used */
    char data[65536];
};

/* Has at least `wanted` bytes, a buffer's worth at most, ready at data + start. False if they do not come. */
static bool receive(struct stream *in, size_t wanted, struct trouble *trouble)
{
    if (in->start + wanted > sizeof in->data) {
        memmove(in->data, in->data + in->start, in->end - in->start);
        in->end -= in->start;
        in->start = 0;
    }
    while (in->end - in->start < wanted) {
        ssize_t count = recv(in->fd, in->data + in->end, sizeof in->data - in->end, 0);
        if (count > 0) {
            in->end += (size_t)count;
        } else if (count == 0 || errno != EINTR) {
            *trouble = count == 0        ? (struct trouble){"agent-lost", "it closed the connection"}
                     : errno == EAGAIN   ? (struct trouble){"agent-silent", "it sent nothing in time"}
                                         : (struct trouble){"agent-lost", strerror(errno)};
            return false;
        }
    }
    return true;
}

/* Passes `length` bytes on to `out`. What cannot be written sets *broken and is read all the same. */
static bool pass_on(struct stream *in, int out, uint32_t length, bool *broken, struct trouble *trouble)
{
    while (length > 0) {
        if (in->start == in->end) {
            in->start = in->end = 0;
            if (!receive(in, 1, trouble))
                return false;
        }
        size_t piece = in->end - in->start < length ? in->end - in->start : length;
        *broken = *broken || !write_all(out, in->data + in->start, piece);
        in->start += piece;
        length -= (uint32_t)piece;
    }
    return true;
}

/* Reads an "R" frame after its first five bytes, and ends with the job's exit code if all goes well. */
static bool finish(struct stream *in, uint32_t length, struct trouble *trouble)
{
    bool stdout_broken = false, stderr_broken = false; /* the latter is nobody's error: gcc ignores it too */
    /* Nothing is shown before as much as fits has come: the compiler would say it again. */
    if (!receive(in, length < sizeof in->data ? length : sizeof in->data, trouble))
        return false;
    uint32_t code = get_number(in->data + in->start), out = get_number(in->data + in->start + 4);
    if (code > 255 || out > length - 8) {
        *trouble = (struct trouble){"agent-lost", "it sent a result that cannot be"};
        return false;
    }
    in->start += 8;
    if (!pass_on(in, STDOUT_FILENO, out, &stdout_broken, trouble) ||
        !pass_on(in, STDERR_FILENO, length - 8 - out, &stderr_broken, trouble))
        return false;
    if (stdout_broken && code == 0)
        die(1, "standard output", "the compiler's output could not be written", "look for a full disk or a closed pipe");
    _exit((int)code);
}

/* Sends the job. Returns the kind of the agent's answer, 'L' or 'V'; 0 and the trouble for any other. */
static char converse(int sock, const char *request, size_t size, struct trouble *trouble)
{
    static struct stream in;
    in = (struct stream){.fd = sock};
    while (size > 0) {
        ssize_t count = send(sock, request, size, MSG_NOSIGNAL);
        if (count >= 0) {
            request += count;
            size -= (size_t)count;
        } else if (errno != EINTR) {
            *trouble = errno == EAGAIN ? (struct trouble){"agent-silent", "it took no request in time"}
                                       : (struct trouble){"agent-lost", strerror(errno)};
            return 0;
        }
    }
    while (receive(&in, 5, trouble)) {
        char kind = in.data[in.start];
        uint32_t length = get_number(in.data + in.start + 1);
        in.start += 5;
        if (kind == 'R' && length >= 8) {
            finish(&in, length, trouble);
            return 0;
        }
        if (length != 0 || (kind != 'P' && kind != 'L' && kind != 'V')) {
            *trouble = (struct trouble){"agent-lost", "it sent an answer that cannot be"};
            return 0;
        }
        if (kind != 'P')
            return kind;
    }
    return 0;
}

/* Has the agent do the job. Returns when the compiler is to be run here. */
static void run_by_agent(struct job *job)
{
    struct trouble trouble = {0};
    size_t size = 0;
    if (*job->cwd == '\0') {
        record(job, &(struct trouble){"inputs-unknown", "the working folder has no path"});
        return;
    }
    char *request = build_request(job, &size);
    if (request == NULL) {
        record(job, &(struct trouble){"input-too-large", "the command line and the environment"});
        return;
    }
    pid_t refused = 0, pid = 0;
    for (int replaced = 0; replaced <= MAX_REPLACED; replaced++) {
        int sock = reach_agent(job->cwd, refused, &pid, &trouble);
        if (sock < 0)
            break;
        char answer = converse(sock, request, size, &trouble);
        if (answer == 'L')
            return;
        close(sock);
        if (answer != 'V')
            break;
        refused = pid;
    }
    if (trouble.reason == NULL)
        trouble = (struct trouble){"agent-missing", "each agent that was started is of another version"};
    record(job, &trouble);
}

int main(int argc, char **argv)
{
    static const char *const verbs[] = {"node", "run", "explain", "status", "hosts", "stats", "agent", "doctor",
                                        "masquerade", "verify", "toolchain", "engine", "compat", "help",
                                        "--help", "-h", "--version"};
    static struct job job;
    if (argc < 1)
        return 2;
    if (stat("/proc/self/exe", &self) != 0)
        stat((const char *)getauxval(AT_EXECFN), &self);
    if (strncmp(base_name(argv[0]), "manycc", strlen("manycc")) == 0) {
        if (argc == 1)
            run_cli((char *[]){argv[0], (char[]){"--help"}, NULL});
        for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
            if (strcmp(argv[1], verbs[i]) == 0)
                run_cli(argv);
        if (*argv[1] == '-')
            die(2, argv[1], "a compiler or a verb comes first", "try: manycc gcc -c a.c, or manycc --help");
        argv++;
        argc--;
    }
    job.argv = argv;
    job.argc = argc;
    if (getcwd(job.cwd, sizeof job.cwd) == NULL)
        *job.cwd = '\0';
    find_compiler(&job);
    const char *disabled = setting("MANYCC_DISABLE");
    long depth = guard_depth();
    if (depth > MAX_GUARD)
        die(1, job.compiler, "the compiler calls itself through manycc", "see with type -a what its name leads to");
    if (depth < 0 && (disabled == NULL || strcmp(disabled, "0") == 0)) {
        patience = read_patience();
        run_by_agent(&job);
    }
    run_compiler(&job);
}
