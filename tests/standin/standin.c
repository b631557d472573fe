/* SPDX-License-Identifier: MIT
 *
 * standin.c -- see standin.h.
 */
#include "standin.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_INODES 65536u

uint64_t standin_setting(const char *name, uint64_t otherwise)
{
        const char *text = getenv(name);

        return text && text[0] ? strtoull(text, NULL, 0) : otherwise;
}

/* Who shares a file of counts shares the memory. */
static unsigned long group(void)
{
        const char *path = getenv("KVP_STANDIN_STATE");
        static unsigned long found;
        struct stat st;

        if (found == 0 && path && stat(path, &st) == 0)
                found = st.st_ino;
        return found;
}

void standin_name(char name[static 64], int device, uint64_t size)
{
        (void)snprintf(name, 64, STANDIN_NAME "-%lu-%d-%ju", group(), device, (uintmax_t)size);
}

struct state *standin_state(void)
{
        static struct state *state;
        const char *path = getenv("KVP_STANDIN_STATE");
        int fd;

        if (state)
                return state;
        fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;
        if (fd < 0 || ftruncate(fd, sizeof(*state)) < 0)
                return NULL;
        state = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        (void)close(fd);
        if (state == MAP_FAILED)
                state = NULL;
        return state;
}

/* ---- who has memory: asked of the kernel ---- */

struct inodes {
        uint64_t seen[MAX_INODES];
        uint32_t n;
        uint64_t bytes, wanted;
        unsigned openers; /* of the wanted one */
        char prefix[64];
};

static void inodes_add(struct inodes *inodes, uint64_t inode, uint64_t size)
{
        for (uint32_t i = 0; i < inodes->n; i++)
                if (inodes->seen[i] == inode)
                        return;
        if (inodes->n == MAX_INODES)
                return;
        inodes->seen[inodes->n++] = inode;
        inodes->bytes += size;
}

static void look_at_fds(struct inodes *inodes, const char *pid)
{
        char path[300], link[128];
        struct dirent *entry;
        DIR *folder;

        (void)snprintf(path, sizeof(path), "/proc/%s/fd", pid);
        folder = opendir(path);
        while (folder && (entry = readdir(folder))) {
                struct stat st;
                ssize_t n = readlinkat(dirfd(folder), entry->d_name, link, sizeof(link) - 1);

                if (n <= 0 || strncmp(link, inodes->prefix, strlen(inodes->prefix)) != 0)
                        continue;
                if (fstatat(dirfd(folder), entry->d_name, &st, 0) < 0)
                        continue;
                inodes->openers += st.st_ino == inodes->wanted;
                inodes_add(inodes, st.st_ino, (uint64_t)st.st_size);
        }
        if (folder)
                (void)closedir(folder);
}

/* The size is in the memory's name: a mapping's file cannot be asked for it. */
static void look_at_maps(struct inodes *inodes, const char *pid)
{
        char path[300], line[600];
        FILE *maps;

        (void)snprintf(path, sizeof(path), "/proc/%s/maps", pid);
        maps = fopen(path, "re");
        while (maps && fgets(line, sizeof(line), maps)) {
                const char *name = strstr(line, inodes->prefix);
                unsigned long inode, size;

                if (name && sscanf(line, "%*s %*s %*s %*s %lu", &inode) == 1 &&
                    sscanf(name + strlen(inodes->prefix), "%lu", &size) == 1)
                        inodes_add(inodes, inode, size);
        }
        if (maps)
                (void)fclose(maps);
}

static void look_at_all(struct inodes *inodes, bool maps)
{
        struct dirent *entry;
        DIR *proc = opendir("/proc");

        if (!proc)
                abort();
        while ((entry = readdir(proc)))
                if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9') {
                        look_at_fds(inodes, entry->d_name);
                        if (maps)
                                look_at_maps(inodes, entry->d_name);
                }
        (void)closedir(proc);
}

uint64_t standin_in_use(int device)
{
        struct inodes *inodes = calloc(1, sizeof(*inodes));
        uint64_t bytes;

        if (!inodes)
                abort();
        (void)snprintf(inodes->prefix, sizeof(inodes->prefix), "/memfd:" STANDIN_NAME "-%lu-%d-", group(), device);
        look_at_all(inodes, true);
        bytes = inodes->bytes;
        free(inodes);
        return bytes;
}

unsigned standin_openers(int fd)
{
        struct inodes *inodes = calloc(1, sizeof(*inodes));
        struct stat st;
        unsigned openers;

        if (!inodes || fstat(fd, &st) < 0)
                abort();
        (void)snprintf(inodes->prefix, sizeof(inodes->prefix), "/memfd:" STANDIN_NAME "-%lu-", group());
        inodes->wanted = st.st_ino;
        look_at_all(inodes, false);
        openers = inodes->openers;
        free(inodes);
        return openers;
}

int standin_devices(void)
{
        return (int)standin_setting("KVP_STANDIN_DEVICES", 1);
}

uint64_t standin_memory(void)
{
        return standin_setting("KVP_STANDIN_MEMORY", UINT64_C(1) << 30);
}

void standin_uuid(int device, CUuuid *ret)
{
        memset(ret, 0x5a, sizeof(*ret));
        ret->bytes[0] = (char)(0x10 + device);
}
