/* SPDX-License-Identifier: MIT
 *
 * wrap.h -- how a function is wrapped. The name of a wrapper is the function's own, so it must be the first of that
 * name that the dynamic linker finds; REAL() is the next one.
 */
#ifndef TESTS_FAULTS_WRAP_H
#define TESTS_FAULTS_WRAP_H

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

#include "faults.h"

#define EXPORT __attribute__((visibility("default")))

/* What dlsym() gives is no function for ISO C; POSIX says it is. */
#define REAL(name)                                                                                                     \
        __extension__({                                                                                                \
                static __typeof__(&(name)) real_;                                                                      \
                if (!real_) {                                                                                          \
                        *(void **)&real_ = dlsym(RTLD_NEXT, #name);                                                    \
                        if (!real_)                                                                                    \
                                abort();                                                                               \
                }                                                                                                      \
                real_;                                                                                                 \
        })

#define FAULT(name) faults_now(FAULTS_F_##name, __builtin_return_address(0))

/* Fails with errno, and nothing is done. */
#define WRAP(type, failed, name, parameters, arguments)                                                                \
        EXPORT type name parameters                                                                                    \
        {                                                                                                              \
                const int error = FAULT(name);                                                                         \
                                                                                                                       \
                if (error == 0)                                                                                        \
                        return REAL(name) arguments;                                                                   \
                errno = error;                                                                                         \
                return failed;                                                                                         \
        }

/* Fails with errno, and yet it is done: as close() does. */
#define WRAP_DONE(type, failed, name, parameters, arguments)                                                           \
        EXPORT type name parameters                                                                                    \
        {                                                                                                              \
                const int error = FAULT(name);                                                                         \
                const type done = REAL(name) arguments;                                                                \
                                                                                                                       \
                if (error == 0)                                                                                        \
                        return done;                                                                                   \
                errno = error;                                                                                         \
                return failed;                                                                                         \
        }

/* Returns its error. */
#define WRAP_RETURNS(name, parameters, arguments)                                                                      \
        EXPORT int name parameters                                                                                     \
        {                                                                                                              \
                const int error = FAULT(name);                                                                         \
                                                                                                                       \
                return error == 0 ? REAL(name) arguments : error;                                                      \
        }

#endif
