/* SPDX-License-Identifier: MIT
 *
 * dev-backend.c -- the backends that there are.
 */
#include <assert.h>
#include <string.h>

#include "dev.h"

static const struct dev_backend *const backends[] = { &dev_backend_host, &dev_backend_cuda };

const struct dev_backend *dev_backend_find(const char *name)
{
        assert(name);

        for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
                if (strcmp(backends[i]->name, name) == 0)
                        return backends[i];
        return NULL;
}
