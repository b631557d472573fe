/* SPDX-License-Identifier: MIT
 *
 * scan.c -- finds what is to be attached to: files that processes have mapped as libcuda.so.1, libkvpager.so.0 or
 * kvpagerd.
 *
 * A probe belongs to a file, whoever maps it, so each file is attached to once and each process costs nothing. A
 * process is looked at when it is first seen, and again after twice the time each: libraries are loaded early in its
 * life. A file of a container is reached through its process, where that is permitted; where not, it is said once.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <syslog.h>
#include <unistd.h>

#include "observer.h"

#define SEEN_MAX      65536u
#define FIRST_USEC    UINT64_C(250000)
#define PATIENCE_USEC UINT64_C(32000000)

struct seen {
        uint32_t pid;
        uint64_t next_usec, wait_usec;
};

static const struct {
        const char *prefix;
        void (*attach)(struct observer *o, const char *path, const char *shown);
} wanted[] = {
        { "libcuda.so", cudamem_attach },
        { "libkvpager.so", pager_attach },
        { "kvpagerd", pager_attach },
};

/* False: it is attached to already, or there are too many. */
static bool file_is_new(struct scan *scan, dev_t device, ino_t inode)
{
        for (uint32_t i = 0; i < scan->n_files; i++)
                if (scan->files[i].device == device && scan->files[i].inode == inode)
                        return false;
        if (scan->n_files == SCAN_FILES_MAX) {
                if (!scan->full)
                        observer_say(LOG_NOTICE,
                                     "there are more than %u files to be attached to: what comes is left alone",
                                     SCAN_FILES_MAX);
                scan->full = true;
                return false;
        }
        scan->files[scan->n_files++] = (struct scan_file){ .device = device, .inode = inode };
        return true;
}

static void not_reached(struct observer *o, uint32_t pid, const char *path, int error)
{
        struct probe *probe = observer_probe(o, strstr(path, "libcuda") ? "cudamem" : "pager", "file", "*", path);

        if (!probe)
                return;
        if (strstr(path, " (deleted)"))
                (void)snprintf(probe->why, sizeof(probe->why), "the file was replaced since process %u mapped it", pid);
        else
                (void)snprintf(probe->why, sizeof(probe->why),
                               "process %u has a file of its own there that cannot be reached: %s%s", pid,
                               strerror(error),
                               error == EACCES || error == EPERM ? " (CAP_SYS_PTRACE is needed for containers)" : "");
}

/* The numbers of a file as maps have them, which on an overlay are not those that stat() tells: it is mapped, and
 * looked for. */
static bool file_as_mapped(const char *path, struct scan_file *ret)
{
        unsigned major_number, minor_number;
        unsigned long from;
        char line[4400];
        uint64_t inode;
        bool found = false;
        FILE *maps;
        void *here;
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return false;
        here = mmap(NULL, 1, PROT_READ, MAP_PRIVATE, fd, 0);
        (void)close(fd);
        if (here == MAP_FAILED)
                return false;
        maps = fopen("/proc/self/maps", "re");
        while (maps && !found && fgets(line, sizeof(line), maps)) {
                found = sscanf(line, "%lx-%*x %*4c %*x %x:%x %" SCNu64, &from, &major_number, &minor_number, &inode) ==
                                4 &&
                        from == (uintptr_t)here;
                if (found)
                        *ret = (struct scan_file){ .device = makedev(major_number, minor_number), .inode = inode };
        }
        if (maps)
                (void)fclose(maps);
        (void)munmap(here, 1);
        return found;
}

/* A mapping of a process: attaches to the file, by a path of ours or through the process. */
static void found(struct observer *o, uint32_t pid, dev_t device, ino_t inode, const char *path, size_t which)
{
        struct scan_file ours = { 0 };
        char through[4200];
        struct stat st;

        if (!file_is_new(&o->scan, device, inode))
                return;
        if (file_as_mapped(path, &ours) && ours.device == device && ours.inode == inode) {
                wanted[which].attach(o, path, path);
                return;
        }
        (void)snprintf(through, sizeof(through), "/proc/%u/root%s", pid, path);
        if (stat(through, &st) == 0)
                wanted[which].attach(o, through, path);
        else
                not_reached(o, pid, path, errno);
}

static void look_at_line(struct observer *o, uint32_t pid, char *line)
{
        unsigned major_number, minor_number;
        const char *name;
        uint64_t inode;
        char *path = strchr(line, '/');
        int at = 0;

        if (!path || !(name = strrchr(path, '/')))
                return;
        name++;
        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
                if (strncmp(name, wanted[i].prefix, strlen(wanted[i].prefix)) != 0)
                        continue;
                if (sscanf(line, "%*x-%*x %*4c %*x %x:%x %" SCNu64 " %n", &major_number, &minor_number, &inode, &at) <
                            3 ||
                    inode == 0)
                        return;
                path[strcspn(path, "\n")] = 0;
                found(o, pid, makedev(major_number, minor_number), inode, path, i);
                return;
        }
}

static void look_at(struct observer *o, uint32_t pid)
{
        struct scan *scan = &o->scan;
        char path[32], line[4400];
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/%u/maps", pid);
        file = fopen(path, "re");
        if (!file) {
                if (errno == EACCES && !scan->denied)
                        observer_say(
                                LOG_NOTICE,
                                "what process %u has mapped cannot be read, so a library that it alone has is not seen: %s",
                                pid, strerror(errno));
                scan->denied |= errno == EACCES;
                return;
        }
        while (fgets(line, sizeof(line), file))
                look_at_line(o, pid, line);
        (void)fclose(file);
}

/* /proc lists its processes in the order of their numbers, as `seen` has them. */
void scan_tick(struct observer *o)
{
        struct scan *scan = &o->scan;
        struct seen *now = calloc(SEEN_MAX, sizeof(*now));
        DIR *proc = now ? opendir("/proc") : NULL;
        const uint64_t usec = ctl_now_usec();
        uint32_t n = 0, old = 0;
        struct dirent *entry;

        while (proc && n < SEEN_MAX && (entry = readdir(proc))) {
                const uint32_t pid = (uint32_t)strtoul(entry->d_name, NULL, 10);

                if (pid == 0)
                        continue;
                while (old < scan->n_seen && scan->seen[old].pid < pid)
                        old++;
                now[n] = old < scan->n_seen && scan->seen[old].pid == pid ? scan->seen[old]
                                                                          : (struct seen){ .pid = pid };
                if (now[n].next_usec <= usec) {
                        look_at(o, pid);
                        now[n].wait_usec = now[n].wait_usec == 0              ? FIRST_USEC
                                           : now[n].wait_usec < PATIENCE_USEC ? 2 * now[n].wait_usec
                                                                              : PATIENCE_USEC;
                        now[n].next_usec = usec + now[n].wait_usec;
                }
                n++;
        }
        if (proc)
                (void)closedir(proc);
        free(scan->seen);
        scan->seen = now;
        scan->n_seen = n;
}

static void look_in(struct observer *o, const char *folder)
{
        struct scan_file file = { 0 };
        char path[4200];

        (void)snprintf(path, sizeof(path), "%s/libcuda.so.1", folder);
        if (file_as_mapped(path, &file) && file_is_new(&o->scan, file.device, file.inode))
                cudamem_attach(o, path, path);
}

/* The library that most processes will have is attached to before any of them calls it: where the loader looks for
 * ours. */
void scan_open(struct observer *o)
{
        Dl_serinfo head, *all;
        void *self = dlopen(NULL, RTLD_NOW);

        if (o->libcuda) {
                struct scan_file file = { 0 };

                if (file_as_mapped(o->libcuda, &file) && file_is_new(&o->scan, file.device, file.inode))
                        cudamem_attach(o, o->libcuda, o->libcuda);
                else
                        observer_say(LOG_WARNING, "%s: %s", o->libcuda, strerror(errno));
        }
        if (self && dlinfo(self, RTLD_DI_SERINFOSIZE, &head) == 0 && (all = malloc(head.dls_size))) {
                if (dlinfo(self, RTLD_DI_SERINFOSIZE, all) == 0 && dlinfo(self, RTLD_DI_SERINFO, all) == 0)
                        for (unsigned i = 0; i < all->dls_cnt; i++)
                                look_in(o, all->dls_serpath[i].dls_name);
                free(all);
        }
        if (self)
                (void)dlclose(self);
        scan_tick(o);
}

void scan_close(struct observer *o)
{
        free(o->scan.seen);
        o->scan = (struct scan){ 0 };
}
