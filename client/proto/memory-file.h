/* SPDX-License-Identifier: MIT
 *
 * memory-file.h -- files in memory that are not to be executed, which some kernels want to be told (vm.memfd_noexec).
 */
#ifndef PROTO_MEMORY_FILE_H
#define PROTO_MEMORY_FILE_H

#include <errno.h>
#include <sys/mman.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* memfd_create(2), also before Linux 6.3, which does not know the flag. */
static inline int memory_file(const char *name)
{
        int fd = memfd_create(name, MFD_CLOEXEC | MFD_NOEXEC_SEAL);

        return fd < 0 && errno == EINVAL ? memfd_create(name, MFD_CLOEXEC) : fd;
}

#endif
