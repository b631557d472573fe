/* SPDX-License-Identifier: MIT
 *
 * faults.c -- sites, and which call is to fail. Before the area is mapped, and in a process that has none, every call
 * passes.
 */
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct module {
        uintptr_t from, to;
        bool counts;
};

static struct faults_area *area;
static struct module modules[FAULTS_MAX_MODULES];

static uint64_t mix(uint64_t x) /* splitmix64 */
{
        x += UINT64_C(0x9e3779b97f4a7c15);
        x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
        return x ^ x >> 31;
}

static struct faults_site *site_of(uint64_t key)
{
        for (uint64_t i = mix(key);; i++) {
                struct faults_site *site = &area->sites[i % FAULTS_SITES];
                uint64_t found = atomic_load_explicit(&site->key, memory_order_relaxed);

                if (found == 0 && atomic_compare_exchange_strong(&site->key, &found, key))
                        return site;
                if (found == key)
                        return site;
        }
}

/* 0: the caller is in none of the modules that count. */
static uint64_t key_of(unsigned function, uintptr_t caller)
{
        for (uint32_t i = 0; i < area->n_modules; i++)
                if (caller >= modules[i].from && caller < modules[i].to)
                        return modules[i].counts
                                       ? (uint64_t)(i + 1) << 56 | (uint64_t)function << 48 | (caller - modules[i].from)
                                       : 0;
        return 0;
}

static int way_at_random(unsigned function)
{
        const uint64_t x = mix(area->seed + (uint64_t)atomic_fetch_add(&area->skip, 1));
        const uint16_t *errors = faults_functions[function].errors;
        unsigned n = 0;

        if (x % area->one_in != 0)
                return 0;
        while (n < FAULTS_MAX_ERRORS && errors[n])
                n++;
        return errors[(x >> 32) % n];
}

static int way(unsigned function, uint64_t key)
{
        switch ((enum faults_mode)atomic_load(&area->armed)) {
        case FAULTS_SITE:
                if (key != area->site)
                        return 0;
                break;
        case FAULTS_FUNCTION:
                if (function != area->function)
                        return 0;
                break;
        case FAULTS_RANDOM:
                atomic_fetch_add(&area->matched, 1);
                return way_at_random(function);
        case FAULTS_OFF:
        default:
                return 0;
        }
        atomic_fetch_add(&area->matched, 1);
        if (atomic_fetch_sub(&area->skip, 1) > 0 || atomic_fetch_sub(&area->times, 1) <= 0)
                return 0;
        return (int)area->error;
}

int faults_now(unsigned function, const void *caller)
{
        uint64_t key;
        int error;

        if (!area)
                return 0;
        key = key_of(function, (uintptr_t)caller);
        if (key == 0)
                return 0;
        atomic_fetch_add_explicit(&site_of(key)->calls, 1, memory_order_relaxed);
        error = way(function, key);
        if (error != 0) {
                const uint64_t at = atomic_fetch_add(&area->fired, 1) % FAULTS_LOG;

                atomic_store(&area->log[at].key, key);
                atomic_store(&area->log[at].error, (uint64_t)error);
                if (error == FAULTS_DIE)
                        (void)syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
        }
        return error;
}

void faults_allocated(int n)
{
        if (area)
                atomic_fetch_add_explicit(&area->allocations, n, memory_order_relaxed);
}

static bool module_counts(const char *name)
{
        const char *list = getenv("KVP_FAULTS_IN");

        while (list && *list) {
                const size_t length = strcspn(list, " ");

                if (strncmp(list, name, length) == 0)
                        return true;
                list += length + strspn(list + length, " ");
        }
        return false;
}

static int module_add(struct dl_phdr_info *info, size_t size, void *userdata)
{
        struct faults_area *to = userdata;
        const char *slash = strrchr(info->dlpi_name, '/');
        const char *name = slash ? slash + 1 : *info->dlpi_name ? info->dlpi_name : program_invocation_short_name;
        struct module *module;

        (void)size;
        if (to->n_modules == FAULTS_MAX_MODULES)
                return 1;
        module = &modules[to->n_modules];
        *module = (struct module){ .from = info->dlpi_addr, .to = info->dlpi_addr };
        for (unsigned i = 0; i < info->dlpi_phnum; i++) {
                const uintptr_t end = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;

                if (info->dlpi_phdr[i].p_type == PT_LOAD && end > module->to)
                        module->to = end;
        }
        module->counts = module_counts(name);
        strncpy(to->modules[to->n_modules], name, sizeof(to->modules[0]) - 1);
        to->n_modules++;
        return 0;
}

/* Not by open(), mmap() and close(): those are wrapped. The program and its children before exec share the area. */
__attribute__((constructor)) static void faults_open(void)
{
        const char *path = getenv("KVP_FAULTS");
        struct faults_area *mapped;
        int fd;

        if (!path)
                return;
        fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                abort();
        mapped = (struct faults_area *)syscall(SYS_mmap, NULL, sizeof(*mapped), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                                               0);
        if (mapped == MAP_FAILED)
                abort();
        (void)syscall(SYS_close, fd);
        memcpy(mapped->functions, faults_functions, sizeof(faults_functions));
        mapped->n_functions = FAULTS_N_FUNCTIONS;
        mapped->n_modules = 0;
        (void)dl_iterate_phdr(module_add, mapped);
        mapped->magic = FAULTS_MAGIC;
        area = mapped;
}
