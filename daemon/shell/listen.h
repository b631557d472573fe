/* SPDX-License-Identifier: MIT
 *
 * listen.h -- the socket that workers come to: handed over by systemd, or made here and guarded against a second
 * daemon.
 */
#ifndef SHELL_LISTEN_H
#define SHELL_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#define LISTEN_SYSTEM_PATH "/run/kvpager/kvpager.sock"
#define LISTEN_PATH_MAX    108 /* sun_path, NUL included */
#define LISTEN_BACKLOG     512 /* as in kvpagerd.socket */
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

struct listener {
        int fd, lock_fd;
        bool activated; /* systemd's: neither locked nor removed by us */
        char path[LISTEN_PATH_MAX];
        char lock_path[LISTEN_PATH_MAX + 8];
};

/* Where the socket belongs: $KVPAGER_SOCKET; the system path for root and for a service that was given its folder; else
 * below $XDG_RUNTIME_DIR. What is wrong is said in `error`. */
int listen_path(char path[LISTEN_PATH_MAX], char *error, size_t error_size);

/* Takes an activated socket where there is one, else makes one with that mode and group ((gid_t)-1: as it comes). Who
 * connects cannot send descriptors, where the kernel can see to that. What goes wrong is said in `error`, in a sentence
 * that names the path and what to do. */
int listen_open(struct listener *listener, mode_t mode, gid_t group, char *error, size_t error_size);

/* Removes what listen_open() made. */
void listen_close(struct listener *listener);

#endif
