"""Canaries: small sources whose objects show what a compiler does by default.

A stock distccd says nothing about its compilers, and equal version numbers hide different builds. So before
it is trusted with a toolchain and a set of options, it compiles these, and its objects are compared with
those made here. Each touches what distributions configure differently (PIE, stack protector, CET, unwind
tables, the package's name in .ident) and what depends on the processor or the language (TLS, varargs,
atomics, vectors, floats, exceptions, templates). They need no header, and macros keep away what options
forbid.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from manycc.errors import CompilerError
from manycc.job import Toolchain

MAX_REMEMBERED: Final = 512

_C: Final = r"""
#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#define TEXT2(a) #a
#define TEXT(a) TEXT2(a)
#define LARGER(a, b) ((a) > (b) ? (a) : (b))

typedef __SIZE_TYPE__ size_type;
struct point { char tag; short wide; int x, y; long far; unsigned bits : 5, more : 9; };
union mixed { int i; unsigned char bytes[sizeof(long)]; };
enum colour { red, green = 7, blue };

extern int outside(const char *, ...);
extern struct point *table[];
int shared_number = 3;
static int hidden[16];
const char *const words[] = { "one", "two", TEXT(JOIN(thr, ee)), __FILE__ };
int tentative;
__thread int own = 4;
extern __thread int theirs;

static int folded(unsigned n) { return n < 2 ? 1 : (int)(n * 31u) ^ folded(n - 1); }

int buffer_user(const char *from, size_type n)
{
    char buffer[64];
    size_type i;
    for (i = 0; i < LARGER(n, 3) && i < sizeof buffer; i++)
        buffer[i] = (char)(from[i] ^ hidden[i & 15]);
    return outside(buffer, n, words[n & 3]) + own + theirs;
}

int switched(enum colour c, int v)
{
    switch (v) {
    case 0: return c == red ? 11 : 12;
    case 1: return green;
    case 2: return outside(words[0]);
    case 3: return v * 77;
    case 4: return blue - v;
    case 9: return hidden[v]++;
    default: return -1;
    }
}

int many(int n, ...)
{
    __builtin_va_list list;
    int sum = 0;
    __builtin_va_start(list, n);
    while (n--)
        sum += __builtin_va_arg(list, int);
    __builtin_va_end(list);
    return sum;
}

long loops(long *a, const long *b, int n)
{
    long sum = 0;
    int i;
    for (i = 0; i < n; i++) {
        a[i] += b[i] * 3;
        sum += a[i] / (b[i] | 1);
    }
    return sum + __builtin_popcount((unsigned)sum) + __builtin_clz((unsigned)n | 1);
}

struct point by_value(struct point p, union mixed m)
{
    p.x += m.i;
    p.bits ^= 3;
    p.far = (long)(size_type)table[p.y & 3];
    return p;
}

static void __attribute__((constructor)) early(void) { hidden[0] = __LINE__; }
void (*pointer)(void) = early;
int counted(int *at) { return __atomic_fetch_add(at, 5, __ATOMIC_SEQ_CST) + folded((unsigned)shared_number); }
void *here(void) { return __builtin_return_address(0); }
int variable(int n) { char room[n + 1]; return outside(room, sizeof room); }
"""

_FLOATS: Final = r"""
#if !(defined __x86_64__ && !defined __SSE2__)
extern double outside(double, float);
float singles[32];
const double table[] = { 1.0, 0.1, 1e100, -0.0 };
float sum(const float *a, int n)
{
    float s = 0;
    int i;
    for (i = 0; i < n; i++)
        s += a[i] * singles[i & 31];
    return s;
}
void scale(double *to, const double *b, double f, int n)
{
    int i;
    for (i = 0; i < n; i++)
        to[i] = b[i] * f + table[i & 3];
}
int compared(double a, double b) { return a < b ? 1 : a == b ? 2 : a != a; }
long rounded(double a) { return (long)(a + 0.5) + (int)__builtin_sqrt(a); }
double mixed(int i, unsigned long u, float f) { return outside(i / 3.0, f) + (double)u; }
long double wide(long double a) { return a * a + 1; }
#else
int none;
#endif
"""

_CXX: Final = r"""
#define EACH(f) f(int) f(long) f(unsigned char)
#ifndef __cpp_exceptions
#  ifdef __EXCEPTIONS
#    define __cpp_exceptions 1
#  endif
#endif

namespace {
int unseen = 5;
struct local { int n; local() : n(unseen++) {} ~local(); };
local::~local() { unseen -= n; }
}

extern "C" int outside(const void *, ...);

struct base {
    base();
    virtual ~base();
    virtual int value(int) const = 0;
    int kept;
};
struct left : virtual base { int value(int) const; long more[3]; };
struct right : virtual base { int value(int) const; };
struct both : left, right { int value(int) const; ~both(); };

base::base() : kept(__LINE__) {}
base::~base() {}
int left::value(int n) const { return n + kept; }
int right::value(int n) const { return n - kept; }
int both::value(int n) const { return left::value(n) * right::value(n); }
both::~both() { outside(this, more[1]); }

template <class T, int N> struct row {
    T held[N];
    T sum() const { T s = T(); for (int i = 0; i < N; i++) s = T(s + held[i]); return s; }
    T &operator[](int i) { return held[i % N]; }
};
template <class T> inline T larger(const T &a, const T &b) { return a < b ? b : a; }
#define USE(type) type use(row<type, 5> &r, type x) { r[3] = larger(x, r[1]); return r.sum(); }
EACH(USE)
template struct row<short, 7>;

local global_one;
static local &lazily() { static local once; return once; }
inline int inlined(int n) { static int calls; return calls += n; }

int guarded(base *b, int n)
{
    local scope;
#ifdef __cpp_exceptions
    try {
        if (n > 3) throw n;
        return b->value(n) + inlined(n);
    } catch (int caught) {
        return caught + lazily().n;
    } catch (...) {
        outside(b);
        throw;
    }
#else
    return b->value(n) + inlined(n) + lazily().n;
#endif
}

base *made(int n) { return n ? new both : 0; }
void unmade(base *b) { delete b; }
#ifdef __GXX_RTTI
both *down(base *b) { return dynamic_cast<both *>(b); }
#endif

#if __cplusplus >= 201103L
template <class... Ts> int count(const Ts &...) { return int(sizeof...(Ts)); }
auto lambda(int n) -> int { int m = n * 2; auto f = [&m](int x) { return m += x; }; return f(n) + count(n, m, 'c'); }
struct moved { moved(moved &&) noexcept; int *p = nullptr; };
moved::moved(moved &&other) noexcept : p(other.p) { other.p = nullptr; }
thread_local local per_thread;
int threads() { return per_thread.n; }
#endif
"""


class Canary(NamedTuple):
    """One source. ``language``: "c" or "c++"; the file's name."""

    language: str
    name: str
    text: str


CANARIES: Final = (
    Canary("c", "canary.c", _C),
    Canary("c", "floats.c", _FLOATS),
    Canary("c++", "canary.cc", _CXX),
    Canary("c++", "floats.cc", _FLOATS),
)

Compile = Callable[[Toolchain, Sequence[str], str], Awaitable[bytes]]
"""Compiles here: the toolchain, the arguments and the folder to run in. The object; empty if it fails."""


class Canaries:
    """The canaries' files, and the objects that the compilers here make of them. For one event loop."""

    def __init__(self, folder: str, compile_here: Compile) -> None:
        """``folder`` is where the sources lie; it is made when first needed, and may be deleted at any time."""
        self.folder = folder
        self._compile = compile_here
        self._objects: dict[tuple[str, str, tuple[str, ...], str], asyncio.Task[bytes]] = {}

    def of(self, language: str) -> list[Canary]:
        """Those of a language."""
        return [canary for canary in CANARIES if canary.language == language]

    async def object_of(self, toolchain: Toolchain, flags: Sequence[str], canary: Canary) -> bytes:
        """What the compiler here makes of a canary with these options; empty if it does not compile with them.

        Raises CompilerError if it cannot be run.
        """
        key = (toolchain.fingerprint, toolchain.driver, tuple(flags), canary.name)
        task = self._objects.get(key)
        if task is None:
            if len(self._objects) >= MAX_REMEMBERED:
                for old in [other for other, done in self._objects.items() if done.done()]:
                    del self._objects[old]
            task = self._objects[key] = asyncio.create_task(self._made(toolchain, tuple(flags), canary))
        try:
            # Others wait for the same: one that is cancelled must not take it from them.
            return await asyncio.shield(task)
        except CompilerError:
            self._objects.pop(key, None)
            raise

    async def _made(self, toolchain: Toolchain, flags: tuple[str, ...], canary: Canary) -> bytes:
        self.write()
        return await self._compile(toolchain, command(flags, canary), self.folder)

    def write(self) -> None:
        """Have the sources in their folder. Raises CompilerError."""
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            for canary in CANARIES:
                path = os.path.join(self.folder, canary.name)
                with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
                    if file.read() == canary.text:
                        continue
                with open(path, "w", encoding="ascii") as file:
                    file.write(canary.text)
        except OSError as error:
            raise CompilerError(f"{self.folder} cannot be written", error.strerror or str(error)) from error

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._objects.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._objects.clear()


def command(flags: Sequence[str], canary: Canary) -> list[str]:
    """The arguments that compile a canary."""
    return [*flags, "-w", "-x", canary.language, "-c", canary.name]
