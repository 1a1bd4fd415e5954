/* fuzz: a target takes any bytes, hands them to a piece of the course, and holds what it did
 * against what it must do. A wrong answer ends the program (assert(3)).
 *
 * The same target is run in two ways: by libFuzzer, which thinks up inputs, and by replay.c,
 * over the inputs on record in tests/fuzz/corpus, with any compiler.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* The name and the shape are libFuzzer's. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#endif
