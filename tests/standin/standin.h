/* SPDX-License-Identifier: MIT
 *
 * standin.h -- what both stand-ins share: settings, the file of counts, and who has memory, asked of the kernel.
 */
#ifndef STANDIN_H
#define STANDIN_H

#include <stdbool.h>
#include <stdint.h>

#include "cuda.h"

#define PUBLIC        __attribute__((visibility("default")))
#define STANDIN_NAME  "kvpager-standin" /* memory's name is this, the device and the size in bytes */

enum function {
#define X(field, symbol, arguments) F_##field,
        CUDA_FUNCTIONS(X)
#undef X
        N_FUNCTIONS
};

struct state { /* in the shared file; zeroes are a good beginning */
        uint64_t calls[N_FUNCTIONS];
        uint64_t used[16], made_since[16]; /* by device, as of the last look; and what was made after it */
};

uint64_t standin_setting(const char *name, uint64_t otherwise);
struct state *standin_state(void); /* NULL: no such file */
int standin_devices(void);
uint64_t standin_memory(void);              /* bytes of each device */
uint64_t standin_in_use(int device);        /* bytes that any process has open or mapped */
void standin_uuid(int device, CUuuid *ret);

#endif
