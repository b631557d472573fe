/* SPDX-License-Identifier: MIT
 *
 * packet.h -- packets of the protocol as a fuzzer sends them: valid ones are made from the table of messages, then the
 * input bends them (fields, size, bytes, file descriptors). Both directions use it: what a hostile worker sends and
 * what a hostile daemon answers.
 */
#ifndef FUZZ_PACKET_H
#define FUZZ_PACKET_H

#include <sys/types.h>

#include "script.h"
#include "wire.h"

#define RECALL_EXTENTS 64u

/* What the other side has said so far: the ids that make a message one about something. */
struct recall {
        uint32_t cache, revoke, request; /* the last ones */
        uint64_t ack;                    /* for the header */
        uint32_t n_extents;              /* ever; the last ones are kept */
        uint64_t extents[RECALL_EXTENTS];
};

struct packet {
        _Alignas(8) unsigned char bytes[2 * WIRE_MAX_PACKET];
        size_t size;
        unsigned n_fds;
        int fds[WIRE_MAX_FDS];
};

void recall_extent(struct recall *recall, uint64_t extent);

/* A valid message with what usually stands in each field. Of GRANT and WELCOME the fds are missing. */
void packet_usual(struct packet *ret, const struct wire_message_info *info, uint32_t n_items,
                  const struct recall *recall);

/* One of the table's. */
enum wire_opcode packet_any_opcode(struct script *script);

/* As the input says: nothing where its next byte is 0. Attached fds are those of packet_descriptor(). */
void packet_bend(struct packet *packet, struct script *script);

/* A descriptor of some kind, the caller's no more than anybody's: a memfd of 64 KiB, a smaller one, one that is sealed,
 * a pipe's ends, an eventfd, a socket, a folder. */
#define PACKET_DESCRIPTORS 8u
int packet_descriptor(unsigned kind);

/* Sends without waiting. 0 or a negative errno. */
int packet_send(int socket, const struct packet *packet);

/* Receives without waiting: true if there was one. Then `fds` are the caller's. */
bool packet_receive(int socket, struct packet *ret);
void packet_close_fds(struct packet *packet);

/* How many file descriptors this process has open. */
unsigned descriptors_count(void);

#endif
