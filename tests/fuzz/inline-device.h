/* SPDX-License-Identifier: MIT
 *
 * inline-device.h -- the device's thread without a thread: jobs are done when the fuzzer says so, and fail when it says
 * so. It takes the place of dev-thread.c in the programs that use it; the backend behind it is the real one.
 */
#ifndef FUZZ_INLINE_DEVICE_H
#define FUZZ_INLINE_DEVICE_H

#include <stdbool.h>

struct inline_device {
        bool lazy;                            /* works only when told to */
        unsigned fail_creates, fail_destroys; /* so many of the next jobs of that kind fail */
        int error;                            /* with this negative errno */
        unsigned alive;                       /* extents with an open fd */
        unsigned queued;                      /* jobs not yet done */
};

extern struct inline_device inline_device;

/* Does the next job. False: there is none. */
bool inline_device_work(void);

#endif
