# drover: build, test, install.  `make help` lists the targets.
#
# Objects go to $(B): build/ by default, build/san-… for sanitizer builds, so that no two configurations mix.
# A source file is found by its folder: add foo.c to common/, vmm/, migrate/ … and it is built;
# add test_foo.c to tests/unit/ or a program to tests/e2e/ and `make check` runs it.

VERSION := 0.1.0
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
PREFIX ?= /usr/local
DESTDIR ?=
SANITIZE ?=

comma := ,
empty :=
space := $(empty) $(empty)
config := $(if $(SANITIZE),san-$(subst $(comma),-,$(SANITIZE)))$(if $(findstring clang,$(CC)),-clang)
B := build$(if $(config),/$(patsubst -%,%,$(config)))

# `make deps` must work before any library is there, so the libraries are looked up only when compiling.
PACKAGES := libsystemd libssh jansson libcyaml liblz4 libzstd libxxhash libcrypto libseccomp liburing libnbd nbdkit
PKG_CFLAGS = $(shell pkg-config --cflags $(PACKAGES))
LIBS_VM = $(shell pkg-config --libs jansson libzstd libcrypto libseccomp liburing) -lpthread
LIBS_CLI = $(shell pkg-config --libs libsystemd libssh jansson libcyaml liblz4 libzstd libcrypto libseccomp liburing libnbd) -lm -lpthread
LIBS_PLUGIN = $(shell pkg-config --libs libzstd libcrypto) -lpthread

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Wundef
CPPFLAGS += -I. -D_GNU_SOURCE -DDROVER_VERSION='"$(VERSION)"' -DDROVER_LIBEXEC='"$(PREFIX)/libexec/drover"' -DXXH_INLINE_ALL
ifeq ($(SANITIZE),)
CFLAGS ?= -O2 -g
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIC
else
CFLAGS ?= -O1 -g
HARDEN := -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer -fPIC
# Fuzzed code takes any checksum for right, so that changed bytes get past it.
CPPFLAGS += $(if $(findstring fuzzer,$(SANITIZE)),-DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION)
endif
ALL_CFLAGS = -std=gnu17 $(WARNINGS) $(HARDEN) $(CFLAGS) -MMD -MP
LDFLAGS_SOME = -Wl,-z,relro,-z,now -Wl,--as-needed $(if $(SANITIZE),-fsanitize=$(SANITIZE)) $(LDFLAGS)
LDFLAGS_ALL = -pie $(LDFLAGS_SOME)

.PHONY: all build deps check unit e2e bench bench-publish demo soak fuzz install uninstall format lint clean help
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

all: deps
	@$(MAKE) --no-print-directory build

# ---- libraries and programs -------------------------------------------------------------------------------
LIB_DIRS := common imagefmt vmm migrate replicate convert cli
lib_objs = $(patsubst %.c,$(B)/%.o,$(filter-out %/main.c,$(wildcard $(1)/*.c)))
$(foreach d,$(LIB_DIRS),$(eval $(B)/lib$(d).a: $(call lib_objs,$(d))))
LIBS_ALL := $(foreach d,cli convert replicate migrate vmm imagefmt common,$(B)/lib$(d).a)

build: $(B)/drover $(B)/drover-vm $(B)/nbdkit-dvol-plugin.so $(B)/man/drover-vm.yaml.5

$(B)/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	ar rcs $@ $(filter %.o,$^)

# Flags are in this file, so that what it says is part of every object.
$(B)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(ALL_CFLAGS) -c -o $@ $<

$(B)/drover: $(B)/cli/main.o $(LIBS_ALL)
	$(CC) -o $@ $^ $(LDFLAGS_ALL) $(LIBS_CLI)

# The VM process is a program of its own: it links no network library at all.
$(B)/drover-vm: $(B)/vmm/main.o $(B)/libvmm.a $(B)/libimagefmt.a $(B)/libcommon.a
	$(CC) -o $@ $^ $(LDFLAGS_ALL) $(LIBS_VM)

# A plugin of nbdkit's: of its symbols only plugin_init is nbdkit's business; nbdkit_* come from nbdkit.
$(B)/nbdkit-dvol-plugin.so: $(B)/nbdkit/dvol_plugin.o $(B)/libimagefmt.a $(B)/libcommon.a
	$(CC) -shared -o $@ $^ -Wl,--exclude-libs,ALL $(LDFLAGS_SOME) $(LIBS_PLUGIN)

# The first line tells man that there are tables in it.
$(B)/man/drover-vm.yaml.5: docs/vm.yaml.md
	@mkdir -p $(@D)
	(printf '%s\n' "'\\\" t"; lowdown -s -t man -m title=drover-vm.yaml -m section=5 $< | \
		sed '/^\.TH/a .SH NAME\ndrover-vm.yaml \\- the file that defines a VM of drover' ) >$@

# ---- tests ------------------------------------------------------------------------------------------------
-include tests/guest/guest.mk

TESTLIB_OBJS := $(patsubst %.c,$(B)/%.o,$(wildcard tests/lib/*.c))
$(B)/libtest.a: $(TESTLIB_OBJS)
UNIT_TESTS := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/test_*.c))
E2E_TESTS := $(patsubst %.c,$(B)/%,$(wildcard tests/e2e/test_*.c))
BENCHES := $(patsubst %.c,$(B)/%,$(wildcard tests/bench/bench_*.c))
BENCHLIB_OBJS := $(patsubst %.c,$(B)/%.o,$(filter-out tests/bench/bench_%,$(wildcard tests/bench/*.c)))
$(B)/libbench.a: $(BENCHLIB_OBJS)
$(BENCHES) $(filter $(B)/tests/unit/test_bench_%,$(UNIT_TESTS)): $(B)/libbench.a

$(UNIT_TESTS) $(E2E_TESTS) $(BENCHES): $(B)/%: $(B)/%.o $(B)/libtest.a $(LIBS_ALL)
	$(CC) -o $@ $< $(filter %/libbench.a,$^) $(B)/libtest.a $(LIBS_ALL) $(LDFLAGS_ALL) -lcmocka $(LIBS_CLI)

GUEST := $(B)/guest/testguest.elf $(B)/guest/testguest.bzImage

check: deps
	@$(MAKE) --no-print-directory build $(UNIT_TESTS) $(E2E_TESTS) $(GUEST)
	@B=$(B) tests/run $(UNIT_TESTS) $(E2E_TESTS)
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=5

unit: deps
	@$(MAKE) --no-print-directory build $(UNIT_TESTS)
	@B=$(B) tests/run $(UNIT_TESTS)

e2e: deps
	@$(MAKE) --no-print-directory build $(E2E_TESTS) $(GUEST)
	@B=$(B) tests/run $(E2E_TESTS)

# BENCH="migrate start": only these.  bench-publish puts their tables into docs/benchmarks.md, and says of which missed promise that page
# does not say why.
BENCH_CHOSEN := $(if $(BENCH),$(patsubst %,$(B)/tests/bench/bench_%,$(BENCH)),$(BENCHES))
bench: deps
	@tools/deps.sh bench
	@$(MAKE) --no-print-directory build $(BENCH_CHOSEN) $(GUEST)
	@B=$(B) tests/bench/run $(BENCH_CHOSEN)

bench-publish: bench
	@B=$(B) tests/bench/publish

# Long campaigns: the failures at every step of a move, over and over, and all that can befall one with disks; volumes by the million
# of steps and states, each turn with seeds of its own; the fuzzers for long.
SOAK_TURNS ?= 20
soak: deps
	@$(MAKE) --no-print-directory build $(UNIT_TESTS) $(E2E_TESTS) $(GUEST)
	@for turn in $$(seq $(SOAK_TURNS)); do \
		echo "turn $$turn of $(SOAK_TURNS)"; \
		B=$(B) DROVER_TEST_LIMIT=3600 DROVER_MODEL_STEPS=2000000 DROVER_POWERCUTS=50000 DROVER_FAULT_SEEDS=60 \
			DROVER_CAMPAIGN=all tests/run $(B)/tests/e2e/test_faults $(B)/tests/e2e/test_campaign \
			$(B)/tests/unit/test_dvol_model $(B)/tests/unit/test_dvol_powercut $(B)/tests/unit/test_dvol_fault || exit 1; \
	done
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=600

demo: deps
	@$(MAKE) --no-print-directory build $(GUEST)
	@B=$(B) tests/demo

# ---- fuzzing ----------------------------------------------------------------------------------------------
# `make fuzz` builds tests/fuzz/fuzz_*.c with clang and runs each for FUZZ_SECONDS, from what it found before and from
# tests/fuzz/corpus/<fuzzer>, which is not written to; what they find lies beside them.
FUZZ_SECONDS ?= 60
# A volume is opened and freed many times in a run: short backtraces of allocations cost less.
FUZZ_ENV := ASAN_OPTIONS=malloc_context_size=6:quarantine_size_mb=32
FUZZERS := $(patsubst %.c,$(B)/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZLIB_OBJS := $(patsubst %.c,$(B)/%.o,$(filter-out tests/fuzz/fuzz_%,$(wildcard tests/fuzz/*.c)))
$(B)/libfuzz.a: $(FUZZLIB_OBJS)

$(FUZZERS): $(B)/%: $(B)/%.o $(B)/libfuzz.a $(B)/libtest.a $(LIBS_ALL)
	$(CC) -o $@ $< $(B)/libfuzz.a $(B)/libtest.a $(LIBS_ALL) $(LDFLAGS_ALL) -fsanitize=fuzzer -lcmocka $(LIBS_CLI)

fuzz: deps
	@$(MAKE) --no-print-directory CC=clang SANITIZE=fuzzer-no-link,address,undefined run-fuzzers

.PHONY: run-fuzzers
run-fuzzers: $(FUZZERS)
	@for f in $(FUZZERS); do \
		seeds=tests/fuzz/corpus/$${f##*/}; \
		[ -d $$seeds ] || seeds=; \
		mkdir -p $$f.corpus; \
		echo "$${f##*/}: $(FUZZ_SECONDS) s"; \
		$(FUZZ_ENV) $$f -max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=1500 -len_control=0 \
			-max_len=$$(case $$f in *dvol*) echo 1024 ;; *) echo 20000 ;; esac) \
			-artifact_prefix=$$f- $$f.corpus $$seeds >$$f.log 2>&1 || \
			{ tail -30 $$f.log; exit 1; }; \
		tail -1 $$f.log; \
	done

# ---- chores -----------------------------------------------------------------------------------------------
deps:
	@tools/deps.sh build test

C_FILES = $(shell git ls-files '*.c' '*.h')
format:
	@tools/deps.sh lint
	clang-format -i $(C_FILES)

lint:
	@tools/deps.sh lint
	clang-format --dry-run --Werror $(C_FILES)
	cppcheck --quiet --error-exitcode=1 --inline-suppr --enable=warning,portability --suppress=varFuncNullUB -I. $(filter-out tests/guest/%,$(filter %.c,$(C_FILES)))

# Where `nbdkit dvol` finds it, if that is below PREFIX; elsewhere nbdkit wants the plugin's whole path.
NBDKIT_PLUGINS ?= $(if $(filter /usr,$(PREFIX)),$(shell pkg-config --variable=plugindir nbdkit),$(PREFIX)/lib/nbdkit/plugins)

# For root's systemd, and that of a user.
UNITS := $(PREFIX)/lib/systemd/system $(PREFIX)/lib/systemd/user
SERVICES := drover-vm@.service drover-daemon.service

install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/drover $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(NBDKIT_PLUGINS)
	install -m 755 $(B)/nbdkit-dvol-plugin.so $(DESTDIR)$(NBDKIT_PLUGINS)/nbdkit-dvol-plugin.so
	install -m 755 $(B)/drover $(DESTDIR)$(PREFIX)/bin/drover
	install -m 755 $(B)/drover-vm $(DESTDIR)$(PREFIX)/libexec/drover/drover-vm
	$(foreach m,$(wildcard docs/man/*.1),install -m 644 $(m) $(DESTDIR)$(PREFIX)/share/man/man1/;)
	install -d $(DESTDIR)$(PREFIX)/share/man/man5 $(foreach d,$(UNITS),$(DESTDIR)$(d))
	$(foreach d,$(UNITS),$(foreach u,$(SERVICES),sed 's,/usr/local/,$(PREFIX)/,' tools/systemd/$(u) >$(DESTDIR)$(d)/$(u);))
	install -m 644 $(B)/man/drover-vm.yaml.5 $(DESTDIR)$(PREFIX)/share/man/man5/drover-vm.yaml.5

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/drover $(DESTDIR)$(PREFIX)/libexec/drover/drover-vm
	rm -f $(DESTDIR)$(NBDKIT_PLUGINS)/nbdkit-dvol-plugin.so
	rm -f $(patsubst docs/man/%,$(DESTDIR)$(PREFIX)/share/man/man1/%,$(wildcard docs/man/*.1))
	rm -f $(DESTDIR)$(PREFIX)/share/man/man5/drover-vm.yaml.5
	rm -f $(foreach d,$(UNITS),$(addprefix $(DESTDIR)$(d)/,$(SERVICES)))
	-rmdir $(DESTDIR)$(PREFIX)/libexec/drover

clean:
	rm -rf build

help:
	@echo 'make            install missing packages, build build/drover'
	@echo 'make demo       move a running guest from one host to another over SSH'
	@echo 'make check      all tests (DROVER_TEST_KVM=require: fail rather than skip without KVM)'
	@echo 'make unit|e2e   a part of them'
	@echo 'make fuzz       run the fuzzers, FUZZ_SECONDS=60 each'
	@echo 'make bench      drover beside QEMU, medians and ratios, JSON under build/bench/ (BENCH="migrate start": these)'
	@echo 'make bench-publish  the same, and its tables into docs/benchmarks.md'
	@echo 'make soak       long campaigns (SOAK_TURNS=20)'
	@echo 'make deps       install missing Debian packages (what the above do first)'
	@echo 'make install    PREFIX=/usr/local DESTDIR='
	@echo 'make format|lint|clean'
	@echo 'SANITIZE=address,undefined and CC=clang build in folders of their own'

-include $(wildcard $(B)/*/*.d $(B)/*/*/*.d)
