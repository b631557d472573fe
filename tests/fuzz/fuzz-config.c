/* SPDX-License-Identifier: MIT
 *
 * fuzz-config.c -- bytes as a configuration file: it is taken, or there is at least one complaint.
 */
#include <stdio.h>
#include <stdlib.h>

#include "config.h"
#include "fuzz.h"

static void complain(void *userdata, const char *sentence)
{
        (void)sentence;
        ++*(unsigned *)userdata;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct config *config = NULL;
        unsigned complaints = 0;
        FILE *file;
        int r;

        if (size == 0)
                return 0;
        file = fmemopen((void *)(uintptr_t)data, size, "r");
        if (!file)
                return 0;
        r = config_parse(file, "fuzz", complain, &complaints, &config);
        (void)fclose(file);
        if ((r == 0) != (complaints == 0) || (r == 0) != (config != NULL))
                abort();
        free(config);
        return 0;
}
