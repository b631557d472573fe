/* SPDX-License-Identifier: MIT
 *
 * libnvidia-ml.c -- a stand-in for libnvidia-ml.so.1, as far as kvpager calls it: see libcuda.c.
 */
#include <string.h>

#include "standin.h"

PUBLIC int nvmlInit_v2(void);
PUBLIC int nvmlShutdown(void);
PUBLIC int nvmlDeviceGetHandleByUUID(const char *uuid, void **ret);
PUBLIC int nvmlDeviceGetMemoryInfo(void *device, unsigned long long ret[3]);
PUBLIC int nvmlDeviceGetPersistenceMode(void *device, unsigned *ret);

int nvmlInit_v2(void)
{
        return standin_state() ? 0 : 999;
}

int nvmlShutdown(void)
{
        return 0;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **ret)
{
        if (strncmp(uuid, standin_setting("KVP_STANDIN_MIG", 0) ? "MIG-" : "GPU-", 4) != 0)
                return 6;
        for (int i = 0; i < standin_devices(); i++) {
                static const char digits[] = "0123456789abcdef";
                CUuuid bytes;

                standin_uuid(i, &bytes);
                if (uuid[4] == digits[bytes.bytes[0] >> 4] && uuid[5] == digits[bytes.bytes[0] & 15]) {
                        *ret = (void *)(uintptr_t)(i + 1);
                        return 0;
                }
        }
        return 6;
}

int nvmlDeviceGetMemoryInfo(void *device, unsigned long long ret[3])
{
        const uint64_t used = standin_in_use((int)(uintptr_t)device - 1);

        ret[0] = standin_memory();
        ret[1] = used < ret[0] ? ret[0] - used : 0;
        ret[2] = used;
        return 0;
}

int nvmlDeviceGetPersistenceMode(void *device, unsigned *ret)
{
        (void)device;
        *ret = (unsigned)standin_setting("KVP_STANDIN_PERSISTENCE", 1);
        return 0;
}
