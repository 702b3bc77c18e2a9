"""The closed list of answers to "why did this job run there?".

Every job ends in one record, and every record carries exactly one of these. ``code`` is what records
and ``--json`` output hold (stable, never reused); ``sentence`` is shown to people; ``hint`` says what
the user can do about it, and is empty where there is nothing to do.
"""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """Where a job with this reason ended."""

    REMOTE = "remote"
    LOCAL = "local"
    FAILED_OVER = "failed_over"


class Reason(Enum):
    """Why a job ran where it ran."""

    def __init__(self, code: str, kind: Kind, sentence: str, hint: str) -> None:
        self.code = code
        self.kind = kind
        self.sentence = sentence
        self.hint = hint

    # -- done by a node
    REMOTE = ("remote", Kind.REMOTE, "compiled on a node", "")
    CACHED = ("cached", Kind.REMOTE, "answered from a node's result cache", "")

    # -- done by a stock distccd
    STOCK = ("stock", Kind.REMOTE, "compiled by a stock distccd, to the same bytes as here", "")
    STOCK_COLUMNS = (
        "stock-columns",
        Kind.REMOTE,
        "compiled by a stock distccd from preprocessed source, in which columns change: debug information may differ,"
        " and without -O code",
        'run manycc node on that host, or set same_bytes = "required" to do without it',
    )
    STOCK_MESSAGES = (
        "stock-messages",
        Kind.REMOTE,
        "compiled by a stock distccd, with warnings that do not show the source as they do here",
        'run manycc node on that host, or set same_bytes = "required" to do without it',
    )

    # -- decided on the client from the command line: nothing went wrong
    NOT_COMPILE = ("not-compile", Kind.LOCAL, "links, or does nothing that can be sent", "")
    PREPROCESS_ONLY = ("preprocess-only", Kind.LOCAL, "only preprocesses", "")
    NO_SOURCE = ("no-source", Kind.LOCAL, "names no source file", "")
    SEVERAL_SOURCES = (
        "several-sources",
        Kind.LOCAL,
        "compiles several sources in one command",
        "give each source a command of its own",
    )
    STDIN_SOURCE = ("stdin-source", Kind.LOCAL, "reads its source from standard input", "write the source to a file")
    LANGUAGE = ("language", Kind.LOCAL, "is in a language that is not sent", "")
    UNKNOWN_OPTION = (
        "unknown-option",
        Kind.LOCAL,
        "has an option manycc does not know",
        "report the option, so that its table can learn it",
    )
    LOCAL_OPTION = (
        "local-option",
        Kind.LOCAL,
        "has an option that only works on this machine",
        "manycc explain names the option: without it the job could be sent",
    )
    BAD_COMMAND = (
        "bad-command",
        Kind.LOCAL,
        "has a command line the compiler will refuse",
        "see the compiler's own message",
    )
    OUTPUT_SPECIAL = (
        "output-special",
        Kind.LOCAL,
        "writes to something that is not a plain file",
        "write to a plain file",
    )
    OUTPUT_FOLDER = (
        "output-folder",
        Kind.LOCAL,
        "its output folder is missing or not writable",
        "see the compiler's own message, and the folder's permissions",
    )
    NATIVE_DEBUG = (
        "native-debug",
        Kind.LOCAL,
        "uses -march=native with -g, which records the spelling of the options",
        "name the architecture instead of native",
    )
    NATIVE_TARGET = (
        "native-target",
        Kind.LOCAL,
        "zig without -target compiles for this very machine: its processor, kernel and C library",
        "name the target, such as -target x86_64-linux-gnu",
    )
    ENVIRONMENT = (
        "environment",
        Kind.LOCAL,
        "an environment variable changes which compiler parts run",
        "unset the variable that manycc explain names",
    )
    NOT_A_COMPILER = (
        "not-a-compiler",
        Kind.LOCAL,
        "the command is not a compiler manycc knows",
        "put manycc before compilers only; for a whole build, manycc run -- make",
    )
    COMPILER_WRAPPER = (
        "compiler-wrapper",
        Kind.LOCAL,
        "the compiler is a script or another wrapper",
        "put manycc in front of the real compiler, or use CCACHE_PREFIX=manycc with ccache",
    )
    NESTED = ("nested", Kind.LOCAL, "was asked for by the very program that manycc runs here for the same job", "")
    DISABLED = ("disabled", Kind.LOCAL, "distribution is switched off (MANYCC_DISABLE)", "unset MANYCC_DISABLE")

    # -- decided from the inputs
    SOURCE_UNREADABLE = ("source-unreadable", Kind.LOCAL, "the source cannot be read", "see the compiler's own message")
    PRECOMPILED_HEADER = (
        "precompiled-header",
        Kind.LOCAL,
        "uses a precompiled header",
        "build without precompiled headers: what they save here keeps the nodes from helping",
    )
    MODULES = ("modules", Kind.LOCAL, "uses C++ modules", "sources that neither make nor import modules are sent")
    TIMESTAMP_MACRO = (
        "timestamp-macro",
        Kind.LOCAL,
        "uses a macro that holds a time only this machine knows",
        "leave __TIMESTAMP__ out of the source; for __DATE__ and __TIME__, set SOURCE_DATE_EPOCH",
    )
    COMPUTED_INCBIN = (
        "computed-incbin",
        Kind.LOCAL,
        "includes a binary file whose name is computed",
        "name the file literally in .incbin",
    )
    INPUTS_UNKNOWN = (
        "inputs-unknown",
        Kind.LOCAL,
        "its inputs could not be found out",
        "see the detail in manycc explain, and report it if the command is an ordinary one",
    )
    INPUT_TOO_LARGE = (
        "input-too-large",
        Kind.LOCAL,
        "an input is larger than may be sent",
        "keep large data out of sources: link it in instead",
    )

    # -- decided by the scheduler
    TRIAL_COMPILE = (
        "trial-compile",
        Kind.LOCAL,
        "is a configure step's trial compile, and those were done sooner here",
        "",
    )
    LOCAL_SLOT = ("local-slot", Kind.LOCAL, "a local slot was the best place", "")
    NO_HOSTS = ("no-hosts", Kind.LOCAL, "no hosts are configured", "set MANYCC_HOSTS or use manycc run")
    HOSTS_DOWN = ("hosts-down", Kind.FAILED_OVER, "no configured host answers", "see manycc hosts")
    NO_TOOLCHAIN = (
        "no-toolchain",
        Kind.FAILED_OVER,
        "no host can serve this compiler",
        "manycc explain says why, and manycc toolchain match HOST what to type there",
    )
    QUARANTINED = (
        "quarantined",
        Kind.FAILED_OVER,
        "the hosts with this compiler are quarantined: one returned other bytes than the compiler here writes",
        "see manycc hosts and the report it names; when the host is sound again, manycc verify --forgive HOST",
    )
    STOCK_CANNOT = (
        "stock-cannot",
        Kind.LOCAL,
        "asks for what a stock distccd cannot do, or not to the same bytes",
        "manycc explain says what: run manycc node on a host instead of distccd",
    )
    NOT_EQUIVALENT = (
        "not-equivalent",
        Kind.LOCAL,
        "no host is proven to write the same bytes for this command: they have compilers that are only alike",
        "manycc explain says what differs: install the same revision of the compiler on the node",
    )
    SAME_BYTES = (
        "same-bytes",
        Kind.LOCAL,
        'stock distccd hosts are not used, since same_bytes is "required"',
        'run manycc node on the hosts, or set same_bytes = "preferred"',
    )
    PREPROCESS_FAILED = (
        "preprocess-failed",
        Kind.LOCAL,
        "could not be preprocessed for a stock distccd",
        "see the compiler's own message",
    )

    # -- something went wrong with a node or on the way: the job was done again, locally
    NODE_LOST = (
        "node-lost",
        Kind.FAILED_OVER,
        "the connection to the node was lost",
        "see the node's log, and the network, if it comes again",
    )
    NODE_TIMEOUT = (
        "node-timeout",
        Kind.FAILED_OVER,
        "the node did not answer in time",
        "see manycc hosts: the node may be overloaded or its network slow",
    )
    NODE_REFUSED = ("node-refused", Kind.FAILED_OVER, "the node refused the job", "see manycc explain for its sentence")
    NODE_BUSY = (
        "node-busy",
        Kind.FAILED_OVER,
        "the node had no room for the job",
        "lower the slots of that host in MANYCC_HOSTS, or its --jobs",
    )
    NODE_MEMORY = (
        "node-memory",
        Kind.FAILED_OVER,
        "the node had too little memory for the job",
        "give the node fewer slots, or more memory",
    )
    NODE_DISK = ("node-disk", Kind.FAILED_OVER, "the node's disk or store failed", "free space on the node")
    NODE_FAULT = ("node-fault", Kind.FAILED_OVER, "the node had an internal error", "see the node's log")
    PROTOCOL = (
        "protocol",
        Kind.FAILED_OVER,
        "the peer does not speak manycc's protocol",
        "check that the address is a manycc node of a matching version",
    )
    INPUTS_CHANGED = (
        "inputs-changed",
        Kind.FAILED_OVER,
        "an input kept changing while it was sent",
        "let nothing rewrite sources while they are compiled",
    )
    COMPILER_KILLED = (
        "compiler-killed",
        Kind.FAILED_OVER,
        "the compiler on the node was killed or hit a limit",
        "see the node's log: a limit on memory or time (manycc node --help), or its kernel",
    )
    WRONG_OBJECT = (
        "wrong-object",
        Kind.FAILED_OVER,
        "the node returned an object of another kind",
        "see the node's log; it gets no jobs for a while",
    )
    UNEXPECTED_OUTPUT = (
        "unexpected-output",
        Kind.FAILED_OVER,
        "the node returned other files than the command writes",
        "report the command: its outputs are not fully known",
    )
    REMOTE_ERROR = (
        "remote-error",
        Kind.FAILED_OVER,
        "the compile failed on the node and was repeated here",
        "nothing if it fails here, too; else report it with manycc explain",
    )
    OUTPUT_FAILED = (
        "output-failed",
        Kind.FAILED_OVER,
        "the outputs could not be written",
        "free space in the output folder",
    )

    # -- something went wrong with the agent: the launcher ran the compiler
    AGENT_LOST = ("agent-lost", Kind.FAILED_OVER, "the agent died", "see the agent's log")
    AGENT_SILENT = ("agent-silent", Kind.FAILED_OVER, "the agent did not answer in time", "see the agent's log")
    AGENT_MISSING = ("agent-missing", Kind.FAILED_OVER, "the agent could not be started", "see manycc doctor")
    AGENT_FAULT = ("agent-fault", Kind.FAILED_OVER, "the agent had an internal error", "see the agent's log")
    CANCELLED = ("cancelled", Kind.LOCAL, "the caller went away before the job was done", "")


BY_CODE: dict[str, Reason] = {reason.code: reason for reason in Reason}
