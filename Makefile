# Every command a person types. `make help` lists them.

STAGES := $(sort $(notdir $(patsubst %/,%,$(wildcard [0-9][0-9]-*/))))
NUMBERS := $(foreach stage,$(STAGES),$(firstword $(subst -, ,$(stage))))

# `make test SANITIZE=address` builds beside the ordinary programs, not over them.
SANITIZE ?=
ifeq ($(SANITIZE),)
BUILD := build
else ifeq ($(SANITIZE),address)
BUILD := build/address
SANITIZE_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all
else ifeq ($(SANITIZE),thread)
BUILD := build/thread
SANITIZE_FLAGS := -fsanitize=thread
else
$(error SANITIZE=$(SANITIZE): it can be address or thread)
endif

CFLAGS ?= -O2 -g
CXXFLAGS ?= -O1 -g
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wformat=2 -Wvla
C_WARNINGS := $(WARNINGS) -Wstrict-prototypes -Wmissing-prototypes
C_STANDARD := -std=c11 -D_DEFAULT_SOURCE
COMPILE := -I. -pthread $(SANITIZE_FLAGS)
LIBRARIES := -lm

COMMON := $(patsubst common/%.c,$(BUILD)/common/%.o,$(wildcard common/*.c))
PROGRAMS := $(foreach stage,$(STAGES),$(BUILD)/$(stage)/server $(BUILD)/$(stage)/client)
UNIT_TESTS := $(patsubst tests/unit/%.cc,$(BUILD)/unit/%.o,$(wildcard tests/unit/*_test.cc))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all build help programs

all: programs
	@echo "built $(BUILD)/NN-name/server and client; make help lists what else there is"

build: all

programs: $(PROGRAMS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(C_STANDARD) $(CFLAGS) $(C_WARNINGS) $(COMPILE) -MMD -MP -c $< -o $@

$(PROGRAMS): $(BUILD)/%: $(BUILD)/%.o $(COMMON)
	$(CC) $(LDFLAGS) $(COMPILE) $^ $(LIBRARIES) -o $@

$(BUILD)/unit/%.o: tests/unit/%.cc
	@mkdir -p $(@D)
	$(CXX) -std=c++17 $(CXXFLAGS) $(WARNINGS) $(COMPILE) -MMD -MP -c $< -o $@

$(BUILD)/unit/unit_tests: $(UNIT_TESTS) $(COMMON)
	$(CXX) $(LDFLAGS) $(COMPILE) $^ -lgtest -lgtest_main $(LIBRARIES) -o $@

-include $(wildcard $(BUILD)/*/*.d)
