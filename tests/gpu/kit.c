/* SPDX-License-Identifier: MIT
 *
 * kit.c -- see kit.h.
 */
#include "kit.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "image.h"

_Noreturn static void give_up(const char *why)
{
        json_begin("error");
        json_text("why", why);
        json_end();
        exit(EXIT_FAILURE);
}

void kit_open(struct kit *kit, bool context)
{
        CUuuid uuid;

        kit->cuda = cuda_get(kit->error, sizeof(kit->error));
        if (!kit->cuda)
                give_up(kit->error);
        if (!OK(device_get(&kit->device, 0)) || !OK(device_get_name(kit->name, sizeof(kit->name), kit->device)) ||
            !OK(device_get_uuid(&uuid, kit->device)))
                give_up(kit->error);
        cuda_uuid_format(&uuid, kit->uuid);
        kit->prop = (CUmemAllocationProp){ .type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                           .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
                                           .location = { CU_MEM_LOCATION_TYPE_DEVICE, kit->device } };
        kit->access = (CUmemAccessDesc){ kit->prop.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE };
        if (context && (!OK(primary_ctx_retain(&kit->context, kit->device)) || !OK(ctx_push_current(kit->context))))
                give_up(kit->error);
}

bool kit_ok(struct kit *kit, CUresult result, const char *call)
{
        if (result != CUDA_SUCCESS)
                (void)snprintf(kit->error, sizeof(kit->error), "%.*s: %s (%d)", (int)strcspn(call, "("), call,
                               cuda_error_name(kit->cuda, result), result);
        return result == CUDA_SUCCESS;
}

/* $KVPAGER_KERNELS, or what was built in: never that where the other was meant. */
static const char *image_find(void)
{
        static char *image; /* kept: who loads lazily may look again */
        const char *path = getenv("KVPAGER_KERNELS");
        char why[300];
        FILE *file;
        size_t n;

        if (!path || !path[0])
                return kernel_image;
        file = fopen(path, "re");
        if (!file) {
                (void)snprintf(why, sizeof(why), "KVPAGER_KERNELS=%s: %s", path, strerror(errno));
                give_up(why);
        }
        image = malloc((size_t)64 << 20);
        if (!image)
                give_up("no memory for $KVPAGER_KERNELS");
        n = fread(image, 1, ((size_t)64 << 20) - 1, file);
        image[n] = '\0';
        (void)fclose(file);
        return image;
}

CUfunction kit_kernel(struct kit *kit, const char *name)
{
        CUfunction function = NULL;

        if (!kit->module && !OK(module_load(&kit->module, image_find()))) {
                kit->module = NULL;
                return NULL;
        }
        return OK(module_function(&function, kit->module, name)) ? function : NULL;
}

bool kit_launch(struct kit *kit, CUfunction function, const void *parameters, const struct kernel_shape *shape,
                CUstream stream)
{
        union {
                const void *from;
                void *to;
        } parameter = { .from = parameters };
        void *list[] = { parameter.to };

        return OK(launch(function, shape->grid[0], shape->grid[1], shape->grid[2], KERNEL_THREADS, 1, 1,
                         shape->shared_bytes, stream, list, NULL));
}

bool run_reserve(struct kit *kit, struct run *run, uint64_t size, unsigned n)
{
        *run = (struct run){ .size = size, .room = size * n };
        if (n > RUN_MAX)
                give_up("a run of too many extents");
        return OK(mem_reserve(&run->base, run->room, 0, 0, 0));
}

bool run_create(struct kit *kit, struct run *run)
{
        for (; run->n * run->size < run->room; run->n++)
                if (!OK(mem_create(&run->handles[run->n], run->size, &kit->prop, 0)))
                        return false;
        return true;
}

bool run_make(struct kit *kit, struct run *run, uint64_t size, unsigned n)
{
        return run_reserve(kit, run, size, n) && run_create(kit, run);
}

bool run_map(struct kit *kit, struct run *run)
{
        for (unsigned i = 0; i < run->n; i++)
                if (!OK(mem_map(run->base + i * run->size, run->size, 0, run->handles[i], 0)))
                        return false;
        return true;
}

bool run_access(struct kit *kit, struct run *run, int flags)
{
        const CUmemAccessDesc access = { kit->prop.location, flags };

        return OK(mem_set_access(run->base, run->size * run->n, &access, 1));
}

void run_unmap(struct kit *kit, struct run *run)
{
        for (unsigned i = 0; i < run->n; i++)
                (void)kit->cuda->mem_unmap(run->base + i * run->size, run->size);
}

void run_release(struct kit *kit, struct run *run)
{
        while (run->n > 0)
                (void)kit->cuda->mem_release(run->handles[--run->n]);
}

void run_free(struct kit *kit, struct run *run)
{
        run_release(kit, run);
        if (run->base)
                (void)kit->cuda->mem_free(run->base, run->room);
        *run = (struct run){ 0 };
}

double now_usec(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec * 1e6 + (double)now.tv_nsec * 1e-3;
}

static int by_value(const void *a, const void *b)
{
        const double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

double median(double *values, unsigned n)
{
        qsort(values, n, sizeof(*values), by_value);
        return n > 0 ? values[n / 2] : 0;
}

double percentile(const double *sorted, unsigned n, double percent)
{
        return n > 0 ? sorted[(unsigned)((n - 1) * percent / 100.0 + 0.5)] : 0;
}

bool memory_ask(const struct kit *kit, unsigned long long ret[static 3])
{
        void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL), *device;
        int (*init)(void), (*by_uuid)(const char *, void **), (*memory)(void *, unsigned long long[3]);

        if (!library)
                return false;
        *(void **)&init = dlsym(library, "nvmlInit_v2");
        *(void **)&by_uuid = dlsym(library, "nvmlDeviceGetHandleByUUID");
        *(void **)&memory = dlsym(library, "nvmlDeviceGetMemoryInfo");
        return init && by_uuid && memory && init() == 0 && by_uuid(kit->uuid, &device) == 0 && memory(device, ret) == 0;
}

int memory_print(void)
{
        struct kit kit = { 0 };
        unsigned long long sizes[3];

        kit_open(&kit, false);
        if (!memory_ask(&kit, sizes))
                return EXIT_FAILURE;
        (void)printf("{\"name\": \"memory\", \"free\": %llu, \"used\": %llu}\n", sizes[1], sizes[2]);
        return EXIT_SUCCESS;
}

uint64_t memory_used(const struct kit *kit)
{
        unsigned long long sizes[3];

        return memory_ask(kit, sizes) ? sizes[2] : UINT64_MAX;
}

/* ---- JSON ---- */

static void print_text(const char *text)
{
        (void)putchar('"');
        for (; *text; text++)
                (void)printf((unsigned char)*text < 0x20 ? " " : *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
        (void)putchar('"');
}

void json_begin(const char *name)
{
        (void)printf("{\"name\": ");
        print_text(name);
}

void json_text(const char *key, const char *value)
{
        (void)printf(", \"%s\": ", key);
        print_text(value);
}

void json_number(const char *key, double value)
{
        (void)printf(", \"%s\": %.6g", key, value);
}

void json_end(void)
{
        (void)printf("}\n");
        (void)fflush(stdout);
}
