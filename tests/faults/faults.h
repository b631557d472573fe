/* SPDX-License-Identifier: MIT
 *
 * faults.h -- system calls that fail on demand: a shared object for LD_PRELOAD, and the memory by which a test steers
 * it.
 *
 * Each function that enters the kernel (or allocates) is wrapped. A call is known by its *site*: the function and the
 * place in the program that called it. The file named in $KVP_FAULTS, mapped by the program and by the test, counts the
 * calls of each site; where it is armed, a call of one site, of any site of a function, or any call at random fails in
 * one of the ways that its function has. So one process serves many runs, and a run without faults tells what there is
 * to fail. $KVP_FAULTS_IN lists the modules whose calls count, by the beginning of their names ("kvpagerd libsystemd");
 * all others pass.
 *
 * tests/system/faults.py has this layout once more.
 */
#ifndef TESTS_FAULTS_H
#define TESTS_FAULTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define FAULTS_MAGIC         UINT32_C(0x6b767066)
#define FAULTS_MAX_FUNCTIONS 96
#define FAULTS_MAX_ERRORS    12
#define FAULTS_MAX_MODULES   32
#define FAULTS_SITES         4096 /* a hash table */
#define FAULTS_LOG           256

/* Ways to fail beside errno. */
enum {
        FAULTS_SPURIOUS = 1000, /* a wait that ends for nothing */
        FAULTS_SHORT,           /* half of it was read or written */
        FAULTS_CTRUNC,          /* the fds of a message were cut off */
        FAULTS_TRUNC,           /* the end of a message was cut off */
        FAULTS_DIE,             /* the process is killed before the call; any function can */
};

enum faults_mode { FAULTS_OFF, FAULTS_SITE, FAULTS_FUNCTION, FAULTS_RANDOM };

struct faults_function {
        char name[32];
        uint16_t errors[FAULTS_MAX_ERRORS]; /* errno or one of the above; 0 ends */
};

struct faults_site {
        _Atomic uint64_t key; /* module << 56 | function << 48 | offset in the module; 0: free */
        _Atomic uint64_t calls;
};

struct faults_area {
        uint32_t magic, n_functions, n_modules;
        _Atomic uint32_t armed; /* enum faults_mode; the test writes it last */
        uint64_t site;          /* FAULTS_SITE: its key */
        uint32_t function, error;
        uint64_t seed;
        uint32_t one_in, reserved;       /* FAULTS_RANDOM */
        _Atomic int64_t skip, times;     /* matching calls to let pass, and then to fail */
        _Atomic uint64_t matched, fired; /* matching calls, and those that failed */
        _Atomic int64_t allocations;     /* made and not freed */
        struct {
                _Atomic uint64_t key, error;
        } log[FAULTS_LOG]; /* those that failed last, a ring */
        struct faults_function functions[FAULTS_MAX_FUNCTIONS];
        char modules[FAULTS_MAX_MODULES][64];
        struct faults_site sites[FAULTS_SITES];
};

/* A wrapped function was called from `caller`: 0, or the way in which it is to fail. Keeps errno. */
int faults_now(unsigned function, const void *caller);

/* One allocation more or less. */
void faults_allocated(int n);

/* The functions, in the order of the area, and their names and ways to fail (table.c). */
enum faults_function_index {
#define X(name, ...) FAULTS_F_##name,
#include "table.h"
#undef X
        FAULTS_N_FUNCTIONS
};
_Static_assert(FAULTS_N_FUNCTIONS <= FAULTS_MAX_FUNCTIONS, "the area has room for all functions");

extern const struct faults_function faults_functions[FAULTS_N_FUNCTIONS];

#endif
