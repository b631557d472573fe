/* SPDX-License-Identifier: MIT
 *
 * compute.c -- the stand-in's memory, copies, modules and launches. Of kernels it knows kvpager's own, and runs their
 * references in C.
 *
 * What is launched is asynchronous in the strictest way: it runs when somebody waits for it, and no sooner. Memory that
 * was unmapped in the meantime is an illegal address then, and after that every call that waits says so, as with a GPU.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "image.h"
#include "kernels.h"
#include "reference.h"
#include "standin.h"

#define FATBIN_MAGIC 0xba55ed50u

struct work {
        char kernel[40]; /* empty: an event is recorded */
        char parameters[sizeof(struct kernel_attention)];
        CUevent event;
        struct work *next;
};

struct CUevent_st {
        struct timespec time;
        int pending; /* records that have not run */
        bool recorded;
};

struct allocation {
        uint64_t base, size;
        uint64_t asked; /* of size, which is whole pages */
        struct allocation *next;
};

static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER, allocations_lock = PTHREAD_MUTEX_INITIALIZER;
static struct work *queue, **queue_end = &queue;
static struct allocation *allocations;
static CUresult broken; /* CUDA_ERROR_ILLEGAL_ADDRESS from the first on */

#define NEED_CONTEXT()                                                                                                 \
        do {                                                                                                           \
                if (standin_current_device() < 0)                                                                      \
                        return CUDA_ERROR_INVALID_CONTEXT;                                                             \
        } while (0)

/* ---- what touches memory that is not there ---- */

static _Thread_local sigjmp_buf *volatile landing; /* a copy may fault, which the compiler cannot know */
static struct sigaction before[2];

static void on_fault(int number, siginfo_t *info, void *context)
{
        const struct sigaction *old = &before[number == SIGBUS];

        if (landing)
                siglongjmp(*landing, 1);
        if ((old->sa_flags & SA_SIGINFO) && old->sa_sigaction) {
                old->sa_sigaction(number, info, context);
                return;
        }
        (void)sigaction(number, old, NULL); /* and it happens again */
}

static void catch_faults(void)
{
        struct sigaction now = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER }, found;

        if (sigaction(SIGSEGV, NULL, &found) == 0 && found.sa_sigaction != on_fault) {
                (void)sigaction(SIGSEGV, &now, &before[0]);
                (void)sigaction(SIGBUS, &now, &before[1]);
        }
}

static CUresult guarded_copy(void *target, const void *source, size_t size)
{
        sigjmp_buf here;

        if (sigsetjmp(here, 1)) {
                landing = NULL;
                return CUDA_ERROR_INVALID_VALUE;
        }
        landing = &here;
        memcpy(target, source, size);
        landing = NULL;
        return CUDA_SUCCESS;
}

static CUresult run(const struct work *work)
{
        sigjmp_buf here;
        int r;

        if (sigsetjmp(here, 1)) {
                landing = NULL;
                return CUDA_ERROR_ILLEGAL_ADDRESS;
        }
        landing = &here;
        r = kernel_reference(work->kernel, work->parameters);
        landing = NULL;
        return r == 0 ? CUDA_SUCCESS : CUDA_ERROR_UNKNOWN;
}

CUresult standin_finish(void)
{
        CUresult result;

        (void)pthread_mutex_lock(&queue_lock);
        catch_faults();
        while (queue) {
                struct work *work = queue;

                queue = work->next;
                if (!queue)
                        queue_end = &queue;
                if (work->event) {
                        (void)clock_gettime(CLOCK_MONOTONIC, &work->event->time);
                        work->event->pending--;
                        work->event->recorded = true;
                } else if (broken == CUDA_SUCCESS) {
                        broken = run(work);
                }
                free(work);
        }
        result = broken;
        (void)pthread_mutex_unlock(&queue_lock);
        return result;
}

static void enqueue(struct work *work)
{
        (void)pthread_mutex_lock(&queue_lock);
        if (work->event)
                work->event->pending++;
        *queue_end = work;
        queue_end = &work->next;
        (void)pthread_mutex_unlock(&queue_lock);
}

static struct work *work_new(void)
{
        struct work *work = calloc(1, sizeof(*work));

        if (!work)
                abort();
        return work;
}

/* ---- memory ---- */

CUresult standin_allocate(CUdeviceptr *ret, size_t size)
{
        const size_t asked = size;
        struct allocation *a;
        char name[64];
        int fd, device = standin_current_device();
        void *p = MAP_FAILED;

        NEED_CONTEXT();
        if (size == 0)
                return CUDA_ERROR_INVALID_VALUE;
        size = (size + 4095) & ~(size_t)4095;
        standin_name(name, standin_real_device(device), size);
        fd = standin_has_room(device, size) ? memfd_create(name, MFD_CLOEXEC) : -1;
        if (fd >= 0 && ftruncate(fd, (off_t)size) == 0)
                p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (fd >= 0)
                (void)close(fd);
        if (p == MAP_FAILED)
                return CUDA_ERROR_OUT_OF_MEMORY;
        a = calloc(1, sizeof(*a));
        if (!a)
                abort();
        *ret = (CUdeviceptr)(uintptr_t)p;
        (void)pthread_mutex_lock(&allocations_lock);
        *a = (struct allocation){ .base = *ret, .size = size, .asked = asked, .next = allocations };
        allocations = a;
        (void)pthread_mutex_unlock(&allocations_lock);
        return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr *ret, size_t size)
{
        CUresult result;

        ENTER(alloc);
        result = standin_allocate(ret, size);
        if (result == CUDA_SUCCESS)
                standin_moved(F_alloc, size);
        return result;
}

CUresult standin_free(CUdeviceptr address, uint64_t *ret_size)
{
        struct allocation **at, *a;
        CUresult result;

        NEED_CONTEXT();
        result = standin_finish();
        (void)pthread_mutex_lock(&allocations_lock);
        for (at = &allocations; *at && (*at)->base != address; at = &(*at)->next)
                ;
        a = *at;
        if (a) {
                *at = a->next;
                *ret_size = a->asked;
                (void)munmap((void *)(uintptr_t)a->base, a->size);
                free(a);
        }
        (void)pthread_mutex_unlock(&allocations_lock);
        return a ? result : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemFree_v2(CUdeviceptr address)
{
        uint64_t size = 0;
        CUresult result;

        ENTER(alloc_free);
        result = standin_free(address, &size);
        if (result == CUDA_SUCCESS)
                standin_moved(F_alloc_free, size);
        return result;
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr target, const void *source, size_t size)
{
        CUresult r;

        ENTER(copy_in);
        NEED_CONTEXT();
        r = standin_finish();
        return r == CUDA_SUCCESS ? guarded_copy((void *)(uintptr_t)target, source, size) : r;
}

CUresult cuMemcpyDtoH_v2(void *target, CUdeviceptr source, size_t size)
{
        CUresult r;

        ENTER(copy_out);
        NEED_CONTEXT();
        r = standin_finish();
        return r == CUDA_SUCCESS ? guarded_copy(target, (const void *)(uintptr_t)source, size) : r;
}

CUresult cuMemsetD8_v2(CUdeviceptr address, unsigned char byte, size_t size)
{
        char bytes[4096];
        CUresult r;

        ENTER(set_bytes);
        NEED_CONTEXT();
        r = standin_finish();
        memset(bytes, byte, sizeof(bytes));
        for (size_t at = 0; r == CUDA_SUCCESS && at < size; at += sizeof(bytes))
                r = guarded_copy((char *)(uintptr_t)address + at, bytes,
                                 size - at < sizeof(bytes) ? size - at : sizeof(bytes));
        return r;
}

/* ---- modules and launches ---- */

CUresult cuModuleLoadData(CUmodule *ret, const void *image)
{
        uint32_t magic;

        ENTER(module_load);
        NEED_CONTEXT();
        memcpy(&magic, image, sizeof(magic));
        /* It has kernels of its own, so a build without nvcc will do. */
        if (magic != FATBIN_MAGIC && strncmp(image, KERNEL_IMAGE_NONE, strlen(KERNEL_IMAGE_NONE)) != 0)
                return CUDA_ERROR_INVALID_IMAGE;
        *ret = (CUmodule)(uintptr_t)1;
        return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule module)
{
        ENTER(module_unload);
        NEED_CONTEXT();
        return module == (CUmodule)(uintptr_t)1 ? standin_finish() : CUDA_ERROR_INVALID_HANDLE;
}

struct CUfunc_st {
        char name[40];
        struct CUfunc_st *next;
};

CUresult cuModuleGetFunction(CUfunction *ret, CUmodule module, const char *name)
{
        static struct CUfunc_st *functions;
        struct CUfunc_st *f;

        ENTER(module_function);
        NEED_CONTEXT();
        if (module != (CUmodule)(uintptr_t)1)
                return CUDA_ERROR_INVALID_HANDLE;
        if (!kernel_reference_exists(name))
                return CUDA_ERROR_NOT_FOUND;
        (void)pthread_mutex_lock(&queue_lock);
        for (f = functions; f && strcmp(f->name, name) != 0; f = f->next)
                ;
        if (!f) {
                f = calloc(1, sizeof(*f));
                if (!f)
                        abort();
                (void)snprintf(f->name, sizeof(f->name), "%s", name);
                f->next = functions;
                functions = f;
        }
        (void)pthread_mutex_unlock(&queue_lock);
        *ret = f;
        return CUDA_SUCCESS;
}

/* The grid that a kernel's struct asks for, and the struct's size. */
static struct kernel_shape shape_of(const char *name, const void *parameters, size_t *ret_size)
{
        const struct kernel_compare *compare = parameters;

        if (strcmp(name, "kvp_compare") == 0) {
                *ret_size = sizeof(struct kernel_compare);
                return kernel_words_shape((uint64_t)compare->layers * compare->n);
        }
        if (strcmp(name, "kvp_fill") == 0 || strcmp(name, "kvp_check") == 0) {
                *ret_size = sizeof(struct kernel_contents);
                return kernel_words_shape(kernel_contents_words(parameters));
        }
        *ret_size = sizeof(struct kernel_attention);
        if (strcmp(name, "kvp_combine") == 0)
                return kernel_combine_shape(parameters);
        return kernel_attention_shape(parameters, strstr(name, "fp32") ? 4 : 2);
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                        unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void **parameters,
                        void **extra)
{
        struct kernel_shape shape;
        struct work *work;
        size_t size;

        (void)stream;
        ENTER(launch);
        NEED_CONTEXT();
        if (!function || !parameters || !parameters[0] || extra)
                return CUDA_ERROR_INVALID_VALUE;
        shape = shape_of(function->name, parameters[0], &size);
        if (grid_x != shape.grid[0] || grid_y != shape.grid[1] || grid_z != shape.grid[2] ||
            shared_bytes != shape.shared_bytes || block_x != KERNEL_THREADS || block_y != 1 || block_z != 1 ||
            grid_x == 0 || grid_y == 0 || grid_z == 0 || grid_y > 65535 || grid_z > 65535 ||
            shared_bytes > KERNEL_SHARED_MAX)
                return CUDA_ERROR_INVALID_VALUE;
        work = work_new();
        (void)snprintf(work->kernel, sizeof(work->kernel), "%s", function->name);
        memcpy(work->parameters, parameters[0], size);
        enqueue(work);
        return broken;
}

/* ---- streams and events: there is one queue ---- */

CUresult cuStreamCreate(CUstream *ret, unsigned flags)
{
        ENTER(stream_create);
        NEED_CONTEXT();
        *ret = (CUstream)(uintptr_t)(flags + 16);
        return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream stream)
{
        (void)stream;
        ENTER(stream_synchronize);
        NEED_CONTEXT();
        return standin_finish();
}

CUresult cuStreamDestroy_v2(CUstream stream)
{
        ENTER(stream_destroy);
        NEED_CONTEXT();
        return stream ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuEventCreate(CUevent *ret, unsigned flags)
{
        (void)flags;
        ENTER(event_create);
        NEED_CONTEXT();
        *ret = calloc(1, sizeof(**ret));
        return *ret ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuEventRecord(CUevent event, CUstream stream)
{
        struct work *work;

        (void)stream;
        ENTER(event_record);
        NEED_CONTEXT();
        work = work_new();
        work->event = event;
        enqueue(work);
        return CUDA_SUCCESS;
}

CUresult cuEventSynchronize(CUevent event)
{
        (void)event;
        ENTER(event_synchronize);
        return standin_finish();
}

CUresult cuEventElapsedTime(float *ret_msec, CUevent from, CUevent to)
{
        ENTER(event_elapsed);
        if (!from->recorded || !to->recorded)
                return CUDA_ERROR_INVALID_HANDLE;
        if (from->pending > 0 || to->pending > 0)
                return CUDA_ERROR_NOT_READY;
        *ret_msec = (float)(to->time.tv_sec - from->time.tv_sec) * 1e3f +
                    (float)(to->time.tv_nsec - from->time.tv_nsec) * 1e-6f;
        return CUDA_SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent event)
{
        ENTER(event_destroy);
        (void)standin_finish();
        free(event);
        return CUDA_SUCCESS;
}
