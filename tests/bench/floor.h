/* SPDX-License-Identifier: MIT
 *
 * floor.h -- the least that gives the same answer, in bare C: what the benchmarks hold kvpager against.
 *
 * It shares no code with kvpager. A server process makes memfds ahead and sends them over a SEQPACKET socket as it is
 * asked; the client maps them over a reservation and closes them. Nothing is checked, counted or remembered, and there
 * is no thread, no event loop and no clock. Whatever goes wrong ends the program.
 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#define FLOOR_MAX_FDS 64u

/* Forks the server, with a connection for each of `n` clients; it ends when the last of them is closed. It serves one
 * client by a blocking receive, several by epoll. Returns its process. */
pid_t floor_start(unsigned n, int *ret_sockets);

/* The server makes memfds of `bytes` each, if it has not `n` left. */
void floor_prepare(int socket, unsigned n, size_t bytes);

/* Address space that nothing is behind. */
void *floor_reserve(size_t bytes);

/* Asks for `n` memfds and maps each at its place in the reservation. */
void floor_grant(int socket, const struct iovec *places, unsigned n);

/* A memfd; one mapped; one whose memory is gone. In this process. */
int floor_create(size_t bytes);
void floor_map(int fd, void *address, size_t bytes);
void floor_destroy(int fd);

/* Unmaps. */
void floor_forget(void *address, size_t bytes);

/* Unmaps, and tells the server of it; there is no answer. */
void floor_return(int socket, void *address, size_t bytes);

/* A server that listens at `path`, with `n` memfds of `bytes` made ahead; and a client that is new: it connects, is
 * granted one memfd and maps it. */
void floor_listen(const char *path, unsigned n, size_t bytes);
void *floor_attach(const char *path, size_t bytes);

#endif
