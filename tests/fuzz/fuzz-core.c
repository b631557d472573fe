/* SPDX-License-Identifier: MIT
 *
 * fuzz-core.c -- the input decides what device, workers and administrator do, one byte a decision; the simulator's
 * shadow and core_check() watch every event.
 */
#include "fuzz.h"

#include "world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        sim_run_script(data, size);
        return 0;
}
