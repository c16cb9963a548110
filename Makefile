# PgUsher's one Makefile; `make help` lists the targets.
#
# Everything made goes under build/ (BUILD=...). SANITIZER=address,undefined (or thread) builds
# the same tree into a folder of its own, with the same targets. Objects depend on their headers
# (-MMD) and on the settings they were built with. What is missing on a Debian machine is
# installed first (scripts/deps.sh: nothing is done, and no root is needed, when all is there).

PREFIX ?= /usr/local
SYSCONFDIR ?= $(if $(filter /usr /usr/local,$(PREFIX)),/etc,$(PREFIX)/etc)
UNITDIR ?= $(PREFIX)/lib/systemd/system
DESTDIR ?=
BUILD ?= build
SANITIZER ?=
PYTHON ?= /usr/bin/python3
CLANG ?= clang
FUZZ_SECONDS ?= 30
ifeq ($(origin CC),default)
CC := gcc
endif

comma := ,
ifneq ($(filter-out address undefined address$(comma)undefined thread,$(SANITIZER)),)
$(error SANITIZER is address, undefined, "address,undefined" or thread)
endif
OUT := $(BUILD)$(if $(SANITIZER),/san-$(subst $(comma),-,$(SANITIZER)))
VERSION := $(shell cat VERSION)

WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	-Wpointer-arith -Wwrite-strings -Wundef
# Under a sanitizer gcc warns of paths that only its own checks make (its manual says so), so
# there warnings stay warnings; the plain build has refused the true ones already.
OPT ?= $(if $(SANITIZER),-O1 -g -Wno-error,-O2 -g)
PG_CPPFLAGS := -Iinclude -Isrc -D_GNU_SOURCE -DPGUSHER_VERSION='"$(VERSION)"'
PG_CFLAGS := -std=c11 $(WARN) $(OPT) -fno-omit-frame-pointer -fstack-protector-strong \
	$(if $(SANITIZER),-fsanitize=$(SANITIZER) -fno-sanitize-recover=all,\
	-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
PG_LDFLAGS := $(if $(SANITIZER),-fsanitize=$(SANITIZER),-Wl$(comma)-z$(comma)relro$(comma)-z$(comma)now)
COMPILE = $(CC) $(PG_CPPFLAGS) $(PKG_CFLAGS) $(CPPFLAGS) $(PG_CFLAGS) $(CFLAGS)
LINK = $(CC) $(PG_CFLAGS) $(CFLAGS) $(PG_LDFLAGS) $(LDFLAGS)
LIBS = $(PKG_LIBS) -lpg_query -lpthread $(LDLIBS)

MAIN_SRC := src/main.c $(wildcard src/cmd/*.c)
LIB_SRC := $(filter-out $(MAIN_SRC),$(wildcard src/*/*.c))
LIB_OBJ := $(LIB_SRC:%.c=$(OUT)/obj/%.o)
MAIN_OBJ := $(MAIN_SRC:%.c=$(OUT)/obj/%.o)
LIB := $(OUT)/libpgusher.a

# A test_*.c is a program; the other .c files of its folder are linked to each of them.
UNIT_SRC := $(wildcard tests/unit/*/test_*.c) $(wildcard tests/replay/test_*.c)
UNIT_BIN := $(UNIT_SRC:%.c=$(OUT)/%)
beside = $(patsubst %.c,$(OUT)/obj/%.o,$(filter-out $(1)/test_%.c,$(wildcard $(1)/*.c)))

.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:
.SECONDEXPANSION:

.PHONY: all
all: $(OUT)/pgusher ## build into build/ (the default)

# ---- what is installed -------------------------------------------------------------------

# pkg-config's answers, asked once: make reads itself again after making this file.
PKGS := libevent libevent_openssl libssl libcrypto libpq libjwt inih jansson libcurl
ifneq ($(filter-out clean help demo-stop,$(or $(MAKECMDGOALS),all)),)
include $(BUILD)/pkgs.mk
endif
$(BUILD)/pkgs.mk: Makefile scripts/deps.sh
	@mkdir -p $(@D)
	@scripts/deps.sh build
	@echo "PKG_CFLAGS := $$(pkg-config --cflags $(PKGS))" > $@
	@echo "PKG_LIBS := $$(pkg-config --libs $(PKGS))" >> $@

.PHONY: deps-check deps-demo deps-bench deps-clients
deps-check deps-demo deps-bench deps-clients: deps-%:
	@scripts/deps.sh $*

# ---- building ----------------------------------------------------------------------------

# Commands are named, not shown; `make V=1` shows them.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))

$(OUT)/pgusher: $(MAIN_OBJ) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(LINK) -o $@ $(MAIN_OBJ) $(LIB) $(LIBS)

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(call say,AR,$@)
	$(Q)ar rcs $@ $^

# The settings stamp: other flags, other objects.
SETTINGS = $(COMPILE) $(PG_LDFLAGS) $(LDFLAGS) $(FUZZ_FLAGS)
$(OUT)/settings: FORCE
	@mkdir -p $(@D)
	@echo '$(subst ','\'',$(SETTINGS))' | cmp -s - $@ || echo '$(subst ','\'',$(SETTINGS))' > $@

$(OUT)/obj/%.o: %.c $(OUT)/settings
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(COMPILE) -MMD -MP -c -o $@ $<

$(OUT)/obj/tests/%.o: tests/%.c $(OUT)/settings | deps-check
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(COMPILE) -Itests -MMD -MP -c -o $@ $<

$(UNIT_BIN): $(OUT)/%: $(OUT)/obj/%.o $$(call beside,$$(subst $(OUT)/,,$$(@D))) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(LINK) -o $@ $^ $(LIBS) -lcmocka

-include $(shell find $(OUT)/obj -name '*.d' 2>/dev/null)

.PHONY: FORCE
FORCE:

# ---- tests -------------------------------------------------------------------------------

# The thread sanitizer of gcc 12 and clang 14 does not know the memory layout of kernels that
# randomise more bits of addresses ("unexpected memory mapping"), so sanitized programs run
# without randomisation where that is allowed.
RUN = $(if $(SANITIZER),$(NO_ASLR))
NO_ASLR := $(shell setarch "$$(uname -m)" -R true 2>/dev/null && echo setarch "$$(uname -m)" -R)
export ASAN_OPTIONS ?= detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS ?= print_stacktrace=1
export TSAN_OPTIONS ?= second_deadlock_stack=1:suppressions=$(CURDIR)/tests/lint/tsan.supp
# Bytecode and caches must not litter the checkout.
export PYTHONDONTWRITEBYTECODE := 1
PYTEST = PGUSHER_BIN=$(abspath $(OUT)/pgusher) $(RUN) $(PYTHON) -m pytest -p no:cacheprovider \
	--tb=short -rfEs $(PYTEST_ARGS)
UNIT_TIMEOUT := 120

.PHONY: check
check: deps-check ## install what is missing, build, run every test, with sanitizers and lint
	+@MAKE='$(MAKE)' PYTHON='$(PYTHON)' SANITIZER='$(SANITIZER)' scripts/check.sh $(OUT)/check

.PHONY: tests-build
tests-build: $(OUT)/pgusher $(UNIT_BIN)

.PHONY: unit
unit: $(UNIT_BIN) ## the C tests (cmocka): tests/unit and tests/replay
	@status=0; for t in $(UNIT_BIN); do \
		echo "== $${t#$(OUT)/tests/}"; \
		$(RUN) timeout $(UNIT_TIMEOUT) $$t 2>&1 || \
			{ echo "!! $${t#$(OUT)/tests/} ended with status $$?"; status=1; }; \
	done; exit $$status

LEXER_TEST := $(OUT)/tests/unit/sql/test_lexer_corpus
.PHONY: check-lexer
check-lexer: $(LEXER_TEST) ## the lexer on PostgreSQL's regression SQL, which is fetched, and mutations
	scripts/fetch-regress.sh $(BUILD)/regress
	LEXER_CORPUS=$(BUILD)/regress/sql $(RUN) $(LEXER_TEST)

SYSTEM_TESTS := $(patsubst %/,%,$(sort $(dir $(wildcard tests/system/test_*.py tests/parity/test_*.py))))

# What the staleness checker must catch: PgUsher with wrong bounds, in the test's file.
WRONG := $(OUT)/tests/staleness/pgusher-wrong
WRONG_OBJ := $(OUT)/obj/tests/system/staleness/wrong_bounds.o
$(WRONG): $(MAIN_OBJ) $(WRONG_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(LINK) -Wl,--wrap=fresh_lag_us,--wrap=fresh_has -o $@ $^ $(LIBS)

.PHONY: check-staleness
check-staleness: $(OUT)/pgusher $(WRONG) | deps-check ## 100,000 reads under every fault: none older than its budget (minutes)
	PGUSHER_STALENESS=full $(PYTEST) tests/system/staleness

.PHONY: system
system: $(OUT)/pgusher $(OUT)/bench/load $(WRONG) | deps-check ## pytest against real PostgreSQL: tests/system and tests/parity
	$(PYTEST) $(SYSTEM_TESTS)

# What runs under each sanitizer in `make check`: every way through the proxy once, without the
# long load tests. `make SANITIZER=... system` runs all.
SYSTEM_CORE := $(wildcard $(patsubst %,tests/system/test_%.py,login isolation prepared faults cancel random console routing wish))
.PHONY: system-core
system-core: $(OUT)/pgusher | deps-check
	$(PYTEST) $(SYSTEM_CORE) $(if $(findstring address,$(SANITIZER)),tests/parity)

.PHONY: check-regress
check-regress: $(OUT)/pgusher | deps-check ## PostgreSQL's own regression files, which are fetched, direct and through PgUsher
	scripts/fetch-regress.sh $(BUILD)/regress
	PGUSHER_BIN=$(abspath $(OUT)/pgusher) $(PYTHON) tests/parity/regress.py $(BUILD)/regress \
		$(BUILD)/regress/results

RANDOM_RUNS ?= 10
.PHONY: check-random
check-random: $(OUT)/pgusher | deps-check ## random scripts against PostgreSQL itself, RANDOM_RUNS (10) new seeds
	PGUSHER_SEED=$(or $(PGUSHER_SEED),random) PGUSHER_RUNS=$(RANDOM_RUNS) $(PYTEST) \
		tests/system/test_random.py -k replies_are

# Not part of `check`: the servers come from npm's registry. Debian's own is `make check`'s.
VERSIONS ?= 14 16 17 18
POSTGRES ?= $(BUILD)/postgres
.PHONY: check-versions
check-versions: $(OUT)/pgusher $(OUT)/bench/load $(WRONG) | deps-check ## the system tests against PostgreSQL 14, 16, 17 and 18, which are fetched; VERSIONS=... for some
	@status=0; for v in $(VERSIONS); do \
		bin=$$(PYTHON=$(PYTHON) scripts/fetch-postgres.sh $$v $(POSTGRES)) || exit 1; \
		echo "== PostgreSQL $$v"; \
		PGUSHER_PG_BIN=$$bin $(PYTEST) $(SYSTEM_TESTS) || status=1; \
	done; exit $$status

# Not part of `check`: what it installs under build/clients comes from the languages' registries.
.PHONY: check-clients
check-clients: $(OUT)/pgusher | deps-check deps-clients ## drivers and ORMs of other languages against PgUsher; CLIENTS=... for some
	PGUSHER_BIN=$(abspath $(OUT)/pgusher) $(PYTHON) tests/clients/run.py --build $(BUILD)/clients $(CLIENTS)

.PHONY: bench
# bench_*.c are programs that time one thing and run as they are; load*.c are the load generator,
# mint.c makes tokens for it.
BENCH_BIN := $(patsubst %.c,$(OUT)/%,$(wildcard bench/bench_*.c))
$(BENCH_BIN): $(OUT)/%: $(OUT)/obj/%.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(LINK) -o $@ $^ $(LIBS)
$(OUT)/bench/mint: $(OUT)/obj/bench/mint.o
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(LINK) -o $@ $^ -lcrypto
LOAD_OBJ := $(patsubst %.c,$(OUT)/obj/%.o,$(wildcard bench/load*.c))
$(OUT)/bench/load: $(LOAD_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(LINK) -o $@ $^ -lssl -lcrypto
bench: $(OUT)/pgusher $(BENCH_BIN) $(OUT)/bench/load $(OUT)/bench/mint | deps-bench ## the comparisons of bench/, ratios printed as a table
	@for b in $(BENCH_BIN); do echo "== $$b"; $$b || exit 1; done
	@if [ -x bench/run.sh ]; then PGUSHER_BIN=$(abspath $(OUT)/pgusher) bench/run.sh; fi

# ---- fuzzing -----------------------------------------------------------------------------

# libFuzzer is clang's, so the library is compiled once more with it. New inputs are kept under
# build/; one that is worth keeping is copied into tests/fuzz/corpus/NAME by hand.
FUZZ := $(BUILD)/fuzz
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN := $(FUZZ_SRC:tests/fuzz/%.c=$(FUZZ)/%)
FUZZ_FLAGS := -std=c11 -O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all
FUZZ_OBJ := $(LIB_SRC:%.c=$(FUZZ)/obj/%.o)
# The targets sql_lexer, sql_classify and sql_guard share the corpus sql.
FUZZ_SEEDS := seeds=tests/fuzz/corpus/$$name; [ -d $$seeds ] || seeds=$${seeds%_*}

$(FUZZ)/obj/%.o: %.c $(OUT)/settings | deps-check
	@mkdir -p $(@D)
	$(call say,CLANG,$<)
	$(Q)$(CLANG) $(PG_CPPFLAGS) $(PKG_CFLAGS) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link,address,undefined \
		-MMD -MP -c -o $@ $<

$(FUZZ_BIN): $(FUZZ)/%: $(FUZZ)/obj/tests/fuzz/%.o $(FUZZ_OBJ)
	$(call say,LINK,$@)
	$(Q)$(CLANG) $(FUZZ_FLAGS) -fsanitize=fuzzer,address,undefined -o $@ $^ $(LIBS)

-include $(shell find $(FUZZ)/obj -name '*.d' 2>/dev/null)

.PHONY: fuzz-build
fuzz-build: $(FUZZ_BIN)

.PHONY: fuzz
fuzz: $(FUZZ_BIN) ## fuzz each parser for FUZZ_SECONDS (30) over tests/fuzz/corpus
	@set -e; for f in $(FUZZ_BIN); do \
		name=$${f#$(FUZZ)/fuzz_}; found=$(FUZZ)/corpus/$$name; $(FUZZ_SEEDS); \
		mkdir -p $$found; echo "== fuzz $$name"; [ -d $$seeds ] || seeds=; \
		$(NO_ASLR) $$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 \
			-print_final_stats=1 -artifact_prefix=$(FUZZ)/$$name- $$found $$seeds; \
	done

# The corpora alone, each input once: quick enough for every check.
.PHONY: fuzz-corpus
fuzz-corpus: $(FUZZ_BIN)
	@status=0; for f in $(FUZZ_BIN); do \
		name=$${f#$(FUZZ)/fuzz_}; $(FUZZ_SEEDS); log=$(FUZZ)/$$name.log; \
		n=$$(find $$seeds -type f 2>/dev/null | wc -l); \
		if [ $$n -gt 0 ] && $(NO_ASLR) $$f -runs=0 -timeout=10 $$seeds > $$log 2>&1; then \
			echo "fuzz-corpus $$name: ok ($$n inputs)"; \
		else \
			[ $$n -eq 0 ] || tail -40 $$log; echo "fuzz-corpus $$name: FAILED ($$n inputs)"; status=1; \
		fi; \
	done; exit $$status

# ---- style -------------------------------------------------------------------------------

GEN_DOCS := $(if $(wildcard tests/lint/gen_docs.c),$(OUT)/tests/lint/gen_docs)
$(GEN_DOCS): $(OUT)/%: $(OUT)/obj/%.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(LINK) -o $@ $^ $(LIBS)

.PHONY: lint
lint: $(GEN_DOCS) | deps-check ## layers, sizes, headers, format, clang-tidy, cppcheck, docs; RULES=... for some
	@$(PYTHON) tests/lint/lint.py --build $(BUILD)/lint --cc '$(CC)' \
		--cflags '$(subst ','\'',$(PG_CPPFLAGS) $(PKG_CFLAGS) -std=c11 $(WARN))' \
		--gen-docs '$(GEN_DOCS)' $(RULES)

# tbl/ holds tables, one row a line, which a formatter would only break.
FORMATTED := $(filter-out include/tbl/%,$(wildcard src/*.[ch] src/*/*.[ch] include/*.h include/*/*.h \
	tests/*/*.[ch] tests/*/*/*.[ch] bench/*.[ch]))
.PHONY: format
format: | deps-check ## clang-format every source in place
	clang-format -i $(FORMATTED)

.PHONY: docs
docs: $(GEN_DOCS) ## write again what is generated: etc/pgusher.ini, configuration.md, guard.md, clients.md's code
	$(GEN_DOCS) ini > $(OUT)/docs.tmp && mv $(OUT)/docs.tmp etc/pgusher.ini
	$(GEN_DOCS) manual > $(OUT)/docs.tmp && mv $(OUT)/docs.tmp docs/configuration.md
	$(GEN_DOCS) guard > $(OUT)/docs.tmp && mv $(OUT)/docs.tmp docs/guard.md
	$(PYTHON) tests/clients/snippets.py --write

# ---- installing --------------------------------------------------------------------------

.PHONY: install
install: all ## install under PREFIX (/usr/local), DESTDIR in front; an ini that is there stays
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(SYSCONFDIR)/pgusher $(DESTDIR)$(UNITDIR) \
		$(DESTDIR)$(PREFIX)/share/pgusher/sql $(DESTDIR)$(PREFIX)/share/doc/pgusher/docs
	install -m 755 $(OUT)/pgusher $(DESTDIR)$(PREFIX)/bin/pgusher
	test -e $(DESTDIR)$(SYSCONFDIR)/pgusher/pgusher.ini || \
		install -m 644 etc/pgusher.ini $(DESTDIR)$(SYSCONFDIR)/pgusher/pgusher.ini
	sed -e 's|@BINDIR@|$(PREFIX)/bin|g' -e 's|@SYSCONFDIR@|$(SYSCONFDIR)|g' etc/pgusher.service \
		> $(DESTDIR)$(UNITDIR)/pgusher.service
	chmod 644 $(DESTDIR)$(UNITDIR)/pgusher.service
	install -m 644 $(wildcard sql/*.sql sql/*.md) $(DESTDIR)$(PREFIX)/share/pgusher/sql
	install -m 644 README.md LICENSE $(DESTDIR)$(PREFIX)/share/doc/pgusher
	install -m 644 $(wildcard docs/*.md) $(DESTDIR)$(PREFIX)/share/doc/pgusher/docs
	ln -sfn ../../pgusher/sql $(DESTDIR)$(PREFIX)/share/doc/pgusher/sql
	ln -sfn ../doc/pgusher/docs $(DESTDIR)$(PREFIX)/share/pgusher/docs

.PHONY: deb
deb: all ## a Debian package, build/pgusher_VERSION_ARCH.deb
	rm -rf $(OUT)/deb
	$(MAKE) install PREFIX=/usr SYSCONFDIR=/etc UNITDIR=/usr/lib/systemd/system \
		DESTDIR=$(abspath $(OUT))/deb/root
	scripts/deb.sh $(OUT)/deb $(VERSION) $(OUT)

.PHONY: demo
demo: | deps-demo ## install, build, and tour PgUsher before a throw-away cluster under build/demo
	+$(MAKE) all
	scripts/demo.sh start

.PHONY: demo-stop
demo-stop: ## stop what `make demo` left running
	scripts/demo.sh stop

.PHONY: clean
clean: ## remove build/
	rm -rf $(BUILD)

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z-]+):.* ## (.*)/\1\t\2/p' Makefile | sort | expand -t 14
