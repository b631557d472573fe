/* SPDX-License-Identifier: MIT
 *
 * libcuda.c -- a stand-in for libcuda.so.1: the driver API as far as kvpager calls it, over memfds, so that all of the
 * CUDA path runs on a machine without a GPU.
 *
 * It is strict where the driver is strict: a mapping is of a whole handle at offset 0, at an address of a reservation,
 * over nothing; it cannot be touched before cuMemSetAccess(); it is undone as a whole; memory lives until the last
 * handle, exported fd and mapping of it is gone, in whatever process; a forked child is not initialised. Memory is
 * finite: what there is of it in use is asked of the kernel, by looking who has it open or mapped, so that neither a
 * crash nor a lie can falsify it.
 *
 *      KVP_STANDIN_STATE    a file that all processes share (needed): counts of calls, by function
 *      KVP_STANDIN_MEMORY   bytes of each device; default 1 GiB
 *      KVP_STANDIN_DEVICES  how many; default 1
 *      KVP_STANDIN_FAULT    SYMBOL:N:RESULT  the N-th call of that function in this process fails so (0: every call)
 *      KVP_STANDIN_DELAY    SYMBOL:USEC[:N]  that function takes so long, from its N-th call on
 *      KVP_STANDIN_PLANT    WHAT:N           a bug that only verification can find: is_planted()
 *      KVP_STANDIN_FIRST, _VERSION, _VMM, _GRANULARITY, _PERSISTENCE, _NEED_CONTEXT   the first device's number here;
 * the driver's version; what devices can do; whether memory is made in a context alone
 *      KVP_STANDIN_UNKEPT   1: a driver under which a mapping alone does not keep memory
 *      KVP_STANDIN_MIG      1: devices are instances of partitioned GPUs
 *      KVP_STANDIN_READ     0: a driver that refuses mappings for reading alone
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "standin.h"

#define GRANULARITY (UINT64_C(2) << 20)

static const char *const function_names[] = {
#define X(field, symbol, arguments) #symbol,
        CUDA_FUNCTIONS(X)
#undef X
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct state *state;

/* ---- calls: counted, delayed, failed ---- */

static _Thread_local CUcontext contexts[16];
static _Thread_local int n_contexts;
static pid_t initialised; /* the process that called cuInit() */
static uint64_t own_calls[N_FUNCTIONS];

CUresult standin_enter(enum function function)
{
        const char *fault = getenv("KVP_STANDIN_FAULT"), *delay = getenv("KVP_STANDIN_DELAY");
        const size_t length = strlen(function_names[function]);
        uint64_t nth;

        state = standin_state();
        if (!state)
                return CUDA_ERROR_NOT_INITIALIZED;
        (void)__atomic_add_fetch(&state->calls[function], 1, __ATOMIC_RELAXED);
        nth = __atomic_add_fetch(&own_calls[function], 1, __ATOMIC_RELAXED);
        if (delay && strncmp(delay, function_names[function], length) == 0 && delay[length] == ':') {
                char *end;
                const uint64_t usec = strtoull(delay + length + 1, &end, 10);

                if (*end != ':' || nth >= strtoull(end + 1, NULL, 10))
                        (void)nanosleep(&(struct timespec){ .tv_sec = (time_t)(usec / 1000000),
                                                            .tv_nsec = (long)(usec % 1000000) * 1000 },
                                        NULL);
        }
        if (fault && strncmp(fault, function_names[function], length) == 0 && fault[length] == ':') {
                char *end;
                const uint64_t which = strtoull(fault + length + 1, &end, 10);

                if (*end == ':' && (which == 0 || which == nth))
                        return atoi(end + 1);
        }
        if (function != F_init && function != F_get_error_name && initialised != getpid())
                return CUDA_ERROR_NOT_INITIALIZED;
        return CUDA_SUCCESS;
}

CUcontext standin_current_context(void)
{
        return n_contexts > 0 ? contexts[n_contexts - 1] : NULL;
}

int standin_current_device(void)
{
        return n_contexts > 0 ? (int)((uintptr_t)contexts[n_contexts - 1] & 0xff) - 1 : -1;
}

/* KVP_STANDIN_PLANT=WHAT:N is a bug of the N-th call of its kind in this process: page (a mapping shows the pages of
 * the one before it), stale (created memory is not zero). */
static bool is_planted(const char *what, enum function function)
{
        const char *plant = getenv("KVP_STANDIN_PLANT");
        const size_t length = strlen(what);

        return plant && strncmp(plant, what, length) == 0 && plant[length] == ':' &&
               strtoull(plant + length + 1, NULL, 10) == __atomic_load_n(&own_calls[function], __ATOMIC_RELAXED);
}

/* ---- handles, reservations, mappings of this process ---- */

struct handle {
        uint64_t id, size;
        bool created;       /* here: not imported */
        int fd, references; /* a mapping is no reference: the kernel's own mapping keeps the memory */
        struct handle *next;
};

struct reservation {
        uint64_t base, size;
        struct reservation *next;
};

struct mapping {
        uint64_t base, size;
        struct mapping *next;
};

static struct handle *handles;
static struct reservation *reservations;
static struct mapping *mappings;
static uint64_t next_handle = 1;

static struct handle *handle_find(uint64_t id)
{
        struct handle *h = handles;

        while (h && h->id != id)
                h = h->next;
        return h;
}

static CUresult handle_new(int fd, uint64_t size, CUmemGenericAllocationHandle *ret)
{
        struct handle *h = calloc(1, sizeof(*h));

        if (!h)
                abort();
        *h = (struct handle){ .id = next_handle++, .size = size, .fd = fd, .references = 1, .next = handles };
        handles = h;
        *ret = h->id;
        return CUDA_SUCCESS;
}

static bool is_reserved(uint64_t base, uint64_t size)
{
        for (const struct reservation *r = reservations; r; r = r->next)
                if (base >= r->base && base + size <= r->base + r->size && base + size > base)
                        return true;
        return false;
}

/* Bytes of the range that are mapped; UINT64_MAX: a mapping reaches over one of its ends. */
static uint64_t mapped_bytes(uint64_t base, uint64_t size)
{
        uint64_t bytes = 0;

        for (const struct mapping *m = mappings; m; m = m->next) {
                if (m->base >= base + size || m->base + m->size <= base)
                        continue;
                if (m->base < base || m->base + m->size > base + size)
                        return UINT64_MAX;
                bytes += m->size;
        }
        return bytes;
}

CUresult cuInit(unsigned flags)
{
        ENTER(init);
        if (flags != 0)
                return CUDA_ERROR_INVALID_VALUE;
        if (standin_devices() == 0)
                return CUDA_ERROR_NO_DEVICE;
        initialised = getpid();
        return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int *ret)
{
        ENTER(driver_get_version);
        *ret = (int)standin_setting("KVP_STANDIN_VERSION", 13000);
        return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char **ret)
{
        ENTER(get_error_name);
        *ret = error == CUDA_ERROR_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_OF_THE_STAND_IN";
        return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *ret)
{
        ENTER(device_get_count);
        *ret = standin_devices();
        return CUDA_SUCCESS;
}

/* Numbers may differ from process to process, as with CUDA_VISIBLE_DEVICES: KVP_STANDIN_FIRST is the first one here. */
CUresult cuDeviceGet(CUdevice *ret, int ordinal)
{
        ENTER(device_get);
        if (ordinal < 0 || ordinal >= standin_devices())
                return CUDA_ERROR_INVALID_DEVICE;
        *ret = ordinal;
        return CUDA_SUCCESS;
}

int standin_real_device(int device)
{
        return (device + (int)standin_setting("KVP_STANDIN_FIRST", 0)) % standin_devices();
}

CUresult cuDeviceGetUuid_v2(CUuuid *ret, CUdevice device)
{
        ENTER(device_get_uuid);
        if (device < 0 || device >= standin_devices())
                return CUDA_ERROR_INVALID_DEVICE;
        standin_uuid(standin_real_device(device), ret);
        return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *ret, int size, CUdevice device)
{
        ENTER(device_get_name);
        if (device < 0 || device >= standin_devices())
                return CUDA_ERROR_INVALID_DEVICE;
        (void)snprintf(ret, (size_t)size, "%s", "stand-in for a GPU (no results)");
        return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *ret, int attribute, CUdevice device)
{
        ENTER(device_get_attribute);
        if (device < 0 || device >= standin_devices())
                return CUDA_ERROR_INVALID_DEVICE;
        *ret = (attribute == CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED &&
                standin_setting("KVP_STANDIN_VMM", 1)) ||
               attribute == CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED;
        return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t *ret, CUdevice device)
{
        ENTER(device_total_mem);
        if (device < 0 || device >= standin_devices())
                return CUDA_ERROR_INVALID_DEVICE;
        *ret = standin_memory();
        return CUDA_SUCCESS;
}

/* A context is named by its device; and by a number, where it is not the device's primary one. */
static CUcontext context_of(CUdevice device)
{
        return (CUcontext)(uintptr_t)(device + 1);
}

#define MAX_CONTEXTS 64u

static bool context_lives[MAX_CONTEXTS] = { true }; /* by number */

static bool context_is_alive(CUcontext context)
{
        const uintptr_t number = (uintptr_t)context >> 8;

        return context && number < MAX_CONTEXTS && context_lives[number];
}

/* For programs that have several: kvpager makes none itself. */
PUBLIC CUresult cuCtxCreate_v2(CUcontext *ret, unsigned flags, CUdevice device);
PUBLIC CUresult cuCtxDestroy_v2(CUcontext context);

CUresult cuCtxCreate_v2(CUcontext *ret, unsigned flags, CUdevice device)
{
        uintptr_t number = 1;

        (void)flags;
        (void)pthread_mutex_lock(&lock);
        while (number < MAX_CONTEXTS && context_lives[number])
                number++;
        if (number < MAX_CONTEXTS && device >= 0 && device < standin_devices() && n_contexts < 16) {
                context_lives[number] = true;
                *ret = contexts[n_contexts++] = (CUcontext)((uintptr_t)context_of(device) | number << 8);
        } else {
                number = MAX_CONTEXTS;
        }
        (void)pthread_mutex_unlock(&lock);
        return number < MAX_CONTEXTS ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuCtxDestroy_v2(CUcontext context)
{
        CUresult r = CUDA_ERROR_INVALID_CONTEXT;

        (void)standin_finish();
        (void)pthread_mutex_lock(&lock);
        if (context_is_alive(context) && (uintptr_t)context >> 8 > 0) {
                context_lives[(uintptr_t)context >> 8] = false;
                if (n_contexts > 0 && contexts[n_contexts - 1] == context)
                        n_contexts--;
                r = CUDA_SUCCESS;
        }
        (void)pthread_mutex_unlock(&lock);
        return r;
}

CUresult cuCtxGetCurrent(CUcontext *ret)
{
        ENTER(ctx_get_current);
        *ret = n_contexts > 0 ? contexts[n_contexts - 1] : NULL;
        return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *ret)
{
        ENTER(ctx_get_device);
        if (n_contexts == 0)
                return CUDA_ERROR_INVALID_CONTEXT;
        *ret = standin_current_device();
        return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent_v2(CUcontext context)
{
        ENTER(ctx_push_current);
        if (!context || n_contexts == 16)
                return CUDA_ERROR_INVALID_CONTEXT;
        if (!context_is_alive(context))
                return CUDA_ERROR_CONTEXT_IS_DESTROYED;
        contexts[n_contexts++] = context;
        return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent_v2(CUcontext *ret)
{
        ENTER(ctx_pop_current);
        if (n_contexts == 0)
                return CUDA_ERROR_INVALID_CONTEXT;
        n_contexts--;
        if (ret)
                *ret = contexts[n_contexts];
        return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *ret, CUdevice device)
{
        ENTER(primary_ctx_retain);
        if (device < 0 || device >= standin_devices())
                return CUDA_ERROR_INVALID_DEVICE;
        *ret = context_of(device);
        return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
        ENTER(primary_ctx_release);
        return device >= 0 && device < standin_devices() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuMemGetInfo_v2(size_t *ret_free, size_t *ret_total)
{
        uint64_t used;

        ENTER(mem_get_info);
        if (n_contexts == 0)
                return CUDA_ERROR_INVALID_CONTEXT;
        used = standin_in_use(standin_real_device(standin_current_device()));
        *ret_total = standin_memory();
        *ret_free = used < *ret_total ? *ret_total - used : 0;
        return CUDA_SUCCESS;
}

static bool prop_is_sound(const CUmemAllocationProp *prop)
{
        return prop->type == CU_MEM_ALLOCATION_TYPE_PINNED && prop->location.type == CU_MEM_LOCATION_TYPE_DEVICE &&
               prop->location.id >= 0 && prop->location.id < standin_devices() && !prop->win32HandleMetaData;
}

CUresult cuMemGetAllocationGranularity(size_t *ret, const CUmemAllocationProp *prop, int option)
{
        (void)option;
        ENTER(mem_get_granularity);
        if (!prop_is_sound(prop))
                return CUDA_ERROR_INVALID_VALUE;
        *ret = standin_setting("KVP_STANDIN_GRANULARITY", GRANULARITY);
        return CUDA_SUCCESS;
}

static bool has_room(int device, uint64_t size)
{
        if (state->used[device] + state->made_since[device] + size > standin_memory()) {
                state->used[device] = standin_in_use(device);
                state->made_since[device] = 0;
        }
        if (state->used[device] + size > standin_memory())
                return false;
        state->made_since[device] += size;
        return true;
}

bool standin_has_room(int device, uint64_t size)
{
        bool room;

        (void)pthread_mutex_lock(&lock);
        room = has_room(standin_real_device(device), size);
        (void)pthread_mutex_unlock(&lock);
        return room;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *ret, size_t size, const CUmemAllocationProp *prop,
                     unsigned long long flags)
{
        char name[64];
        int device, fd;
        CUresult r;

        ENTER(mem_create);
        if (n_contexts == 0 && standin_setting("KVP_STANDIN_NEED_CONTEXT", 0))
                return CUDA_ERROR_INVALID_CONTEXT;
        if (flags != 0 || size == 0 || size % GRANULARITY != 0 || !prop_is_sound(prop))
                return CUDA_ERROR_INVALID_VALUE;
        (void)pthread_mutex_lock(&lock);
        device = standin_real_device(prop->location.id);
        standin_name(name, device, size);
        fd = has_room(device, size) ? memfd_create(name, MFD_CLOEXEC) : -1;
        if (fd >= 0 && ftruncate(fd, (off_t)size) == 0) {
                for (size_t at = 0; at < size && is_planted("stale", F_mem_create); at += 64)
                        if (pwrite(fd, "somebody else's", 15, (off_t)at) < 0)
                                abort();
                r = handle_new(fd, size, ret);
                handles->created = true;
                standin_moved(F_mem_create, size);
        } else {
                if (fd >= 0)
                        (void)close(fd);
                r = CUDA_ERROR_OUT_OF_MEMORY;
        }
        (void)pthread_mutex_unlock(&lock);
        return r;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
        struct handle **at, *h;

        ENTER(mem_release);
        (void)pthread_mutex_lock(&lock);
        for (at = &handles; *at && (*at)->id != handle; at = &(*at)->next)
                ;
        h = *at;
        if (h && h->created)
                standin_moved(F_mem_release, h->size);
        if (h && --h->references == 0) {
                *at = h->next;
                if (standin_setting("KVP_STANDIN_UNKEPT", 0) && standin_openers(h->fd) == 1)
                        (void)!ftruncate(h->fd, 0);
                (void)close(h->fd);
                free(h);
        }
        (void)pthread_mutex_unlock(&lock);
        return h ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemExportToShareableHandle(void *ret, CUmemGenericAllocationHandle handle, int type,
                                      unsigned long long flags)
{
        struct handle *h;
        int fd = -1;

        ENTER(mem_export);
        if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR || flags != 0)
                return CUDA_ERROR_INVALID_VALUE;
        (void)pthread_mutex_lock(&lock);
        h = handle_find(handle);
        if (h)
                fd = dup(h->fd);
        (void)pthread_mutex_unlock(&lock);
        if (!h)
                return CUDA_ERROR_INVALID_VALUE;
        if (fd < 0)
                return CUDA_ERROR_OPERATING_SYSTEM;
        *(int *)ret = fd;
        return CUDA_SUCCESS;
}

CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *ret, void *os_handle, int type)
{
        const int theirs = (int)(intptr_t)os_handle;
        char path[64], link[128] = "";
        struct stat st;
        CUresult r;
        int fd;

        ENTER_UNSAFE(mem_import);
        if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
                return CUDA_ERROR_INVALID_VALUE;
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", theirs);
        if (readlink(path, link, sizeof(link) - 1) < 0 ||
            strncmp(link, "/memfd:" STANDIN_NAME, strlen("/memfd:" STANDIN_NAME)) != 0 || fstat(theirs, &st) < 0)
                return CUDA_ERROR_INVALID_VALUE;
        fd = fcntl(theirs, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return CUDA_ERROR_OPERATING_SYSTEM;
        (void)pthread_mutex_lock(&lock);
        r = handle_new(fd, (uint64_t)st.st_size, ret);
        (void)pthread_mutex_unlock(&lock);
        return r;
}

CUresult cuMemAddressReserve(CUdeviceptr *ret, size_t size, size_t alignment, CUdeviceptr address,
                             unsigned long long flags)
{
        struct reservation *r;
        uint64_t base, start;
        void *p;

        ENTER_UNSAFE(mem_reserve);
        r = calloc(1, sizeof(*r));
        if (!r)
                abort();
        if (alignment < GRANULARITY)
                alignment = GRANULARITY;
        if (size == 0 || size % GRANULARITY != 0 || (alignment & (alignment - 1)) != 0 || address != 0 || flags != 0) {
                free(r);
                return CUDA_ERROR_INVALID_VALUE;
        }
        p = mmap(NULL, size + alignment, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) {
                free(r);
                return CUDA_ERROR_OUT_OF_MEMORY;
        }
        base = (uint64_t)(uintptr_t)p;
        start = (base + alignment - 1) & ~((uint64_t)alignment - 1);
        if (start > base)
                (void)munmap(p, start - base);
        (void)munmap((void *)(uintptr_t)(start + size), base + alignment - start);
        (void)pthread_mutex_lock(&lock);
        *r = (struct reservation){ .base = start, .size = size, .next = reservations };
        reservations = r;
        (void)pthread_mutex_unlock(&lock);
        *ret = start;
        return CUDA_SUCCESS;
}

CUresult cuMemAddressFree(CUdeviceptr address, size_t size)
{
        CUresult result = CUDA_ERROR_INVALID_VALUE;

        ENTER_UNSAFE(mem_free);
        (void)pthread_mutex_lock(&lock);
        for (struct reservation **at = &reservations; *at; at = &(*at)->next) {
                struct reservation *r = *at;

                if (r->base != address || r->size != size || mapped_bytes(address, size) != 0)
                        continue;
                *at = r->next;
                (void)munmap((void *)(uintptr_t)address, size);
                free(r);
                result = CUDA_SUCCESS;
                break;
        }
        (void)pthread_mutex_unlock(&lock);
        return result;
}

CUresult cuMemMap(CUdeviceptr address, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
                  unsigned long long flags)
{
        CUresult result = CUDA_ERROR_INVALID_VALUE;
        const struct handle *h;

        ENTER_UNSAFE(mem_map);
        (void)pthread_mutex_lock(&lock);
        h = handle_find(handle);
        if (h && offset == 0 && flags == 0 && size == h->size && address % GRANULARITY == 0 &&
            is_reserved(address, size) && mapped_bytes(address, size) == 0) {
                struct mapping *m = calloc(1, sizeof(*m));

                if (!m)
                        abort();
                if (mmap((void *)(uintptr_t)address, size, PROT_NONE, MAP_SHARED | MAP_FIXED, h->fd, 0) == MAP_FAILED) {
                        free(m);
                        result = CUDA_ERROR_OUT_OF_MEMORY;
                } else {
                        for (const struct mapping *other = mappings; other && is_planted("page", F_mem_map);
                             other = other->next)
                                if (other->size == size) {
                                        (void)mremap((void *)(uintptr_t)other->base, 0, size,
                                                     MREMAP_MAYMOVE | MREMAP_FIXED, (void *)(uintptr_t)address);
                                        break;
                                }
                        *m = (struct mapping){ .base = address, .size = size, .next = mappings };
                        mappings = m;
                        standin_moved(F_mem_map, size);
                        result = CUDA_SUCCESS;
                }
        }
        (void)pthread_mutex_unlock(&lock);
        return result;
}

CUresult cuMemUnmap(CUdeviceptr address, size_t size)
{
        CUresult result = CUDA_ERROR_INVALID_VALUE;

        ENTER_UNSAFE(mem_unmap);
        (void)pthread_mutex_lock(&lock);
        for (struct mapping **at = &mappings; *at; at = &(*at)->next) {
                struct mapping *m = *at;

                if (m->base != address || m->size != size)
                        continue;
                if (mmap((void *)(uintptr_t)address, size, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
                        abort();
                *at = m->next;
                free(m);
                standin_moved(F_mem_unmap, size);
                result = CUDA_SUCCESS;
                break;
        }
        (void)pthread_mutex_unlock(&lock);
        return result;
}

CUresult cuMemSetAccess(CUdeviceptr address, size_t size, const CUmemAccessDesc *desc, size_t count)
{
        CUresult result = CUDA_ERROR_INVALID_VALUE;

        ENTER_UNSAFE(mem_set_access);
        (void)pthread_mutex_lock(&lock);
        if (desc->flags == CU_MEM_ACCESS_FLAGS_PROT_READ && !standin_setting("KVP_STANDIN_READ", 1))
                count = 0;
        if (count == 1 && desc->location.type == CU_MEM_LOCATION_TYPE_DEVICE && desc->location.id >= 0 &&
            desc->location.id < standin_devices() && size > 0 && mapped_bytes(address, size) == size &&
            mprotect((void *)(uintptr_t)address, size,
                     desc->flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE ? PROT_READ | PROT_WRITE
                     : desc->flags == CU_MEM_ACCESS_FLAGS_PROT_READ    ? PROT_READ
                                                                       : PROT_NONE) == 0)
                result = CUDA_SUCCESS;
        if (result == CUDA_SUCCESS)
                standin_moved(F_mem_set_access, size);
        (void)pthread_mutex_unlock(&lock);
        return result;
}
