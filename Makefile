# SPDX-License-Identifier: MIT
#
# One make for the whole tree, without recursion: every rule stands here, and a source file that appears in a folder is
# built without an edit. Outputs lie in build/<variant>/{bin,lib,tests,obj}. A variant is one set of compiler flags
# (release, asan, tsan, cov, fuzz, afl); another compiler than gcc gets its name appended, so that all live side by side.
# The only sub-makes are those that ask this same file for another variant (check, demo). `make help` lists the targets.

VERSION := 0.1.0
VARIANT ?= release
ifeq ($(origin CC),default)
CC := gcc
endif
AR_FLAGS := rcsD
WERROR ?= -Werror
CLANG ?= clang
TIDY ?= clang-tidy
FORMAT ?= clang-format

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
DATADIR ?= $(PREFIX)/share/kvpager
DOCDIR ?= $(PREFIX)/share/doc/kvpager
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
PRESETDIR ?= $(PREFIX)/lib/systemd/system-preset
CATALOGDIR ?= $(PREFIX)/lib/systemd/catalog
BASHCOMPDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHCOMPDIR ?= $(PREFIX)/share/zsh/site-functions
FISHCOMPDIR ?= $(PREFIX)/share/fish/vendor_completions.d

# A folder with public serving traces for tests and demo; without one they use a seeded load of the same kind.
KVPAGER_TRACES ?= $(abspath $(wildcard ../shared/traces))
export KVPAGER_TRACES

# How much the simulation does in `make check` (SIM_ASAN_SEEDS of it once more under ASan).
SIM_SEEDS ?= 2000
SIM_ASAN_SEEDS ?= 100
SIM_EVENTS ?= 5000
# How long `make fuzz` looks, all targets together, and with what: libfuzzer or afl.
MINUTES ?= 6
FUZZER ?= libfuzzer

CC_NAME := $(notdir $(firstword $(filter-out ccache,$(CC))))
O := build/$(VARIANT)$(if $(filter gcc gcc-% afl-%,$(CC_NAME)),,-$(CC_NAME))
OBJ := $(O)/obj
LIB := $(O)/lib
BIN := $(O)/bin
TESTS := $(O)/tests
KERNEL_IMAGE := build/kernels/kernels.fatbin

# With V=1 commands are shown; without, one line a product.
ifeq ($(V),1)
quiet :=
else
quiet = @printf '  %-5s %s\n' '$(1)' '$(patsubst build/%,%,$@)';
endif
# A sub-make runs on all cores where the caller did not say how many.
JOBS = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))

# ---- Flags -----------------------------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wformat=2 -Wvla -Wcast-align -Wstrict-prototypes \
        -Wmissing-prototypes -Wswitch-enum -Wimplicit-fallthrough $(WERROR)
# The same sources give the same bytes wherever they lie.
REPRODUCIBLE := -ffile-prefix-map=$(CURDIR)=.
FORTIFY := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3

OPT_release := -O2 -g $(FORTIFY) $(REPRODUCIBLE)
OPT_asan := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all $(REPRODUCIBLE)
OPT_tsan := -O1 -g -fno-omit-frame-pointer -fsanitize=thread $(REPRODUCIBLE)
OPT_cov := -O0 -g -fprofile-arcs -ftest-coverage -fprofile-update=atomic
OPT_fuzz := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
OPT_afl := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
ifeq ($(origin OPT_$(VARIANT)),undefined)
$(error VARIANT=$(VARIANT) is none of: release asan tsan cov fuzz afl)
endif
SANITIZE := $(filter -fsanitize=% -fprofile-arcs,$(OPT_$(VARIANT)))

# _GNU_SOURCE is defined empty, so that a file which defines it for itself agrees.
BASE_CFLAGS := -std=gnu17 -D_GNU_SOURCE= -DKVPAGER_VERSION='"$(VERSION)"' $(WARN) -fstack-protector-strong \
               $(CPPFLAGS) $(CFLAGS) $(OPT_$(VARIANT))
BASE_LDFLAGS := -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--as-needed $(SANITIZE) $(LDFLAGS)
PROG_LDFLAGS := -pie $(BASE_LDFLAGS)
# A sanitized library finds the sanitizer's symbols in the program that loads it.
SO_LDFLAGS := -shared -Wl,-soname,libkvpager.so.0 $(BASE_LDFLAGS) $(if $(SANITIZE),,-Wl,-z,defs)

# Layers: a folder sees itself and what lies to its left, and nothing else. FLAGS is what a folder adds.
BASE_I := -Idaemon/base
CORE_I := $(BASE_I) -Idaemon/core
DEV_I := $(CORE_I) -Idaemon/dev -Iclient/proto
SHELL_I := $(DEV_I) -Idaemon/holder -Idaemon/shell
CLIENT_I := -Iclient/proto -Iclient/include
# Tests see everything. Where two folders have a header of one name, a test gives the path from the root.
TEST_I := -Itests/unit -Itests/sim $(SHELL_I) $(CLIENT_I) -Iclient/lib -Iclient/cli -Iclient/replay -Ikernels -Ikernels/ref -I.

$(OBJ)/daemon/base/%: FLAGS := -fPIE $(BASE_I)
$(OBJ)/daemon/core/%: FLAGS := -fPIE $(CORE_I)
$(OBJ)/daemon/dev/%: FLAGS := -fPIE $(DEV_I)
$(OBJ)/daemon/holder/%: FLAGS := -fPIE $(BASE_I) -Idaemon/dev -Idaemon/holder
$(OBJ)/daemon/shell/%: FLAGS := -fPIE $(SHELL_I)
$(OBJ)/client/proto/%: FLAGS := -fPIC -fvisibility=hidden -Iclient/proto
$(OBJ)/client/lib/%: FLAGS := -fPIC -fvisibility=hidden -pthread $(CLIENT_I) -Iclient/lib
$(OBJ)/client/cli/%: FLAGS := -fPIE $(CLIENT_I) -Iclient/cli
$(OBJ)/client/replay/%: FLAGS := -fPIE -pthread $(CLIENT_I) -Iclient/cli -Iclient/replay -Ikernels -Ikernels/ref
$(OBJ)/kernels/%: FLAGS := -fPIE -Ikernels -DKERNEL_IMAGE='"$(KERNEL_IMAGE)"'
$(OBJ)/kernels/ref/%: FLAGS := -fPIE -Ikernels -Ikernels/ref
# The skeletons are made by bpftool, whose style is its own.
$(OBJ)/bpf/%: FLAGS := -fPIE $(CLIENT_I) -Iclient/cli -Ibpf -isystem $(O)/bpf
$(OBJ)/man/%: FLAGS := -fPIE -Iclient/proto -Iclient/cli
$(OBJ)/tests/%: FLAGS := -fPIE -pthread $(TEST_I)
# What is loaded into other programs defines what libc defines, and is not looked into by sanitizers nor counted.
UNWATCHED := -fno-sanitize=all -fno-profile-arcs -fno-test-coverage
$(OBJ)/tests/faults/%: FLAGS := -fPIC -fvisibility=hidden -fno-builtin $(UNWATCHED) -U_FORTIFY_SOURCE -Itests/faults
$(OBJ)/tests/standin/%: FLAGS := -fPIC -fvisibility=hidden $(UNWATCHED) -Iclient/proto -Ikernels -Ikernels/ref

# As if hardware guarded where jumps land.
$(OBJ)/tests/standin/async%: FLAGS := -fPIC -fvisibility=hidden $(UNWATCHED) -Iclient/proto \
        $(if $(filter x86_64,$(shell uname -m)),-fcf-protection=branch)

# ---- What there is to build ------------------------------------------------------------------------------------------

objects = $(patsubst %.c,$(OBJ)/%.o,$(filter-out %.bpf.c,$(wildcard $(1)/*.c)))
# Objects of folders, main.c aside: what goes into an archive.
parts = $(filter-out %/main.o,$(foreach f,$(1),$(call objects,$(f))))

BASE_O := $(call parts,daemon/base)
CORE_O := $(call parts,daemon/core)
DEV_O := $(call parts,daemon/dev)
SHELL_O := $(call parts,daemon/shell daemon/holder)
PROTO_O := $(call parts,client/proto)
CLIENT_O := $(call parts,client/lib)
CLI_O := $(call parts,client/cli)
REPLAY_O := $(call parts,client/replay kernels kernels/ref)
OBSERVE_O := $(call objects,bpf)
BPF_SKELETONS := $(patsubst bpf/%.bpf.c,$(O)/bpf/%.skel.h,$(wildcard bpf/*.bpf.c))

BASE_A := $(if $(BASE_O),$(LIB)/libbase.a)
CORE_A := $(if $(CORE_O),$(LIB)/libcore.a)
DEV_A := $(if $(DEV_O),$(LIB)/libdev.a)
SHELL_A := $(if $(SHELL_O),$(LIB)/libshell.a)
PROTO_A := $(if $(PROTO_O),$(LIB)/libproto.a)
CLIENT_A := $(if $(CLIENT_O),$(LIB)/libkvpager.a)
CLI_A := $(if $(CLI_O),$(LIB)/libcli.a)
REPLAY_A := $(if $(REPLAY_O),$(LIB)/libreplay.a)

DAEMON_A := $(SHELL_A) $(DEV_A) $(CORE_A) $(BASE_A) $(PROTO_A)
ALL_A := $(REPLAY_A) $(CLI_A) $(CLIENT_A) $(DAEMON_A)
CLIENT_SO := $(if $(CLIENT_O),$(LIB)/libkvpager.so)

DAEMON_LIBS := -lsystemd -linih
CLIENT_LIBS := -ljansson -lncursesw -ltinfo -lm
TEST_LIBS := $(DAEMON_LIBS) $(CLIENT_LIBS)

PROGRAMS := $(if $(wildcard daemon/shell/main.c),$(BIN)/kvpagerd) \
            $(if $(wildcard daemon/holder/main.c),$(BIN)/kvpager-holder) \
            $(if $(wildcard client/cli/main.c),$(BIN)/kvpagerctl) \
            $(if $(wildcard client/replay/main.c),$(BIN)/kvpager-replay) \
            $(if $(OBSERVE_O),$(BIN)/kvpager-observe)

MADE_PAGES := $(patsubst man/%.in,$(O)/man/%,$(wildcard man/*.in))

# Tests. In each folder the files named after it are programs; the others are parts that any of them may use.
mains = $(patsubst tests/$(1)/%.c,$(TESTS)/%,$(wildcard tests/$(1)/$(2)-*.c))
helpers = $(filter-out $(OBJ)/tests/$(1)/$(2)-%.o %/main.o,$(call objects,tests/$(1)))

UNIT_T := $(call mains,unit,test)
SYSTEM_T := $(call mains,system,test)
BENCH_T := $(call mains,bench,bench)
FUZZ_T := $(call mains,fuzz,fuzz)
SIM_T := $(if $(wildcard tests/sim/main.c),$(TESTS)/sim)
# System calls that fail on demand, for LD_PRELOAD. A sanitizer's allocator is its own.
FAULTS_O := $(filter-out $(if $(SANITIZE),%/allocate.o),$(call objects,tests/faults))
# NVIDIA's driver as far as kvpager calls it, over memfds, for machines without a GPU.
STANDIN_T := $(if $(wildcard tests/standin/libcuda.c),$(addprefix $(TESTS)/standin/,libcuda.so.1 libnvidia-ml.so.1))
FAULTS_T := $(if $(FAULTS_O),$(TESTS)/faults.so)
# What runs on a GPU; a test of these programs themselves is on the stand-in.
GPU_T := $(call mains,gpu,gpu)
GPU_P := $(if $(call helpers,gpu,gpu),$(LIB)/libtestgpu.a)
TSAN_T := $(patsubst tests/tsan/%.c,$(TESTS)/tsan-%,$(wildcard tests/tsan/*.c))
SIM_P := $(if $(call parts,tests/sim),$(LIB)/libtestsim.a)
UNIT_P := $(if $(call helpers,unit,test),$(LIB)/libtestunit.a)
SYSTEM_P := $(if $(call helpers,system,test),$(LIB)/libtestsystem.a)
BENCH_P := $(if $(call helpers,bench,bench),$(LIB)/libtestbench.a)
FUZZ_P := $(if $(call helpers,fuzz,fuzz),$(LIB)/libtestfuzz.a)

TEST_PROGRAMS := $(UNIT_T) $(SYSTEM_T) $(GPU_T) $(BENCH_T) $(SIM_T) $(TSAN_T) $(FUZZ_T)
ifneq ($(words $(TEST_PROGRAMS)),$(words $(sort $(TEST_PROGRAMS))))
$(error two test programs have the same name: $(TEST_PROGRAMS))
endif

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:
.PHONY: all tests check check-long check-unit deps demo bench bench-observe install uninstall deb gpu-bundle fuzz format tidy coverage \
        clean help FORCE

all: $(PROGRAMS) $(ALL_A) $(CLIENT_SO) $(MADE_PAGES) ## programs and library, in build/<variant>
tests: all $(UNIT_T) $(SYSTEM_T) $(GPU_T) $(BENCH_T) $(SIM_T) $(TSAN_T) $(FUZZ_T) $(FAULTS_T) $(STANDIN_T) ## all test programs of a variant

# ---- Rules -----------------------------------------------------------------------------------------------------------

# Rebuilds everything of a variant when compiler or flags change.
STAMP = $(subst ','\'',$(CC) $(BASE_CFLAGS) $(PROG_LDFLAGS) $(TEST_I))
# Two at a time may look, as tests that install do.
$(O)/flags: FORCE
	@mkdir -p $(@D)
	@{ $(firstword $(CC)) --version | head -n1; printf '%s\n' '$(STAMP)'; } >$@.$$$$; \
		if cmp -s $@.$$$$ $@; then rm $@.$$$$; else mv $@.$$$$ $@; fi

$(OBJ)/%.o: %.c $(O)/flags
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) $(BASE_CFLAGS) $(FLAGS) -MMD -MP -c -o $@ $<

# The kernels, one image for all variants. nvcc is the one that NVCC= names (nothing: none), or in PATH, or where it is installed.
NVCC ?= $(firstword $(shell command -v nvcc) $(wildcard /usr/local/cuda/bin/nvcc))
# Of the architectures that we want, those that it knows.
NVCC_ARCHS = $(patsubst compute_%,%,$(filter compute_80 compute_90 compute_100,$(if $(NVCC),$(shell $(NVCC) --list-gpu-arch))))
NVCC_FLAGS = -O3 -std=c++17 --threads 2 -Xfatbin -compress-all -Ikernels \
             $(foreach n,$(NVCC_ARCHS),-gencode arch=compute_$(n),code=sm_$(n)) -gencode arch=compute_80,code=compute_80
build/kernels/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(NVCC) $(NVCC_FLAGS)' >$@.$$$$; if cmp -s $@.$$$$ $@; then rm $@.$$$$; else mv $@.$$$$ $@; fi
$(KERNEL_IMAGE): $(wildcard kernels/*.cu kernels/*.h) build/kernels/flags
ifneq ($(NVCC),)
	$(call quiet,NVCC)$(NVCC) $(NVCC_FLAGS) -fatbin -o $@ kernels/kernels.cu
else
	@echo 'there is no nvcc (NVCC=, in PATH, in /usr/local/cuda/bin): kernels for a GPU are left out'
	@echo 'kvpager: built without kernels' >$@
endif
$(OBJ)/kernels/image.o: $(KERNEL_IMAGE)
# The kernels' own source once more, for the CPU: each thread by itself (tests/unit/emulate.h).
CXX_OF_CC = $(if $(findstring clang,$(CC_NAME)),$(subst clang,clang++,$(CC)),$(subst gcc,g++,$(CC)))
$(OBJ)/tests/unit/emulate.o: tests/unit/emulate.cc $(O)/flags
	@mkdir -p $(@D)
	$(call quiet,CXX)$(CXX_OF_CC) -std=c++17 $(OPT_$(VARIANT)) -Wall -Wextra -Wno-unknown-pragmas $(WERROR) -fPIE -fno-exceptions \
		-fno-rtti -fno-threadsafe-statics -fno-strict-aliasing -Ikernels -Itests/unit -MMD -MP -c -o $@ $<

$(BASE_A): $(BASE_O)
$(CORE_A): $(CORE_O)
$(DEV_A): $(DEV_O)
$(SHELL_A): $(SHELL_O)
$(PROTO_A): $(PROTO_O)
$(CLIENT_A): $(CLIENT_O)
$(CLI_A): $(CLI_O)
$(REPLAY_A): $(REPLAY_O)
$(SIM_P): $(call parts,tests/sim)
$(UNIT_P): $(call helpers,unit,test)
$(SYSTEM_P): $(call helpers,system,test)
$(GPU_P): $(call helpers,gpu,gpu)
$(BENCH_P): $(call helpers,bench,bench)
$(FUZZ_P): $(call helpers,fuzz,fuzz)
$(LIB)/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	$(call quiet,AR)$(AR) $(AR_FLAGS) $@ $(filter %.o,$^)

$(LIB)/libkvpager.so.0: $(CLIENT_O) $(PROTO_O) client/lib/libkvpager.map
	@mkdir -p $(@D)
	$(call quiet,LD)$(CC) $(SO_LDFLAGS) -Wl,--version-script=client/lib/libkvpager.map -o $@ $(filter %.o,$^) -pthread
$(LIB)/libkvpager.so: $(LIB)/libkvpager.so.0
	$(call quiet,LN)ln -sf $(<F) $@

link = $(call quiet,LD)$(CC) $(PROG_LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group
uses_so = $(if $(CLIENT_SO),-L$(LIB) -lkvpager)

$(BIN)/kvpagerd: $(OBJ)/daemon/shell/main.o $(DAEMON_A)
	@mkdir -p $(@D)
	$(link) $(DAEMON_LIBS) -pthread

# Programs for the kernel: clang compiles, bpftool links them, which drops what debuggers need, and makes the C that loads them.
BPF_FLAGS := -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter $(WERROR) -Ibpf \
             -I/usr/include/$(shell $(CC) -print-multiarch 2>/dev/null || echo .) $(REPRODUCIBLE) \
             -D__TARGET_ARCH_$(patsubst aarch64,arm64,$(patsubst x86_64,x86,$(shell uname -m)))
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
$(BPF_SKELETONS): $(O)/bpf/%.skel.h: bpf/%.bpf.c $(wildcard bpf/*.h) $(O)/flags
	@mkdir -p $(@D)
	$(call quiet,BPF)$(CLANG) $(BPF_FLAGS) -c -o $(@D)/$*.o $<
	@$(BPFTOOL) gen object $(@D)/$*.bpf.o $(@D)/$*.o
	@$(BPFTOOL) gen skeleton $(@D)/$*.bpf.o name $*_bpf >$@
$(OBSERVE_O): $(BPF_SKELETONS)
$(BIN)/kvpager-observe: $(OBSERVE_O) $(CLI_A) $(PROTO_A)
	@mkdir -p $(@D)
	$(link) -lbpf -lsystemd -ljansson

$(BIN)/kvpager-holder: $(OBJ)/daemon/holder/main.o $(OBJ)/daemon/holder/held.o
	@mkdir -p $(@D)
	$(link) -lsystemd

# Pages whose tables are those that the code is made from.
$(O)/man/tables: $(OBJ)/man/tables.o $(CLI_A) $(PROTO_A)
	@mkdir -p $(@D)
	$(link)
$(MADE_PAGES): $(O)/man/%: man/%.in $(O)/man/tables
	$(call quiet,MAN)$(O)/man/tables <$< >$@

# Programs that use libkvpager.so find it beside them in the build tree. What is installed is linked again, without rpath and with the
# library in it: so one package serves, and what a host is tried with does not change with the library that workers use.
RPATH := -Wl,-rpath,'$$ORIGIN/../lib'
$(BIN)/kvpagerctl: $(OBJ)/client/cli/main.o $(CLI_A) $(PROTO_A) $(CLIENT_SO)
$(OBJ)/installed/kvpagerctl: $(OBJ)/client/cli/main.o $(CLI_A) $(PROTO_A)
$(BIN)/kvpager-replay: $(OBJ)/client/replay/main.o $(REPLAY_A) $(CLI_A) $(PROTO_A) $(CLIENT_SO)
$(OBJ)/installed/kvpager-replay: $(OBJ)/client/replay/main.o $(REPLAY_A) $(CLI_A) $(CLIENT_A) $(PROTO_A)
$(BIN)/kvpagerctl $(BIN)/kvpager-replay:
	@mkdir -p $(@D)
	$(link) $(uses_so) $(RPATH) $(CLIENT_LIBS) -pthread
$(OBJ)/installed/kvpagerctl $(OBJ)/installed/kvpager-replay:
	@mkdir -p $(@D)
	$(link) $(CLIENT_LIBS) -pthread

$(UNIT_T): $(TESTS)/%: $(OBJ)/tests/unit/%.o $(UNIT_P) $(SIM_P) $(ALL_A)
	@mkdir -p $(@D)
	$(link) -lcriterion $(TEST_LIBS) -pthread
$(TESTS)/test-kernels: $(OBJ)/tests/unit/emulate.o
$(TESTS)/test-bpf-function: $(OBJ)/bpf/function.o | $(CLIENT_SO)
$(FAULTS_T): $(FAULTS_O)
	@mkdir -p $(@D)
	$(call quiet,LD)$(CC) -shared -Wl,-z,defs -Wl,-z,now $(filter --coverage,$(SANITIZE)) $(LDFLAGS) -o $@ $(filter %.o,$^)
$(TESTS)/standin/libcuda.so.1: $(addprefix $(OBJ)/tests/standin/,async.o capture.o compute.o reference.o attention.o)
$(STANDIN_T): $(TESTS)/standin/lib%.so.1: $(OBJ)/tests/standin/lib%.o $(OBJ)/tests/standin/standin.o
	@mkdir -p $(@D)
	$(call quiet,LD)$(CC) -shared -Wl,-z,defs -Wl,-soname,$(@F) $(LDFLAGS) -o $@ $(filter %.o,$^) -lm -pthread
# The simulation is the core and its own world; that it needs nothing else is the point of it.
$(SIM_T): $(OBJ)/tests/sim/main.o $(SIM_P) $(CORE_A) $(BASE_A)
	@mkdir -p $(@D)
	$(link)
$(BENCH_T): $(TESTS)/%: $(OBJ)/tests/bench/%.o $(BENCH_P) $(SIM_P) $(ALL_A)
	@mkdir -p $(@D)
	$(link) $(TEST_LIBS) -pthread
$(TSAN_T): $(TESTS)/tsan-%: $(OBJ)/tests/tsan/%.o $(UNIT_P) $(ALL_A)
	@mkdir -p $(@D)
	$(link) $(TEST_LIBS) -pthread
# Programs for the system tests are workers as anyone would write them: they use the shared library.
$(SYSTEM_T): $(TESTS)/%: $(OBJ)/tests/system/%.o $(SYSTEM_P) $(PROTO_A) $(CLIENT_SO)
	@mkdir -p $(@D)
	$(link) $(uses_so) $(RPATH) $(CLIENT_LIBS) -pthread
$(GPU_T): $(TESTS)/%: $(OBJ)/tests/gpu/%.o $(GPU_P) $(REPLAY_A) $(PROTO_A) $(CLIENT_SO)
	@mkdir -p $(@D)
	$(link) $(uses_so) $(RPATH) $(CLIENT_LIBS) -pthread
# libFuzzer and AFL++ bring their own main(); elsewhere tests/fuzz/main.c feeds the files named on the command line.
$(FUZZ_T): $(TESTS)/%: $(OBJ)/tests/fuzz/%.o $(FUZZ_P) $(SIM_P) $(ALL_A) \
           $(if $(filter fuzz afl,$(VARIANT)),,$(patsubst %.c,$(OBJ)/%.o,$(wildcard tests/fuzz/main.c)))
	@mkdir -p $(@D)
	$(link) $(if $(filter fuzz afl,$(VARIANT)),-fsanitize=fuzzer) $(TEST_LIBS) -pthread

-include $(shell find $(OBJ) -name '*.d' 2>/dev/null)

# ---- Tests -----------------------------------------------------------------------------------------------------------

names = $(notdir $(1))
scripts = $(sort $(notdir $(basename $(wildcard $(addprefix tests/,$(1))))))
# The path to a GPU, on the stand-in for its driver: with sanitizers in daemon and workers.
CUDA_SCRIPTS := $(call scripts,system/3*.py)
# What tests/run gets: KIND:BUILD-FOLDER:NAME.
CHECK_JOBS = \
	$(addprefix system:build/release:,$(filter-out $(CUDA_SCRIPTS),$(call scripts,system/[0-9]*.sh system/[0-9]*.py))) \
	$(addprefix system:build/asan:,$(CUDA_SCRIPTS)) \
	$(addprefix bpf:build/release:,$(call scripts,bpf/[0-9]*.py)) \
	$(addprefix sim:build/release:,$(call names,$(SIM_T)) $(call scripts,sim/*.sh sim/*.py)) \
	$(addprefix sim:build/asan:,$(call names,$(SIM_T))) \
	$(addprefix fuzz:build/asan:,$(call names,$(FUZZ_T))) fuzz:build/tsan:fuzz-lib \
	$(addprefix lint:build/release:,$(call scripts,lint/*.sh)) \
	$(addprefix tsan:build/tsan:,$(call names,$(TSAN_T))) \
	$(foreach v,asan release release-$(CLANG),$(addprefix unit:build/$(v):,$(call names,$(UNIT_T))))
export SIM_SEEDS SIM_ASAN_SEEDS SIM_EVENTS
# What was said on the command line, for tests that install: otherwise they would build everything anew.
export KVP_OVERRIDES := $(filter-out CC=% VARIANT=% PREFIX=% DESTDIR=%,$(MAKEOVERRIDES))

check: ## builds and passes everything: gcc, clang, ASan+UBSan, TSan, simulation, real programs, lint
	@scripts/deps.sh check
	+@$(MAKE) --no-print-directory $(JOBS) CC=gcc VARIANT=release tests
	+@$(MAKE) --no-print-directory $(JOBS) CC=gcc VARIANT=asan tests
	+@$(MAKE) --no-print-directory $(JOBS) CC=gcc VARIANT=tsan tsan-programs
	+@$(MAKE) --no-print-directory $(JOBS) CC=$(CLANG) VARIANT=release tests
	@tests/run --log build/log $(CHECK_JOBS)

LONG_JOBS = $(CHECK_JOBS) $(addprefix valgrind:build/release:,$(call names,$(UNIT_T))) \
            $(addprefix system:build/asan:,$(call scripts,system/[0-9]*-faults-*.py)) system:build/tsan:36-cuda-contexts
check-long: export SIM_SEEDS = 100000
check-long: export SIM_EVENTS = 2000
check-long: export SIM_ASAN_SEEDS = 2000
check-long: export KVP_LONG = 1
check-long: ## the same with 50 times the seeds of the simulation, valgrind, coverage and mutants
	@scripts/deps.sh check
	+@$(MAKE) --no-print-directory $(JOBS) CC=gcc VARIANT=release tests
	+@$(MAKE) --no-print-directory $(JOBS) CC=gcc VARIANT=asan tests
	+@$(MAKE) --no-print-directory $(JOBS) CC=gcc VARIANT=tsan tsan-programs tsan-cuda
	+@$(MAKE) --no-print-directory $(JOBS) CC=$(CLANG) VARIANT=release tests
	@tests/run --log build/log --long $(LONG_JOBS)
	+@$(MAKE) --no-print-directory coverage
	+@$(MAKE) --no-print-directory mutants

.PHONY: tsan-programs tsan-cuda
tsan-cuda: all $(STANDIN_T)
tsan-programs: $(TSAN_T) $(TESTS)/fuzz-lib

check-unit: $(UNIT_T) ## the unit tests of one variant alone
	@tests/run --log $(O)/log $(addprefix unit:$(O):,$(call names,$(UNIT_T)))

# What takes a few seconds; nothing that counts the whole machine's memory or makes any system call fail.
COVERAGE_JOBS = \
	$(addprefix system:build/cov:,$(call scripts,system/2[0-6]*.py system/3*.py system/4[1-9]*.py system/5*.py system/8*.py)) \
	$(addprefix sim:build/cov:,$(call names,$(SIM_T)) golden) \
	$(addprefix fuzz:build/cov:,$(call names,$(FUZZ_T))) \
	$(addprefix unit:build/cov:,$(call names,$(UNIT_T)))
coverage: export SIM_SEEDS = 100
coverage: ## lines and branches that the tests reach, held to their bars; pages in build/cov/coverage
	+@$(MAKE) --no-print-directory $(JOBS) CC=gcc VARIANT=cov tests
	@find build/cov/obj -name '*.gcda' -delete
	@tests/run --log build/cov/log --long $(COVERAGE_JOBS)
	@tests/coverage/report.py build/cov

# How many mutants of core and codec, and which.
N ?= 100
SEED ?= 1
MUTANT_T := $(SIM_T) $(filter $(TESTS)/fuzz-core $(TESTS)/fuzz-wire,$(FUZZ_T)) \
            $(filter $(TESTS)/test-core-% $(TESTS)/test-wire,$(UNIT_T))
.PHONY: mutants mutant-tests
mutant-tests: $(MUTANT_T)
mutants: ## N=100 small wrong changes to core and codec, which SEED=1 chooses: does a test see each?
	+@$(MAKE) --no-print-directory $(JOBS) CC=gcc VARIANT=release mutant-tests
	+@$(MAKE) --no-print-directory $(JOBS) CC=gcc VARIANT=asan mutant-tests
	@tests/mutate/mutate.py --n $(N) --seed $(SEED)

bench: all $(BENCH_T) ## measures, and writes build/<variant>/bench.json
	@tests/bench/run $(O)

bench-observe: all ## what it costs to be observed, by kvpager-observe; as root
	@tests/bench/observe.py $(O)

fuzz: ## looks for inputs that break something, MINUTES=6 in all, with FUZZER=libfuzzer or afl
	@command -v $(if $(filter afl,$(FUZZER)),afl-clang-fast,$(CLANG)) >/dev/null || \
		{ echo "make fuzz needs $(if $(filter afl,$(FUZZER)),AFL++: install the package afl++,clang)" >&2; exit 1; }
	+@$(MAKE) --no-print-directory $(JOBS) $(if $(filter afl,$(FUZZER)),CC=afl-clang-fast VARIANT=afl,CC=$(CLANG) VARIANT=fuzz) fuzz-run
.PHONY: fuzz-run
fuzz-run: $(FUZZ_T)
	@tests/fuzz/run --engine $(FUZZER) --minutes $(MINUTES) $(O) $(call names,$(FUZZ_T))

# ---- Demo, packages, installation ------------------------------------------------------------------------------------

deps: ## installs the Debian packages that building needs, as debian/control lists them
	@scripts/deps.sh build

demo: ## builds, replays a serving load of two tenants through real attention, verified, and draws demo.svg
	@scripts/deps.sh build
	+@$(MAKE) --no-print-directory $(JOBS) CC=gcc VARIANT=release all
	@scripts/demo.sh build/release

INSTALLED_PROGRAMS := $(patsubst $(BIN)/kvpager-replay,$(OBJ)/installed/kvpager-replay, \
                      $(patsubst $(BIN)/kvpagerctl,$(OBJ)/installed/kvpagerctl,$(PROGRAMS)))
MAN_PAGES := $(wildcard man/*.[1-8]) $(MADE_PAGES)
# Functions that share a page with another: NAME.3:PAGE.3.
MAN_LINKS = $(shell cd man && awk '/^\.Nd/ { nextfile } $$1 == ".Nm" && $$2 ".3" != FILENAME { print $$2 ".3:" FILENAME }' *.3)
UNITS := $(wildcard systemd/*.service systemd/*.socket)
# What is copied as it is, FILE:WHERE.
COPIED := client/include/kvpager.h:$(INCLUDEDIR)/kvpager.h \
          docs/kvpager-dashboard.json:$(DATADIR)/kvpager-dashboard.json \
          systemd/kvpager.sysusers.conf:$(SYSUSERSDIR)/kvpager.conf \
          systemd/kvpager.tmpfiles.conf:$(TMPFILESDIR)/kvpager.conf \
          systemd/kvpager.preset:$(PRESETDIR)/50-kvpager.preset \
          systemd/kvpager.catalog:$(CATALOGDIR)/kvpager.catalog \
          $(foreach f,$(notdir $(wildcard docs/containers/*)),docs/containers/$f:$(DOCDIR)/containers/$f) \
          $(foreach f,$(notdir $(wildcard systemd/drop-ins/*)),systemd/drop-ins/$f:$(DATADIR)/kvpagerd.service.d/$f) \
          $(foreach f,$(notdir $(wildcard systemd/observe-drop-ins/*)),\
            systemd/observe-drop-ins/$f:$(DATADIR)/kvpager-observe.service.d/$f) \
          $(foreach f,$(notdir $(wildcard client/completions/bash/*)),client/completions/bash/$f:$(BASHCOMPDIR)/$f) \
          $(foreach f,$(notdir $(wildcard client/completions/zsh/*)),client/completions/zsh/$f:$(ZSHCOMPDIR)/$f) \
          $(foreach f,$(notdir $(wildcard client/completions/fish/*)),client/completions/fish/$f:$(FISHCOMPDIR)/$f)
# Where each of these goes: what uninstall takes away is what install puts there, and folders that are nobody else's.
MAN_PLACE = $(MANDIR)/man$(patsubst .%,%,$(suffix $1))/$(notdir $1)
INSTALLED = $(addprefix $(BINDIR)/,$(notdir $(PROGRAMS))) $(LIBDIR)/libkvpager.so.0 $(LIBDIR)/libkvpager.so \
            $(LIBDIR)/pkgconfig/kvpager.pc $(foreach f,$(MAN_PAGES),$(call MAN_PLACE,$f)) \
            $(foreach l,$(MAN_LINKS),$(call MAN_PLACE,$(firstword $(subst :, ,$l)))) \
            $(addprefix $(UNITDIR)/,$(notdir $(UNITS))) $(foreach f,$(COPIED),$(lastword $(subst :, ,$f)))
INSTALLED_FOLDERS = $(DATADIR)/kvpagerd.service.d $(DATADIR)/kvpager-observe.service.d $(DATADIR) \
                    $(DOCDIR)/containers $(DOCDIR)
D = $(DESTDIR)

install: all $(INSTALLED_PROGRAMS) ## into $(DESTDIR)$(PREFIX)
	@set -e; for f in $(INSTALLED_PROGRAMS); do install -D -m 755 "$$f" "$(D)$(BINDIR)/$${f##*/}"; done
	install -D -m 644 $(LIB)/libkvpager.so.0 $(D)$(LIBDIR)/libkvpager.so.0
	ln -sf libkvpager.so.0 $(D)$(LIBDIR)/libkvpager.so
	@mkdir -p $(D)$(LIBDIR)/pkgconfig $(D)$(UNITDIR)
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' -e 's|@VERSION@|$(VERSION)|' \
		client/lib/kvpager.pc.in >$(D)$(LIBDIR)/pkgconfig/kvpager.pc
	@set -e; for f in $(MAN_PAGES); do install -D -m 644 "$$f" "$(D)$(MANDIR)/man$${f##*.}/$${f##*/}"; done
	@set -e; for f in $(MAN_LINKS); do ln -sf "$${f#*:}" "$(D)$(MANDIR)/man3/$${f%:*}"; done
	@set -e; for f in $(UNITS); do sed 's|@BINDIR@|$(BINDIR)|g' "$$f" >"$(D)$(UNITDIR)/$${f##*/}"; done
	@set -e; for f in $(COPIED); do install -D -m 644 "$${f%%:*}" "$(D)$${f#*:}"; done

uninstall: ## takes away what install put there
	rm -f $(addprefix $(D),$(INSTALLED))
	@for f in $(addprefix $(D),$(INSTALLED_FOLDERS)); do [ ! -d "$$f" ] || rmdir --ignore-fail-on-non-empty "$$f"; done

deb: ## Debian packages, into the folder above
	dpkg-buildpackage --unsigned-source --unsigned-changes --build=binary

# Our programs, the libraries that they need beyond libc, and what runs them: for a machine on which nothing can be installed.
BUNDLE := build/gpu-bundle
BUNDLED = $(addprefix $(BIN)/,kvpagerd kvpagerctl kvpager-replay) $(GPU_T)
gpu-bundle: all $(GPU_T) ## build/gpu-bundle.tar.gz: run in it measures all that only a GPU can tell
	@rm -rf $(BUNDLE) && mkdir -p $(BUNDLE)/bin $(BUNDLE)/lib $(BUNDLE)/kernels
	@cp $(BUNDLED) $(BUNDLE)/bin/
	@cp $(LIB)/libkvpager.so.0 $(BUNDLE)/lib/
	@cp kernels/*.cu kernels/*.h $(BUNDLE)/kernels/
	@cp tests/gpu/run tests/gpu/kvpager.py tests/gpu/torch_kernels.py tests/gpu/README.md LICENSE $(BUNDLE)/
	@LD_LIBRARY_PATH= ldd $(BUNDLED) | awk '$$2 == "=>" && $$1 !~ /^(libc|libm|libkvpager)\.so/ { print $$3 }' | sort -u | \
		xargs -I{} cp -L {} $(BUNDLE)/lib/
	@strip --strip-debug $(BUNDLE)/bin/* $(BUNDLE)/lib/*
	@tar -C $(dir $(BUNDLE)) --owner=0 --group=0 --sort=name --mtime=@0 -czf $(BUNDLE).tar.gz $(notdir $(BUNDLE))
	@size=$$(du -sk $(BUNDLE) | cut -f1); echo "$(BUNDLE).tar.gz: $$size KiB unpacked; on the machine: gpu-bundle/run"; \
		[ "$$size" -lt 49152 ] || { echo "make gpu-bundle: more than 48 MiB" >&2; exit 1; }

# ---- House -----------------------------------------------------------------------------------------------------------

C_FILES := $(wildcard bpf/*.c daemon/*/*.c client/*/*.c kernels/*.c kernels/ref/*.c man/*.c tests/*/*.c)

format: ## rewrites the C files as .clang-format says
	find bpf client daemon kernels man tests -name '*.[ch]' -exec $(FORMAT) -i {} +

TIDY_FILES := $(patsubst %.c,$(OBJ)/%.tidy,$(filter-out tests/% %.bpf.c,$(C_FILES)))
.PHONY: $(TIDY_FILES)
$(TIDY_FILES): $(OBJ)/%.tidy: %.c
	$(call quiet,TIDY)$(TIDY) --quiet $< -- $(filter-out -fsanitize=% -Werror,$(BASE_CFLAGS)) $(FLAGS) 2>/dev/null
tidy: $(TIDY_FILES) ## clang-tidy over the C files, tests aside

clean: ## removes build/
	rm -rf build demo.svg

help: ## this list
	@echo "usage: make [TARGET] [VARIANT=release|asan|tsan|cov] [CC=gcc|clang] [V=1] [WERROR=]"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' Makefile | sort | awk -F'\t' '{printf "  %-12s %s\n", $$1, $$2}'
