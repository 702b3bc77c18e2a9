"""Names of the -f and -m options that do nothing but change code, macros or messages.

They read and write no file, and print nothing that depends on the machine they run on, so that a
compile that has one may run anywhere. An option that does more is a row of its own in ``options``.

Both lists hold gcc's (to release 15) and clang's (to release 20) names together: an option the other
compiler does not know fails there as it fails here. A name stands for ``-fNAME`` and ``-fno-NAME``; a name that
ends in ``=`` for ``-fNAME=VALUE`` and ``-fno-NAME=VALUE``. Targets of -m: x86, arm, aarch64, riscv,
powerpc, loongarch, mips, s390, sparc, m68k.
"""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


F_NAMES: Final = _words("""
PIC PIE aapcs-bitfield-load aapcs-bitfield-width abi-compat-version= abi-version= access-control addrsig
aggressive-loop-optimizations align-functions align-functions= align-jumps align-jumps= align-labels align-labels=
align-loops align-loops= aligned-allocation aligned-new aligned-new= all-virtual allocation-dce
allow-editor-placeholders allow-leading-underscore allow-parameterless-variadic-functions allow-store-data-races
allow-unsupported alt-external-templates analyzer analyzer-call-summaries analyzer-checker= analyzer-debug-text-art
analyzer-feasibility analyzer-fine-grained analyzer-show-duplicate-count analyzer-show-events-in-system-headers
analyzer-state-merge analyzer-state-purge analyzer-transitivity analyzer-undo-inlining analyzer-verbose-edges
analyzer-verbose-state-changes analyzer-verbosity= android-pad-segment apple-kext apple-link-rtlib apple-pragma-pack
application-extension approx-func argument-alias argument-noalias argument-noalias-anything argument-noalias-global
asan-shadow-offset= asm asm-blocks associative-math assume-nothrow-exception-dtor assume-sane-operator-new
assume-sane-operators-new-delete assume-unique-vtables assumptions async-exceptions asynchronous-unwind-tables
atomic-fine-grained-memory atomic-ignore-denormal-mode atomic-remote-memory auto-import auto-inc-dec autolink
avoid-store-forwarding basic-block-address-map binutils-version= bit-tests blocks borland-extensions bracket-depth=
branch-count-reg branch-target-load-optimize branch-target-load-optimize2 btr-bb-exclusive building-libgcc
building-libgfortran building-libphobos-tests builtin builtin-printf c++-abi= c++-static-destructors caller-saves
canon-prefix-map canonical-system-headers caret-diagnostics caret-diagnostics-max-lines= cf-protection
cf-protection= cf-runtime-abi= char8_t check-data-deps check-new check-pointer-bounds checking checking= cilkplus
clang-abi-compat= clangir code-hoisting combine-stack-adjustments comment-block-commands= common compare-elim
complete-member-pointers complex-arithmetic= concepts concepts-diagnostics-depth= concepts-ts cond-mismatch
condition-coverage conserve-space conserve-stack constant-cfstrings constant-string-class=
constexpr-backtrace-limit= constexpr-cache-depth= constexpr-depth= constexpr-fp-except constexpr-loop-limit=
constexpr-ops-limit= constexpr-steps= contract-assumption-mode= contract-build-level= contract-continuation-mode=
contract-evaluation-semantic= contract-mode= contract-role= contract-semantic= contract-strict-declarations=
contracts contracts-nonattr convergent-functions coro-aligned-allocation coroutines coroutines-ts
coverage-compilation-dir= coverage-mapping coverage-mcdc coverage-prefix-map= cprop-registers crossjumping
cs-profile-generate cs-profile-generate= cse-follow-jumps cse-skip-blocks cx-fortran-rules cx-limited-range
cxx-exceptions data-sections dbg-cnt= dce debug-cpp debug-default-version= debug-info-for-profiling debug-macro
debug-prefix-map= debug-ranges-base-address debug-types-section declone-ctor-dtor declspec deduce-init-list
default-inline defer-pop define-target-os-macros delayed-branch delayed-template-parsing delete-dead-exceptions
delete-null-pointer-checks denormal-fp-math= depfile-entry= devirtualize devirtualize-at-ltrans
devirtualize-speculatively diagnostics-absolute-paths diagnostics-column-origin= diagnostics-column-unit=
diagnostics-escape-format= diagnostics-fixit-info diagnostics-generate-patch diagnostics-hotness-threshold=
diagnostics-json-formatting diagnostics-minimum-margin-width= diagnostics-misexpect-tolerance=
diagnostics-parseable-fixits diagnostics-path-format= diagnostics-print-source-range-info diagnostics-show-caret
diagnostics-show-category= diagnostics-show-context diagnostics-show-context= diagnostics-show-cwe
diagnostics-show-highlight-colors diagnostics-show-hotness diagnostics-show-labels diagnostics-show-line-numbers
diagnostics-show-location= diagnostics-show-nesting diagnostics-show-nesting-levels
diagnostics-show-nesting-locations diagnostics-show-note-include-stack diagnostics-show-option
diagnostics-show-path-depths diagnostics-show-template-tree diagnostics-text-art-charset= diagnostics-urls= digraphs
direct-access-external-data directives-only discard-value-names dollars-in-identifiers
double-square-bracket-attributes dse dwarf-directory-asm dwarf-exceptions dwarf2-cfi-asm early-inlining
elide-constructors elide-type eliminate-dwarf2-dups eliminate-unused-debug-symbols eliminate-unused-debug-types
embed-bitcode embed-bitcode-marker embed-bitcode= emit-all-decls emit-compact-unwind-non-canonical
emit-dwarf-unwind= emit-struct-debug-baseonly emit-struct-debug-detailed= emit-struct-debug-reduced emulated-tls
enforce-eh-specs enum-int-equiv error-limit= escaping-block-tail-calls exceptions excess-precision=
expensive-optimizations experimental-isel experimental-late-parse-attributes experimental-library
experimental-new-constant-interpreter experimental-new-pass-manager experimental-openacc-macro-override
experimental-relative-c++-abi-vtables experimental-sanitize-metadata= experimental-strict-floating-point
ext-numeric-literals extend-arguments= extend-variable-liveness extend-variable-liveness= extended-identifiers
extern-tls-init external-templates fast-math fat-lto-objects file-compilation-dir= file-prefix-map=
file-reproducible fine-grained-bitfield-accesses finite-loops finite-math-only float-store fold-mem-offsets
fold-simple-inlines for-scope force-addr force-dwarf-frame force-emit-vtables force-enable-int128 forward-propagate
fp-contract= fp-eval-method= fp-exception-behavior= fp-int-builtin-inexact fp-model= freestanding friend-injection
function-cse function-sections gcse gcse-after-reload gcse-las gcse-lm gcse-sm gimple global-isel gnat-encodings=
gnu-inline-asm gnu-keywords gnu-runtime gnu-tm gnu-unique gnu89-inline gnuc-version= graphite graphite-identity
guess-branch-probability guiding-decls handle-exceptions hardcfr-check-exceptions hardcfr-check-noreturn-calls=
hardcfr-check-returning-calls hardcfr-skip-leaf harden-compares harden-conditional-branches
harden-control-flow-redundancy hardened hoist-adjacent-loads honor-infinities honor-nans honor-std hosted
huge-objects ident if-conversion if-conversion2 ignore-exceptions ilelist implement-inlines implicit-constexpr
implicit-inline-templates implicit-templates incremental-extensions indirect-inlining inhibit-size-directive inline
inline-atomics inline-functions inline-functions-called-once inline-hint-functions inline-limit=
inline-max-stacksize= inline-small-functions inline-stringops inline-stringops= instrument-function-entry-bare
instrument-functions instrument-functions-after-inlining instrument-functions-exclude-file-list=
instrument-functions-exclude-function-list= integrated-cc1 integrated-objemitter ipa-bit-cp ipa-cp ipa-cp-alignment
ipa-cp-clone ipa-icf ipa-icf-functions ipa-icf-variables ipa-matrix-reorg ipa-modref ipa-profile ipa-pta
ipa-pure-const ipa-ra ipa-reference ipa-reference-addressable ipa-reorder-for-locality ipa-sra ipa-stack-alignment
ipa-strict-aliasing ipa-struct-reorg ipa-vrp ira-algorithm= ira-hoist-pressure ira-loop-pressure ira-region=
ira-share-save-slots ira-share-spill-slots ira-verbose= isolate-erroneous-paths-attribute
isolate-erroneous-paths-dereference ivopts jmc jump-tables keep-gc-roots-live keep-inline-functions
keep-persistent-storage-variables keep-static-consts keep-static-functions keep-system-includes knr-functions
labels-ok lang-info-include-translate lang-info-include-translate-not lang-info-include-translate=
large-source-files late-combine-instructions lax-vector-conversions lax-vector-conversions= leading-underscore
legacy-pass-manager lifetime-dse lifetime-dse= limit-function-alignment limited-precision= live-patching
live-patching= live-range-shrinkage local-ivars loop-block loop-flatten loop-interchange loop-nest-optimize
loop-optimize loop-parallelize-all loop-strip-mine loop-unroll-and-jam lra-remat lto lto-compression-level=
lto-jobs= lto-odr-type-merging lto-partition= lto= macro-backtrace-limit= macro-prefix-map= malloc-dce malloc-dce=
math-errno max-errors= max-include-depth= max-tokens= max-type-align max-type-align= mcdc memory-profile
memory-profile= merge-all-constants merge-constants merge-debug-strings message-length= min-function-alignment=
minimize-whitespace modulo-sched modulo-sched-allow-regmoves move-loop-invariants move-loop-stores ms-compatibility
ms-compatibility-version= ms-define-stdc ms-extensions ms-hotpatch ms-memptr-rep= ms-omit-default-lib ms-tls-guards
ms-volatile msc-version= mudflap mudflapir mudflapth multiple-ve-segments nested-functions new-abi new-alignment=
new-infallible new-inheriting-ctors new-ttp-matching next-runtime nil-receivers non-call-exceptions nonansi-builtins
nonnull-objects nothrow-opt objc-abi-version= objc-arc objc-arc-exceptions objc-avoid-heapify-local-blocks
objc-call-cxx-cdtors objc-convert-messages-to-runtime-calls objc-direct-dispatch
objc-disable-direct-methods-for-testing objc-encode-cxx-class-template-spec objc-exceptions objc-gc
objc-infer-related-result-type objc-legacy-dispatch objc-link-runtime objc-nilcheck objc-nonfragile-abi
objc-nonfragile-abi-version= objc-runtime= objc-sender-dependent-dispatch objc-sjlj-exceptions objc-std= objc-weak
offload-abi= offload-memory= offload-options= offload= omit-frame-pointer openacc openacc-dim= openacc= openmp
openmp-assume-no-nested-parallelism openmp-assume-no-thread-state openmp-assume-teams-oversubscription
openmp-assume-threads-oversubscription openmp-enable-irbuilder openmp-extensions openmp-force-usm
openmp-implicit-rpath openmp-new-driver openmp-offload-mandatory openmp-optimistic-collapse
openmp-relocatable-target openmp-simd openmp-target-debug openmp-target-debug= openmp-target-new-runtime
openmp-target-simd-clone openmp-target-simd-clone= openmp-use-tls openmp= operator-arrow-depth= operator-names
optimization-record-passes= optimize-register-move optimize-sibling-calls optimize-strlen optional-diags
order-file-instrumentation pack-struct pack-struct= parse-all-comments partial-inlining pascal-strings
patchable-function-entry= path-coverage pcc-struct-return peel-loops peephole peephole2 permissive
permitted-flt-eval-methods= pic pie plan9-extensions plt pointer-tbaa predictive-commoning prefetch-loop-arrays
preprocessed preserve-as-comments pretty-templates printf-return-value profile profile-abs-path profile-arcs
profile-continuous profile-correction profile-exclude-files= profile-filter-files= profile-function-groups=
profile-generate profile-info-section profile-info-section= profile-instr-generate profile-instr-generate=
profile-partial-training profile-prefix-map= profile-prefix-path= profile-reorder-functions profile-reproducible=
profile-sample-accurate profile-selected-function-group= profile-update= profile-values pseudo-probe-for-profiling
ptrauth-auth-traps ptrauth-calls ptrauth-elf-got ptrauth-function-pointer-type-discrimination ptrauth-indirect-gotos
ptrauth-init-fini ptrauth-intrinsics ptrauth-objc-isa ptrauth-returns
ptrauth-type-info-vtable-pointer-discrimination ptrauth-vtable-pointer-address-discrimination
ptrauth-vtable-pointer-type-discrimination random-seed random-seed= range-for-ext-temps raw-string-literals
reciprocal-math ree reflection reg-struct-return register-global-dtors-with-atexit regmove
relaxed-template-template-args rename-registers reorder-blocks reorder-blocks-algorithm=
reorder-blocks-and-partition reorder-functions replace-objc-classes reroll-loops rerun-cse-after-loop rerun-loop-opt
reschedule-modulo-scheduled-loops retain-comments-from-system-headers ropi rounding-math rtti rtti-data rwpi
safe-buffer-usage-suggestions sample-profile-use-profi sanitize-address-destructor= sanitize-address-field-padding=
sanitize-address-globals-dead-stripping sanitize-address-outline-instrumentation
sanitize-address-poison-custom-array-cookie sanitize-address-use-after-return sanitize-address-use-after-return=
sanitize-address-use-after-scope sanitize-address-use-odr-indicator sanitize-address-vcasan-lib
sanitize-annotate-debug-info= sanitize-cfi-canonical-jump-tables sanitize-cfi-cross-dso
sanitize-cfi-icall-experimental-normalize-integers sanitize-cfi-icall-generalize-pointers sanitize-coverage=
sanitize-hwaddress-abi= sanitize-hwaddress-experimental-aliasing sanitize-link-c++-runtime sanitize-link-runtime
sanitize-memory-param-retval sanitize-memory-track-origins sanitize-memory-track-origins=
sanitize-memory-use-after-dtor sanitize-memtag-mode= sanitize-minimal-runtime sanitize-recover sanitize-recover=
sanitize-sections= sanitize-stable-abi sanitize-stats sanitize-thread-atomics sanitize-thread-func-entry-exit
sanitize-thread-memory-access sanitize-trap sanitize-trap-loop sanitize-trap= sanitize-type-outlined-instrumentation
sanitize-undefined-strip-path-components= sanitize-undefined-trap-on-error sanitize= sched-critical-path-heuristic
sched-dep-count-heuristic sched-group-heuristic sched-interblock sched-last-insn-heuristic sched-pressure
sched-rank-heuristic sched-spec sched-spec-insn-heuristic sched-spec-load sched-spec-load-dangerous
sched-stalled-insns sched-stalled-insns-dep sched-stalled-insns-dep= sched-stalled-insns= sched-verbose=
sched2-use-superblocks sched2-use-traces schedule-fusion schedule-insns schedule-insns2 section-anchors see
seh-exceptions sel-sched-pipelining sel-sched-pipelining-outer-loops sel-sched-reschedule-pipelined
selective-scheduling selective-scheduling2 semantic-interposition separate-named-sections short-enums short-wchar
show-column show-overloads= show-skipped-includes show-source-location shrink-wrap shrink-wrap-separate
signaling-math signaling-nans signed-bitfields signed-char signed-zeros simd-cost-model= single-precision-constant
sized-deallocation sjlj-exceptions skip-odr-check-in-gmf slp-vectorize spell-checking spell-checking-limit=
split-dwarf-inlining split-ivs-in-unroller split-loops split-lto-unit split-machine-functions split-paths
split-stack split-wide-types split-wide-types-early squangle ssa-backprop ssa-phiopt sso-struct= stack-check
stack-check= stack-clash-protection stack-limit stack-limit-register= stack-limit-symbol= stack-protector
stack-protector-all stack-protector-explicit stack-protector-strong stack-reuse= stack-size-section standalone-debug
stdarg-opt store-merging strength-reduce
strict-aliasing strict-enums strict-flex-arrays strict-flex-arrays= strict-float-cast-overflow strict-overflow
strict-prototype strict-return strict-volatile-bitfields strict-vtable-pointers strong-eval-order strong-eval-order=
strub= struct-path-tbaa symbol-partition= sync-libcalls tabstop= temp-file template-backtrace-limit= template-depth=
this-is-variable thread-jumps threadsafe-statics tls-model= tm toplevel-reorder tracer track-macro-expansion
track-macro-expansion= trampoline-impl= trampolines trap-function= trapping-math trapv trapv-handler= tree-bit-ccp
tree-builtin-call-dce tree-ccp tree-ch tree-coalesce-inlined-vars tree-coalesce-vars tree-copy-prop tree-copyrename
tree-cselim tree-dce tree-dominator-opts tree-dse tree-forwprop tree-fre tree-loop-distribute-patterns
tree-loop-distribution tree-loop-if-convert tree-loop-if-convert-stores tree-loop-im tree-loop-ivcanon
tree-loop-linear tree-loop-optimize tree-loop-vectorize tree-lrs tree-parallelize-loops= tree-partial-pre
tree-phiprop tree-pre tree-pta tree-reassoc tree-salias tree-scev-cprop tree-sink tree-slp-vectorize tree-slsr
tree-sra tree-store-ccp tree-store-copy-prop tree-switch-conversion tree-tail-merge tree-ter tree-vect-loop-version
tree-vectorize tree-vectorizer-verbose= tree-vrp trigraphs trivial-auto-var-init-max-size=
trivial-auto-var-init-stop-after= trivial-auto-var-init= unconstrained-commons unified-lto
unique-basic-block-section-names unique-internal-linkage-names unique-section-names unit-at-a-time unreachable-traps
unroll-all-loops unroll-completely-grow-size unroll-loops unsafe-loop-optimizations unsafe-math-optimizations
unsigned-bitfields unsigned-char unswitch-loops unwind-tables use-cxa-atexit use-cxa-get-exception-ptr
use-init-array use-ld= use-line-directives use-linker-plugin validate-ast-input-files-content var-tracking
var-tracking-assignments var-tracking-assignments-toggle var-tracking-uninit variable-expansion-in-unroller veclib=
vect-cost-model vect-cost-model= vectorize verify-intermediate-code version-loops-for-strides
virtual-function-elimination visibility-dllexport= visibility-externs-dllimport=
visibility-externs-nodllstorageclass= visibility-from-dllstorageclass visibility-global-new-delete-hidden
visibility-global-new-delete= visibility-inlines-hidden visibility-inlines-hidden-static-local-var
visibility-ms-compat visibility-nodllstorageclass= visibility= vpt vtable-gc vtable-thunks vtable-verify=
wasm-exceptions weak web whole-program whole-program-vtables working-directory wrapv wrapv-pointer writable-strings
xl-pragma-pack xray-always-emit-customevents xray-always-emit-typedevents xray-function-groups= xray-function-index
xray-ignore-loops xray-instruction-threshold xray-instruction-threshold= xray-instrument
xray-instrumentation-bundle= xray-link-deps xray-modes= xray-selected-function-group= zee zero-call-used-regs=
zero-init-padding-bits= zero-initialized-in-bss
""")

M_NAMES: Final = _words("""
128bit-long-double 3dnow 3dnowa 68000 68010 68020 68030 68040 68060 68881 80387 8bit-idiv 96bit-long-double abicalls
abm abort-on-noreturn abs= accumulate-outgoing-args address-mode= adjust-lmul-cost ads adx aes
aix-shared-lib-tls-model-opt aix-small-local-dynamic-tls aix-small-local-exec-tls aix-struct-return aix32 aix64
align-branch-boundary= align-branch-targets align-branch= align-data= align-double align-functions= align-jumps=
align-loops= align-natural align-power align-stringops allow-movmisalign altivec always-hint amdgpu-ieee
amdgpu-precise-memory-op amx-avx512 amx-bf16 amx-complex amx-fp16 amx-fp8 amx-int8 amx-movrs amx-tf32 amx-tile
amx-transpose android annotate-tablejump apcs apcs-frame apcs-reentrant apcs-stack-check apx-features=
apx-inline-asm-use-gpr32 apxf arm64x asm-syntax-unified asm= atomics autovec-segment avoid-indexed-addresses avx
avx10-max-512bit avx10.1 avx10.1-256 avx10.1-512 avx10.2 avx10.2-256 avx10.2-512 avx2 avx256-split-unaligned-load
avx256-split-unaligned-store avx5124fmaps avx5124vnniw avx512bf16 avx512bitalg avx512bw avx512cd avx512dq avx512er
avx512f avx512fp16 avx512ifma avx512pf avx512vbmi avx512vbmi2 avx512vl avx512vnni avx512vp2intersect avx512vpopcntdq
avxifma avxneconvert avxvnni avxvnniint16 avxvnniint8 backchain be32 be8 big bionic bit-align bit-word
block-compare-inline-limit= block-compare-inline-loop-limit= block-move-inline-limit= block-ops-unaligned-vsx
block-ops-vector-pair bmi bmi2 branch-cost= branch-likely branch-protection= branches-within-32B-boundaries bss-plt
bti-at-return-twice bulk-memory cabac call-ms2sysv-xlogues callee-super-interworking caller-super-interworking
cet-switch check-zero-division cld cldemote clflushopt clwb clzero cmodel= cmpb cmpccxadd cmse code-object-v3
code-object-version= compact-branches= compat-align-parm console constant-cfstrings constructor-aliases crbits crc
crc32 crtdll= crypto csr-check cumode cx16 daz-ftz default-visibility-export-mapping= direct-extern-access
direct-move dispatch-scheduler div div32 dll dlmzb double-float double= dsp dspr2 dump-tune-features dword
dynamic-no-pic eabi early-ldp-fusion early-ra efficient-unaligned-vsx efpu2 emb embedded-data
enable-experimental-extensions enable-unsafe-fp-math enqcmd evex512 exception-handling exec-model= execute-only
explicit-relocs extended-const extern-sdata f16c fancy-math-387 fdiv fdpic fentry fentry-name= fentry-section=
fix-cmse-cve-2021-35465 fix-cortex-a53-835769 fix-cortex-a53-843419 fix-cortex-a57-aes-1742098
fix-cortex-a72-aes-1655431 fix-cortex-m3-ldrd fix4300 flip-thumb float128 float128-convert float128-hardware fma
fma4 fmv force-drap force-indirect-call forced-sw-shadow-stack fp-in-toc fp-ret-in-387 fp16-format= fp32 fp64
fpmath= fprnd fpu fpxx frame-chain= frecipe friz fsgsbase fsmuld full-toc function-return= fused-madd fxsr
gather gen-cell-microcode general-regs-only gfni ginv glibc global-merge gnu-attribute gpopt guard= half-precision
hard-dfp hard-float hard-quad-float harden-sls= hle hreset htm hvx hvx-ieee-fp hvx-length= hvx-qfloat hvx= hwdiv=
hwmult= iamcu ibt-seal ieee-fp ieee-rnd-near ieee128-constant ignore-xcoff-visibility implicit-float implicit-it=
incoming-stack-boundary= incremental-linker-compatible indirect-branch-cs-prefix indirect-branch-register
indirect-branch= indirect-jump= inline-all-stringops inline-atomics inline-strcmp inline-stringops-dynamically
inline-strlen inline-strncmp insert-sched-nops= instrument-return= intel-syntax invariant-function-descriptors
invpcid ios-simulator-version-min= ios-version-min= iphoneos-version-min= ips1 ips16 ips2 ips3 ips32 ips32r2 ips32r3
ips32r5 ips32r6 ips4 ips5 ips64 ips64r2 ips64r3 ips64r5 ips64r6 isa-spec= isel kernel kl lam-bh lam= lamcas
large-data-threshold= lasx late-ldp-fusion ld-seq-sa ldc1-sdc1 little local-sdata long-calls long-double-128
long-double-64 long-double-80 longcall low-precision-div low-precision-recip-sqrt low-precision-sqrt
lr-for-calls-only lra lsx lvi-cfi lvi-hardening lwp lzcnt macos-version-min= macosx-version-min= madd4 manual-endbr
mark-bti-property max-vectorization memcpy-strategy= memops memset-strategy= mfcrf mfocrf mfpgpr micromips
minimal-toc mips16 mitigate-rop mma mmx modulo movbe movcc movdir64b movdiri move-max= movrs movt mpx ms-bitfields
msa mt mulhw multimemory multiple multivalue musl mutable-globals mvme mwait mwaitx nan= needed neg-immediates
neon-for-64bits newlib nocrc nontrapping-fptoint nop-mcount noreturn-no-callee-saved-registers nvj nvs odd-spreg
omit-leaf-frame-pointer optimize-swaps outline outline-atomics override= packed-stack packets pad-max-prefix-size=
paired-vector-memops partial-vector-fp-math pc-relative-literal-loads pc32 pc64 pc80 pclmul pcommit pconfig pcrel
pcrel-opt pic-data-is-text-relative pic-register= pku plt pltseq pointers-to-nested-functions poke-function-name
popc popcnt popcntb popcntd power10 power10-fusion power10-vector power8-fusion power8-fusion-sign power8-vector
power9-minmax power9-misc power9-vector powerpc powerpc-gfxopt powerpc-gpopt powerpc64 prefer-avx128
prefer-vector-width= preferred-stack-boundary= prefetchi prefetchwt1 prefixed prfchw print-tune-info printf-kind=
prioritize-restricted-insns= privileged profile-kernel prototype ptwrite pure-code push-args qdsp6-compat
quad-memory quad-memory-atomic raoint rdpid rdpru rdrnd rdseed readonly-in-sdata recip recip-precision recip=
record-mcount record-return red-zone reference-types regnames regparm= relative-jumptables relax relax-all
relax-cmpxchg-loop relax-pic-calls relaxed-simd relocatable relocatable-lib restrict-it retpoline
retpoline-external-thunk riscv-attribute rop-protect rtd rtm rvv-max-lmul= rvv-vector-bits= sahf save-restore
save-toc-indirect scalar-strict-align scatter sched-costly-dep= sched-epilog sched-groups sched-prolog sdata sdata=
secure-plt serialize seses sgx sha sha512 shlib shorten-memrefs shstk sign-ext sign-return-address= sim simd128
simd= single-float single-pic-base skip-rax-setup slow-flash-data sm3 sm4 small-data-limit= small-data-threshold=
soft-float soft-quad-float spe speculate-indirect-jumps speculative-load-hardening splat-float-constant
splat-word-constant sse sse2 sse2avx sse3 sse4 sse4.1 sse4.2 sse4a sse5 sseregparm ssse3 stack-alignment=
stack-arg-probe stack-probe-size= stack-protector-guard-offset= stack-protector-guard-reg=
stack-protector-guard-symbol= stack-protector-guard= stackrealign store-max= strict-align string
string-compare-inline-limit= stringop-strategy= structure-size-boundary= stv sum-in-toc sve-vector-bits=
svr4-struct-return tail-call targetos= tbm tgsplit threads thumb-interwork tls-dialect= tls-direct-seg-refs
tls-size= toc tocdata tocdata= tp= tpcs-frame tpcs-leaf-frame traceback traceback= track-speculation tsxldtrk
tune-ctrl= tvos-version-min= uclibc uintr unaligned-access unaligned-symbols unicode unroll-only-small-loops
unsafe-fp-atomics update user_msr usermsr v5 v55 v60 v62 v65 v66 v67 v67t v68 v69 v71 v71t v73 vaes veclibabi=
vect8-ret-in-mem vector-strict-align vectorize-with-neon-double vectorize-with-neon-quad verbose-cost-dump vevpu
virt vis vis2 vis3 vpclmulqdq vrsave vrsave= vscale-max= vscale-min= vsx vsx-align-128 vsx-timode vx vzeroupper
waitpkg warn-altivec-long warn-nonportable-cfstrings watchos-simulator-version-min= watchos-version-min=
wavefrontsize64 wbnoinvd widekl win32 windows word-relocations x87 xcoff-build-id= xcoff-roptr xgot xl-compat xop
xsave xsavec xsaveopt xsaves yellowknife
""")
