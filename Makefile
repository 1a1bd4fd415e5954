# Every command a person types; `make help` lists them.

STAGES := $(sort $(patsubst %/server.c,%,$(wildcard [0-9][0-9]-*/server.c)))
NUMBERS := $(foreach stage,$(STAGES),$(firstword $(subst -, ,$(stage))))

# With SANITIZE the programs are built beside the ordinary ones, not over them.
SANITIZE ?=
ifeq ($(SANITIZE),)
BUILD := build
else ifeq ($(SANITIZE),address)
BUILD := build/address
SANITIZE_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all
else ifeq ($(SANITIZE),thread)
BUILD := build/thread
SANITIZE_FLAGS := -fsanitize=thread
else ifeq ($(SANITIZE),fuzzer)
BUILD := build/fuzzer
CC := clang
SANITIZE_FLAGS := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
else
$(error SANITIZE=$(SANITIZE): it can be address or thread, and for make fuzz, fuzzer)
endif

CFLAGS ?= -O2 -g
CXXFLAGS ?= -O0 -g
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wformat=2 -Wvla
C_DIALECT := -std=c11 -D_GNU_SOURCE -D_DEFAULT_SOURCE $(WARNINGS) -Wstrict-prototypes -Wmissing-prototypes
CXX_DIALECT := -std=c++17 $(WARNINGS)
COMPILE := -I. -pthread $(SANITIZE_FLAGS)

PROGRAMS := $(foreach stage,$(STAGES),$(BUILD)/$(stage)/server $(BUILD)/$(stage)/client)
COMMON := $(patsubst %.c,$(BUILD)/%.o,$(wildcard common/*.c))
LABS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/labs/[0-9][0-9]-*.c))
LAB_PARTS := $(patsubst %,$(BUILD)/tests/labs/%.o,lab program plot)
WIRE := $(patsubst %,$(BUILD)/tests/labs/wire/%.o,hosts segment wire ladder)
# Stages 08 and 09 with answers that take long to compute, for lab 09: see slow.c.
SLOW := $(patsubst %,$(BUILD)/tests/labs/slow/%/server,$(filter 08-% 09-%,$(STAGES)))
LOAD := $(BUILD)/tests/bench/load.o
UNIT := $(patsubst %.cc,$(BUILD)/%.o,$(wildcard tests/unit/*.cc))

# As many jobs as there are processors, unless -j says otherwise; a make that this one starts
# shares them.
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
endif

# What the labs need besides a C compiler; most have it with the C library.
KERNEL_HEADERS := $(shell printf '\043include <linux/rtnetlink.h>' | $(CC) -E - >/dev/null 2>&1 && echo yes)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:

##@begin
##  make            build everything, into build/NN-name/server and client
.PHONY: all build
all: $(PROGRAMS) $(if $(KERNEL_HEADERS),experiments)
	@echo "built the $(words $(STAGES)) stages in $(BUILD)/; 'make help' lists what to do with them"
build: all

.PHONY: experiments
experiments: $(LABS) $(BUILD)/wire $(BUILD)/tests/bench/bench $(SLOW)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(C_DIALECT) $(CFLAGS) $(COMPILE) -MMD -MP -c $< -o $@

$(BUILD)/%.o: %.cc
	@mkdir -p $(@D)
	$(CXX) $(CXX_DIALECT) $(CXXFLAGS) $(COMPILE) -MMD -MP -c $< -o $@

$(PROGRAMS): $(BUILD)/%: $(BUILD)/%.o $(COMMON)
	$(CC) $(COMPILE) $(LDFLAGS) $^ -lm -o $@

$(BUILD)/tests/bench/bench: $(BUILD)/tests/bench/bench.o $(LOAD) $(COMMON)
	$(CC) $(COMPILE) $(LDFLAGS) $^ -lm -o $@

$(BUILD)/wire: $(BUILD)/tests/labs/wire/tool.o $(WIRE) $(COMMON)
	$(CC) $(COMPILE) $(LDFLAGS) $^ -lm -o $@

$(BUILD)/tests/bench/wire: $(BUILD)/tests/bench/wire.o $(WIRE) $(COMMON)
	$(CC) $(COMPILE) $(LDFLAGS) $^ -lm -o $@

$(LABS): $(BUILD)/%: $(BUILD)/%.o $(LAB_PARTS) $(WIRE) $(LOAD) $(COMMON)
	$(CC) $(COMPILE) $(LDFLAGS) $^ -lm -o $@

$(SLOW): $(BUILD)/tests/labs/slow/%/server: %/server.c $(BUILD)/tests/labs/slow.o $(COMMON)
	@mkdir -p $(@D)
	$(CC) $(C_DIALECT) $(CFLAGS) $(COMPILE) $(LDFLAGS) -Dunpack=unpack_slowly $^ -lm -o $@

$(BUILD)/tests/unit/unit_tests: $(UNIT) $(WIRE) $(COMMON)
	$(CXX) $(COMPILE) $(LDFLAGS) $^ -lgtest -lgtest_main -lm -o $@

# Fuzz targets: with libFuzzer behind them, or with what replays the inputs on record.
FUZZERS := $(patsubst %.c,$(BUILD)/%,$(filter-out %/replay.c,$(wildcard tests/fuzz/*.c)))
FUZZ_MAIN := $(if $(filter fuzzer,$(SANITIZE)),-fsanitize=fuzzer,$(BUILD)/tests/fuzz/replay.o)
$(BUILD)/tests/fuzz/check: $(patsubst %.c,$(BUILD)/%.o,$(filter-out %/server.c %/check.c,\
	$(wildcard tests/check/*.c)))
$(BUILD)/tests/fuzz/proc: $(filter-out %/lab.o,$(LAB_PARTS))
$(FUZZERS): $(BUILD)/%: $(BUILD)/%.o $(filter %.o,$(FUZZ_MAIN)) $(WIRE) $(COMMON)
	$(CC) $(COMPILE) $(LDFLAGS) $^ $(filter-out %.o,$(FUZZ_MAIN)) -lm -o $@

# The library that has calls fail; it replaces malloc as the GNU C library has it, and so do the
# sanitizers.
FAULTS := $(if $(SANITIZE),,$(shell printf '\043include <features.h>\n__GLIBC__' | \
	$(CC) -E -P - 2>/dev/null | grep -q __GLIBC__ || echo $(BUILD)/tests/faults/faults.so))
$(BUILD)/tests/faults/faults.so: tests/faults/faults.c
	@mkdir -p $(@D)
	$(CC) $(C_DIALECT) $(CFLAGS) -I. -fPIC -shared $< -ldl -o $@

-include $(wildcard $(BUILD)/*/*.d $(BUILD)/tests/*/*.d $(BUILD)/tests/labs/wire/*.d)

##  make doctor     does this machine have what the course needs? Installs nothing
.PHONY: doctor
doctor:
	@MAKE='$(MAKE)' BUILD='$(BUILD)' sh tests/doctor.sh

##@see
##  make tour       what each stage does, in under a minute: the labs in short
.PHONY: tour
tour:
	@sh tests/setup.sh tour
	@echo "building the stages and the labs ..."
	@$(MAKE) --no-print-directory -s all experiments
	@sh tests/tour.sh || [ $$? = 77 ]

##  make lab-03     experiments with stage 03; tables, pictures: build/labs/03/
.PHONY: $(NUMBERS:%=lab-%)
$(NUMBERS:%=lab-%): lab-%:
	@sh tests/setup.sh tour
	@$(MAKE) --no-print-directory -s all experiments
	@$(filter $(BUILD)/tests/labs/$*-%,$(LABS)) $(ARGS)

##  make labs       all labs, and build/labs/index.html with all that they found
.PHONY: labs
labs:
	@sh tests/setup.sh tour
	@echo "building the stages and the labs ..."
	@$(MAKE) --no-print-directory -s all experiments
	@sh tests/tour.sh full || [ $$? = 77 ]

##@maintain
##  make docs       run all labs, write the generated parts of docs/ and README.md
.PHONY: docs docs-check
docs: labs
	@python3 docs/generate.py

##  make docs-check fail where a generated part is stale, a link or an anchor dead
docs-check: all experiments
	@python3 docs/generate.py --check

##@see
##  make run-03     its server; with options: make run-03 ARGS='--backlog 4'
.PHONY: $(NUMBERS:%=run-%)
$(NUMBERS:%=run-%): run-%: all
	@exec $(BUILD)/$(filter $*-%,$(STAGES))/server $(ARGS)

##@read
##  make diff-03    what stage 03 adds to 02; of any two stages: make diff-05-07
.PHONY: $(NUMBERS:%=diff-%)
# 08 and 09 are two answers to what 07 leaves open, so both are held against 07.
BEFORE_09 := 07
before = $(or $(BEFORE_$1),$(lastword 00 $(filter-out $1,$(foreach n,$(NUMBERS),$(if \
	$(filter $1,$(firstword $(sort $1 $n))),,$n)))))
show_diff = set -- $(wildcard $1-*) $(wildcard $2-*); \
	if command -v git >/dev/null; then git diff --no-index -- $$1 $$2 || [ $$? = 1 ]; \
	else diff -ru $$1 $$2 || [ $$? = 1 ]; fi
$(NUMBERS:%=diff-%): diff-%:
	@$(if $(filter 00,$(call before,$*)),echo "stage $* is the first: read $(wildcard $*-*)/",\
		$(call show_diff,$(call before,$*),$*))

define diff_of_two
.PHONY: diff-$1-$2
diff-$1-$2:
	@$$(call show_diff,$1,$2)
endef
$(foreach a,$(NUMBERS),$(foreach b,$(filter-out $a,$(NUMBERS)),$(eval $(call diff_of_two,$a,$b))))

##  make try-03     a copy of stage 03 to change and build: build/try/03/server.c;
##                  a new one after 'make clean', or with PATCH=file.diff
PATCH ?=
.PHONY: $(NUMBERS:%=try-%)
$(NUMBERS:%=try-%): try-%: $(COMMON)
	@mkdir -p build/try/$*
	@$(if $(PATCH),,[ -e build/try/$*/server.c ] ||) cp $(filter $*-%,$(STAGES))/*.c build/try/$*
	$(if $(PATCH),@git apply --directory=build/try/$* $(PATCH))
	@for program in server client; do \
		$(CC) $(C_DIALECT) $(CFLAGS) $(COMPILE) $(LDFLAGS) build/try/$*/$$program.c $(COMMON) -lm \
			-o build/try/$*/$$program || exit 1; done

##@test
##  make test       all tests; with sanitizers: SANITIZE=address, SANITIZE=thread
.PHONY: test unit integration
test:
	@sh tests/setup.sh test
	@units=; $(MAKE) --no-print-directory unit || units=failed; \
	$(MAKE) --no-print-directory integration || exit 1; \
	[ -z "$$units" ] || { echo "the unit tests failed: see above" >&2; exit 1; }

unit: $(BUILD)/tests/unit/unit_tests $(FUZZERS)
	$< --gtest_brief=1 --gtest_output=xml:$(BUILD)/unit.xml
	@for target in $(FUZZERS); do \
	$$target tests/fuzz/corpus/$${target##*/}.txt || exit 1; done

integration: all experiments $(FAULTS) $(BUILD)/tests/check/check
	sh tests/pytest.sh --build=$(BUILD) --junitxml=$(BUILD)/integration.xml tests/integration

##  make test-03    the tests of stage 03; ARGS= is for pytest; with SERVER=
##                  'any command' all that the course asks of its own server
.PHONY: $(NUMBERS:%=test-%)
up_to = $(foreach n,$(NUMBERS),$(if $(filter $n,$(firstword $(sort $1 $n))),$n))
$(NUMBERS:%=test-%): test-%:
	@sh tests/setup.sh test
	@$(MAKE) --no-print-directory all
	$(if $(SERVER),TEST_LIMIT=5) sh tests/pytest.sh \
		$(patsubst %,tests/integration/test_%_*.py,$(if $(SERVER),$(call up_to,$*),$*)) \
		--build=$(BUILD) --junitxml=$(BUILD)/test-$*.xml $(ARGS) \
		$(if $(SERVER),--server="$$SERVER")

# ---- write it yourself ----

CHECK := $(BUILD)/tests/check/check
CHECK_PARTS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/check/*.c))
AS_PYTHON := $(if $(filter python,$(IN)),--python)

$(CHECK): $(CHECK_PARTS) $(COMMON)
	$(CC) $(COMPILE) $(LDFLAGS) $^ -lm -o $@

# What CHECK is told: the stage behind the dash, SERVER=, ALL=1, WATCH=1, TAP=1, JUNIT=.
CHECKED = $(if $(SERVER),--server "$$SERVER") $(if $(ALL),--all) $(if $(WATCH),--watch) \
	$(if $(TAP),--tap) $(if $(JUNIT),--junit '$(JUNIT)')
RUN_CHECK = $(MAKE) --no-print-directory -s $(CHECK) && BUILD='$(BUILD)' CC='$(CC)' $(CHECK)

##@write
##  make start      a file to write your own server in: stage 01, or the next one
##  make start-03   the same for stage 03; IN=python in Python
.PHONY: start $(NUMBERS:%=start-%)
start:
	+@$(RUN_CHECK) start $(AS_PYTHON)
$(NUMBERS:%=start-%): start-%:
	+@$(RUN_CHECK) start $* $(AS_PYTHON)

##  make check      what your server does already, and the first thing it does not
##  make check-03   the same up to stage 03; WATCH=1: again at each save; ALL=1:
##                  past the first fault; SERVER='any command' instead of
##                  your file; for machines: JUNIT=file, TAP=1
.PHONY: check $(NUMBERS:%=check-%)
check:
	+@$(RUN_CHECK) check $(CHECKED)
$(NUMBERS:%=check-%): check-%:
	+@$(RUN_CHECK) check $* $(CHECKED)

##  make hint       the next of three hints for the step that failed; make hint-03
.PHONY: hint $(NUMBERS:%=hint-%)
hint:
	+@$(RUN_CHECK) hint
$(NUMBERS:%=hint-%): hint-%:
	+@$(RUN_CHECK) hint $*

##  make compare-03 your server and the course's, side by side
.PHONY: compare $(NUMBERS:%=compare-%)
compare:
	+@$(RUN_CHECK) compare
$(NUMBERS:%=compare-%): compare-%:
	+@$(RUN_CHECK) compare $*

##  make progress   all stages and steps: what your servers do
.PHONY: progress
progress:
	+@$(RUN_CHECK) progress

# A folder with a submission for each learner: NAME.c, NAME.py, NAME/server.c or NAME/NN/server.c.
##  make check-all DIR=submissions STAGE=03   a whole class in one table
.PHONY: check-all
check-all:
	@$(MAKE) --no-print-directory -s $(CHECK)
	@BUILD='$(BUILD)' CC='$(CC)' sh tests/check/all.sh '$(CHECK)' '$(DIR)' '$(STAGE)'

##@maintain
##  make wrong-servers  write the reports of tests/check/wrong/ anew
.PHONY: wrong-servers
wrong-servers: all $(CHECK)
	RECORD=1 sh tests/pytest.sh --build=$(BUILD) tests/integration/test_check.py -k told_its_mistake

##@test
##  make bench      08 and 09 beside bare loops, Node, asyncio; memory; the wire
.PHONY: bench
bench: all experiments $(BUILD)/tests/bench/wire
	@$(BUILD)/tests/bench/wire || [ $$? = 77 ]
	@$(BUILD)/tests/bench/bench $(ARGS)

##@maintain
##  make fuzz       a million inputs from libFuzzer for each target; RUNS=N
.PHONY: fuzz fuzzers
RUNS ?= 1000000
fuzz:
	@sh tests/setup.sh fuzz
	@$(MAKE) --no-print-directory SANITIZE=fuzzer fuzzers
	@sh tests/fuzz/fuzz.sh $(RUNS) $(TARGETS)
fuzzers: $(FUZZERS)

##  make soak       rude and honest clients at 08 and 09, sanitizers, MINUTES=10
.PHONY: soak
MINUTES ?= 10
soak:
	@sh tests/setup.sh test
	@for sanitizer in address thread; do \
	$(MAKE) --no-print-directory -s SANITIZE=$$sanitizer all && \
	$$(sh tests/setup.sh python) -B tests/soak/soak.py build/$$sanitizer \
		$$(awk 'BEGIN { print $(MINUTES) / 2 }') || exit 1; done

##  make kernels    tour, labs, tests on kernels 5.10, 6.1, 6.12, in qemu; as root
.PHONY: kernels
kernels:
	@sh tests/setup.sh kernels
	@sh tests/kernels/kernels.sh $(VERSIONS); status=$$?; \
	python3 -B tests/kernels/table.py && exit $$status

##  make processors  build and test for s390x, arm64, i386, and with musl
.PHONY: processors
processors:
	@sh tests/setup.sh processors $(NAMES)
	@sh tests/kernels/processors.sh $(NAMES)

##@read
##  make book       chapters, sources and diffs as a site: build/book/index.html
.PHONY: book
book:
	@sh tests/setup.sh book
	@$$(sh tests/setup.sh book-python) -B docs/book/make.py build/book
	@echo "open build/book/index.html in a browser"

C_FILES = $(wildcard common/*.[ch] */server.c */client.c tests/*/*.[ch] tests/labs/wire/*.[ch])
CXX_FILES = $(wildcard tests/unit/*.cc)

##@maintain
##  make carry FROM=03  merge what changed in stage 03 into the later stages
.PHONY: carry
carry:
	@sh tests/carry.sh '$(FROM)'

##  make format     lay out the C and C++ files with clang-format
.PHONY: format
format:
	clang-format -i $(C_FILES) $(CXX_FILES)

##  make lint       gcc and clang with -Werror, clang-format, clang-tidy, cppcheck
.PHONY: lint
each_c_file = printf '%s\n' $(filter %.c,$(C_FILES)) | xargs -P "$$(nproc)"
lint:
	@sh tests/setup.sh lint
	clang-format --dry-run --Werror $(C_FILES) $(CXX_FILES)
	@for compiler in gcc clang; do echo "$$compiler -Werror"; $(each_c_file) -n 1 \
	$$compiler $(C_DIALECT) -O2 -Werror -I. -o /dev/null -c || exit 1; done
	@echo clang-tidy; $(each_c_file) -n 8 sh -c \
	'clang-tidy --quiet --warnings-as-errors="*" "$$@" -- $(C_DIALECT) -I.' clang-tidy
	cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability \
		--inline-suppr -I. -j "$$(nproc)" $(filter %.c,$(C_FILES))

##@begin
##  make clean      remove build/, all that was ever built
.PHONY: clean
clean:
	rm -rf build

##  make help       this list
.PHONY: help
help:
	@awk '/^##@/ { group = substr($$0, 4) } /^##  / { text[group] = text[group] substr($$0, 3) "\n" } \
	END { n = split("begin read see write test maintain", order, " "); \
	for (i = 1; i <= n; i++) printf("%s%s\n%s", (i > 1 ? "\n" : ""), order[i], text[order[i]]) }' Makefile
