/* SPDX-License-Identifier: MIT
 *
 * allocate.c -- the allocator, which also counts what is made and not freed. glibc's own names are called because
 * dlsym() itself allocates. Under a sanitizer, which has an allocator of its own, this file is left out.
 */
#include <string.h>

#include "wrap.h"

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

static void *allocated(void *p)
{
        if (p)
                faults_allocated(1);
        return p;
}

EXPORT void *malloc(size_t size)
{
        const int error = FAULT(malloc);

        if (error == 0)
                return allocated(__libc_malloc(size));
        errno = error;
        return NULL;
}

EXPORT void *calloc(size_t n, size_t size)
{
        const int error = FAULT(calloc);

        if (error == 0)
                return allocated(__libc_calloc(n, size));
        errno = error;
        return NULL;
}

EXPORT void *realloc(void *old, size_t size)
{
        const int error = FAULT(realloc);
        void *new;

        if (error != 0) {
                errno = error;
                return NULL;
        }
        new = __libc_realloc(old, size);
        faults_allocated((new && !old) - (!new &&old &&size == 0));
        return new;
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
        const int error = FAULT(aligned_alloc);

        if (error == 0)
                return allocated(__libc_memalign(alignment, size));
        errno = error;
        return NULL;
}

/* libc's calls malloc() above, from libc, where calls do not count. */
WRAP(char *, NULL, strdup, (const char *text), (text))

/* Not used by us, but what they return comes to free() below. */
EXPORT int posix_memalign(void **ret, size_t alignment, size_t size)
{
        void *p = allocated(__libc_memalign(alignment, size));

        if (!p)
                return ENOMEM;
        *ret = p;
        return 0;
}

EXPORT void free(void *p)
{
        if (p)
                faults_allocated(-1);
        __libc_free(p);
}
