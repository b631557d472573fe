/* SPDX-License-Identifier: MIT
 *
 * cleanup.h -- ownership in sight: a variable with _cleanup_(fn) gives up what it holds at the end of its scope, and
 * TAKE_PTR hands it on.
 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stddef.h>
#include <stdlib.h>

#define _cleanup_(fn) __attribute__((cleanup(fn)))

/* The pointer's value; the variable holds NULL from here on. */
#define TAKE_PTR(pointer)                                                                                              \
        __extension__({                                                                                                \
                __typeof__(pointer) *take_from_ = &(pointer);                                                          \
                __typeof__(pointer) taken_ = *take_from_;                                                              \
                *take_from_ = NULL;                                                                                    \
                taken_;                                                                                                \
        })

/* For variables of any pointer type: char *, struct x *. */
static inline void cleanup_free(void *pointer_to_variable)
{
        free(*(void **)pointer_to_variable);
}

#endif
