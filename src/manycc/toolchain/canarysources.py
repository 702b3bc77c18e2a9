"""The sources of the canaries (``canaries.py``).

Each touches what distributions configure differently (PIE, stack protector, CET, unwind
tables, the package's name in .ident) and what depends on the processor or the language (TLS, varargs,
atomics, vectors, floats, exceptions, templates; in assembly alignment, relaxation, sections). They need no header,
and macros keep away what options forbid. What is written for C is compiled as C++, too: two packages' compilers may
differ in a function with alloca, and in nothing else.
"""

from __future__ import annotations

from typing import Final, NamedTuple

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
struct pair { double a; float b[3]; };
struct pair paired(struct pair p, __complex__ double z, float f)
{
    p.a += __real__ (z * z) * f;
    p.b[1] = (float)(p.a < 0 ? -p.a : p.a);
    return p;
}
#else
int none;
#endif
"""

_MORE: Final = r"""
typedef __SIZE_TYPE__ size_type;
typedef long long wide;
struct node { struct node *next, *above; unsigned kind : 3, depth : 13, rest : 16; char name[24]; wide value; };

extern void take(void *, ...);
extern int give(const void *, size_type);
extern struct node *pool;
extern __thread struct node *current;
static __thread unsigned turns;
static const unsigned short steps[] = { 1, 2, 5, 14, 42, 132, 429, 1430, 4862, 16796 };

int __attribute__((stack_protect)) opened(int n, const char *from)
{
    char fixed[40], *open = (char *)__builtin_alloca((size_type)n + 8);
    struct { int before; char middle[16]; int after; } held;
    __builtin_memcpy(fixed, from, sizeof fixed);
    __builtin_memset(open, n, (size_type)n);
    held.before = n;
    take(open, fixed, &held);
    return held.after + fixed[n & 31];
}

long nested(const int *grid, int rows, int columns)
{
    long sum = 0;
    int r, c;
    for (r = 0; r < rows; r++)
        for (c = 0; c < columns; c++) {
            int at = grid[r * columns + c];
            if (at < 0)
                continue;
            sum += at > 1000 ? at / 10 : at % 7;
            if (sum > 1L << 30)
                return sum;
        }
    return sum;
}

void turned(unsigned char *__restrict to, const unsigned char *__restrict from, size_type n)
{
    size_type i;
    for (i = 0; i < n; i++)
        to[i] = (unsigned char)((from[i] << 3 | from[i] >> 5) ^ steps[i % 10]);
}

int walked(struct node *n, int depth)
{
    int found = 0;
    for (; n && depth > 0; n = n->next) {
        if (n->kind == 5 || n->depth > 100u)
            found += walked(n->above, depth - 1);
        else if (n->rest)
            found ^= (int)n->value;
        n->depth++;
        current = n;
        turns++;
    }
    return found;
}

int jumped(const unsigned char *code)
{
    static void *const to[] = { &&stop, &&more, &&less, &&twice };
    int held = 0;
    goto *to[*code & 3];
more: held++; goto *to[*++code & 3];
less: held--; goto *to[*++code & 3];
twice: held *= 2; goto *to[*++code & 3];
stop: return held;
}

wide long_ones(wide a, wide b, unsigned long long c)
{
    wide sum;
    if (__builtin_mul_overflow(a, b, &sum))
        sum = (wide)(c / 10u);
    return sum + (wide)(c >> (b & 63)) + a / 1000003 - (wide)__builtin_bswap64(c) + __builtin_ctz((unsigned)a | 1u);
}

int swapped(int *at, int was, int is)
{
    __sync_synchronize();
    if (__atomic_compare_exchange_n(at, &was, is, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return __atomic_exchange_n(at, was, __ATOMIC_RELEASE);
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}

static int compared(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
void *chosen(int n) { return n ? (void *)compared : (void *)give; }
int called(int (*f)(int, int, int, int, int, int, int, int, int, wide), int n)
{
    return f(n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7, n + 8, (wide)n << 33);
}
const char *said(int n) { return n > 2 ? "the quick brown fox" : n ? "jumps over" : ""; }
int tested(const char *s) { return __builtin_strlen(s) > 3 && __builtin_strcmp(s, "four") ? give(s, 4) : 4; }
int __attribute__((noinline, cold)) rare(void) { take(pool, &pool); return -1; }
int __attribute__((section(".text.elsewhere"))) elsewhere(int n) { return n > 7 ? rare() : n; }
extern int weakly(int) __attribute__((weak));
int __attribute__((visibility("hidden"))) inside(int n) { return weakly ? weakly(n) : n; }
"""

_ASSEMBLY: Final = r"""
    .text
    .globl begin
    .type begin, %function
begin:
    .cfi_startproc
    nop
    .cfi_def_cfa_offset 32
    .p2align 4
    nop
    .cfi_endproc
    .size begin, . - begin
    .section .rodata.words, "aM", %progbits, 4
    .p2align 2
1:  .long 0x01020304, 2f - 1b, end - 1b
2:  .uleb128 300
    .sleb128 -300
    .string "text"
    .byte 1, 2
    .balign 8
end:
    .data
    .weak maybe
    .hidden concealed
concealed: .short 7
    .local own
    .comm own, 16, 8
    .long 0
    .section .init_array, "aw"
    .p2align 3
    .long 0, 0
    .section .comment, "MS", %progbits, 1
    .section .note.GNU-stack, "", %progbits
"""

_ASSEMBLY_WITH_CPP: Final = r"""
#define NAME(end) canary_##end
    .text
    .globl NAME(entry)
    .type NAME(entry), %function
NAME(entry):
    .cfi_startproc
#if defined __x86_64__ || defined __i386__
    jmp NAME(near)
    jz NAME(far)
    call NAME(outside)
    mov $1, %eax
    add $300, %ecx
    lock xaddl %eax, 4(%ebx)
    pushl_or_pushq:
    rep stosb
# ifdef __x86_64__
    movabs $0x1122334455667788, %rax
    mov NAME(outside)@GOTPCREL(%rip), %rdx
    call NAME(outside)@PLT
    movaps %xmm1, %xmm2
# endif
    ret
#elif defined __aarch64__
    b NAME(near)
    bl NAME(outside)
    mov x0, #0x1234
    adrp x1, NAME(outside)
    add x1, x1, :lo12:NAME(outside)
    ldr x2, =0x1122334455667788
    stp x29, x30, [sp, #-16]!
    cbz w3, NAME(near)
    fmadd d0, d1, d2, d3
    ret
    .ltorg
#elif defined __arm__
    b NAME(near)
    bl NAME(outside)
    push {r4, lr}
    ldr r0, =0x12345678
    add r1, r1, r2
    cmp r1, #4
    pop {r4, pc}
    .ltorg
#else
    nop
#endif
    .p2align 6
NAME(near):
    nop
    .cfi_endproc
    .size NAME(entry), . - NAME(entry)
    .fill 400, 1, 0
NAME(far):
    nop
    .section .note.GNU-stack, "", %progbits
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

int buffered(const char *from, unsigned n)
{
    char room[64];
    for (unsigned i = 0; i < n; i++) room[i % sizeof room] = char(from[i] + unseen);
    return outside(room, n);
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
    """One source. ``language`` as for ``-x``; the file's name."""

    language: str
    name: str
    text: str


CANARIES: Final = (
    Canary("c", "canary.c", _C),
    Canary("c", "floats.c", _FLOATS),
    Canary("c++", "canary.cc", _CXX),
    Canary("c++", "floats.cc", _FLOATS),
    Canary("c", "more.c", _MORE),
    Canary("c++", "plain.cc", _C),
    Canary("c++", "more.cc", _MORE),
    Canary("assembler", "canary.s", _ASSEMBLY),
    Canary("assembler-with-cpp", "canary.S", _ASSEMBLY_WITH_CPP),
)

_NOTICE: Final = r"""
static int unused;
int warned(int a, unsigned b, const char *text)
{
    int shadow = a;
    for (;;) { int shadow = 3; if (a < b) break; a += shadow; }
    switch (a) { case 1: a++; case 2: break; }
    if (text == "text") a = 1000000 * 1000000;
    __builtin_printf(text);
    return __builtin_printf("%d", text);
}
int *address(void) { int here = 1; return &here; }
#warning told
"""
_NOTICE_OF_ASSEMBLER: Final = r"""
    .warning "told"
    .byte 1
"""

NOTICES: Final = (
    Canary("c", "notice.c", _NOTICE),
    Canary("c++", "notice.cc", _NOTICE),
    Canary("assembler", "notice.s", _NOTICE_OF_ASSEMBLER),
    Canary("assembler-with-cpp", "notice.S", _NOTICE_OF_ASSEMBLER),
)
"""What compilers have something to say about: are their messages the same, too, in the user's language?"""

MACROS: Final = (Canary("c", "macros.c", "int macros;\n"), Canary("c++", "macros.cc", "int macros;\n"))
"""Compiled so that all that a compiler predefines stands in the object: what no other canary asks about, too."""
