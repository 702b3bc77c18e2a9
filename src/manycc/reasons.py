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
    STDIN_SOURCE = ("stdin-source", Kind.LOCAL, "reads its source from standard input", "")
    LANGUAGE = ("language", Kind.LOCAL, "is in a language that is not sent", "")
    UNKNOWN_OPTION = (
        "unknown-option",
        Kind.LOCAL,
        "has an option manycc does not know",
        "report the option, so that its table can learn it",
    )
    LOCAL_OPTION = ("local-option", Kind.LOCAL, "has an option that only works on this machine", "")
    BAD_COMMAND = ("bad-command", Kind.LOCAL, "has a command line the compiler will refuse", "")
    OUTPUT_SPECIAL = ("output-special", Kind.LOCAL, "writes to something that is not a plain file", "")
    OUTPUT_FOLDER = ("output-folder", Kind.LOCAL, "its output folder is missing or not writable", "")
    NATIVE_DEBUG = (
        "native-debug",
        Kind.LOCAL,
        "uses -march=native with -g, which records the spelling of the options",
        "name the architecture instead of native",
    )
    ENVIRONMENT = ("environment", Kind.LOCAL, "an environment variable changes which compiler parts run", "")
    NOT_A_COMPILER = ("not-a-compiler", Kind.LOCAL, "the command is not a compiler manycc knows", "")
    COMPILER_WRAPPER = (
        "compiler-wrapper",
        Kind.LOCAL,
        "the compiler is a script or another wrapper",
        "put manycc in front of the real compiler, or use CCACHE_PREFIX=manycc with ccache",
    )
    DISABLED = ("disabled", Kind.LOCAL, "distribution is switched off (MANYCC_DISABLE)", "")

    # -- decided from the inputs
    SOURCE_UNREADABLE = ("source-unreadable", Kind.LOCAL, "the source cannot be read", "")
    PRECOMPILED_HEADER = ("precompiled-header", Kind.LOCAL, "uses a precompiled header", "")
    MODULES = ("modules", Kind.LOCAL, "uses C++ modules", "")
    TIMESTAMP_MACRO = ("timestamp-macro", Kind.LOCAL, "uses a macro that holds a time only this machine knows", "")
    COMPUTED_INCBIN = ("computed-incbin", Kind.LOCAL, "includes a binary file whose name is computed", "")
    INPUTS_UNKNOWN = ("inputs-unknown", Kind.LOCAL, "its inputs could not be found out", "")
    INPUT_TOO_LARGE = ("input-too-large", Kind.LOCAL, "an input is larger than may be sent", "")

    # -- decided by the scheduler
    LOCAL_SLOT = ("local-slot", Kind.LOCAL, "a local slot was the best place", "")
    NO_HOSTS = ("no-hosts", Kind.LOCAL, "no hosts are configured", "set MANYCC_HOSTS or use manycc run")
    HOSTS_DOWN = ("hosts-down", Kind.FAILED_OVER, "no configured host answers", "see manycc hosts")
    NO_TOOLCHAIN = ("no-toolchain", Kind.FAILED_OVER, "no host has this very compiler", "see manycc explain")

    # -- something went wrong with a node or on the way: the job was done again, locally
    NODE_LOST = ("node-lost", Kind.FAILED_OVER, "the connection to the node was lost", "")
    NODE_TIMEOUT = ("node-timeout", Kind.FAILED_OVER, "the node did not answer in time", "")
    NODE_REFUSED = ("node-refused", Kind.FAILED_OVER, "the node refused the job", "")
    NODE_BUSY = ("node-busy", Kind.FAILED_OVER, "the node had no room for the job", "")
    NODE_MEMORY = ("node-memory", Kind.FAILED_OVER, "the node had too little memory for the job", "")
    NODE_DISK = ("node-disk", Kind.FAILED_OVER, "the node's disk or store failed", "free space on the node")
    NODE_FAULT = ("node-fault", Kind.FAILED_OVER, "the node had an internal error", "see the node's log")
    PROTOCOL = (
        "protocol",
        Kind.FAILED_OVER,
        "the peer does not speak manycc's protocol",
        "check that the address is a manycc node of a matching version",
    )
    INPUTS_CHANGED = ("inputs-changed", Kind.FAILED_OVER, "an input kept changing while it was sent", "")
    COMPILER_KILLED = ("compiler-killed", Kind.FAILED_OVER, "the compiler on the node was killed or hit a limit", "")
    WRONG_OBJECT = ("wrong-object", Kind.FAILED_OVER, "the node returned an object of another kind", "")
    UNEXPECTED_OUTPUT = (
        "unexpected-output",
        Kind.FAILED_OVER,
        "the node returned other files than the command writes",
        "",
    )
    REMOTE_ERROR = ("remote-error", Kind.FAILED_OVER, "the compile failed on the node and was repeated here", "")
    OUTPUT_FAILED = ("output-failed", Kind.FAILED_OVER, "the outputs could not be written", "")

    # -- something went wrong with the agent: the launcher ran the compiler
    AGENT_LOST = ("agent-lost", Kind.FAILED_OVER, "the agent died", "see the agent's log")
    AGENT_SILENT = ("agent-silent", Kind.FAILED_OVER, "the agent did not answer in time", "see the agent's log")
    AGENT_MISSING = ("agent-missing", Kind.FAILED_OVER, "the agent could not be started", "see manycc doctor")
    AGENT_FAULT = ("agent-fault", Kind.FAILED_OVER, "the agent had an internal error", "see the agent's log")
    CANCELLED = ("cancelled", Kind.LOCAL, "the caller went away before the job was done", "")


BY_CODE: dict[str, Reason] = {reason.code: reason for reason in Reason}
