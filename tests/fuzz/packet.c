/* SPDX-License-Identifier: MIT
 *
 * packet.c -- see packet.h.
 *
 * close() is replaced for the whole program by one that aborts where the descriptor is not open: whoever closes twice
 * closes somebody else's on a bad day.
 */
#include "packet.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- fields, by the table of messages ---- */

/* Where the value comes from that usually stands in a field. */
enum usual { USUAL_VALUE, USUAL_INDEX, USUAL_CACHE, USUAL_REVOKE, USUAL_REQUEST, USUAL_EXTENT, USUAL_TEXT };

struct field {
        const char *name;
        size_t size;
        enum usual usual;
        uint64_t value;
        const char *text;
};

#define FIELD_NUMBER(type, field) { .name = #field, .size = sizeof(WIRE_TYPE_##type) },
#define FIELD_TEXT(field, length) { .name = #field, .size = (length), .usual = USUAL_TEXT },
#define X(name, opcode, direction, item, max_items, fds, privilege, reply, doc)                                        \
        static struct field fixed_##name[] = { WIRE_FIELDS_##name(FIELD_NUMBER, FIELD_TEXT, FIELD_NUMBER){ 0 } };      \
        static struct field items_##name[] = { WIRE_ITEM_##item(FIELD_NUMBER, FIELD_TEXT, FIELD_NUMBER){ 0 } };
WIRE_MESSAGES(X)
#undef X

static struct {
        struct field *fixed, *item;
} fields_of[128] = {
#define X(name, opcode, direction, item, max_items, fds, privilege, reply, doc)                                        \
        [opcode] = { fixed_##name, items_##name },
        WIRE_MESSAGES(X)
#undef X
};

static const struct field usual_fields[] = {
        { .name = "row", .usual = USUAL_INDEX },
        { .name = "entry", .usual = USUAL_INDEX },
        { .name = "cache", .usual = USUAL_CACHE },
        { .name = "revoke", .usual = USUAL_REVOKE },
        { .name = "request", .usual = USUAL_REQUEST },
        { .name = "extent", .usual = USUAL_EXTENT },
        { .name = "version", .value = WIRE_VERSION },
        { .name = "role", .value = WIRE_ROLE_WORKER },
        { .name = "rows", .value = 4 },
        { .name = "planes", .value = 1 },
        { .name = "row_pages", .value = 64 },
        { .name = "need", .value = 1 },
        { .name = "max", .value = 1 },
        { .name = "timeout_usec", .value = 1000 },
        { .name = "page_size", .value = 65536 },
        { .name = "capacity_bytes", .value = UINT64_C(1) << 22 },
        { .name = "pages", .value = 8 },
        { .name = "level", .value = WIRE_REVOKE_LIVE },
        { .name = "deadline_usec", .value = 1000 },
        { .name = "worker", .value = 1 },
        { .name = "error", .value = WIRE_E_BUSY },
};

/* The texts that somebody looks at. */
static const char *usual_text(const char *name)
{
        static const char *const texts[][2] = { { "backend", "host" }, { "key", "weight" }, { "value", "7" } };

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
                if (strcmp(name, texts[i][0]) == 0)
                        return texts[i][1];
        return "";
}

static void fields_resolve(struct field *fields)
{
        for (struct field *f = fields; f->name; f++) {
                f->text = usual_text(f->name);
                for (size_t i = 0; i < sizeof(usual_fields) / sizeof(usual_fields[0]); i++)
                        if (f->usual != USUAL_TEXT && strcmp(f->name, usual_fields[i].name) == 0) {
                                f->usual = usual_fields[i].usual;
                                f->value = usual_fields[i].value;
                        }
        }
}

static void fields_resolve_all(void)
{
        static bool done;

        if (done)
                return;
        done = true;
        for (size_t i = 0; i < sizeof(fields_of) / sizeof(fields_of[0]); i++)
                if (fields_of[i].fixed) {
                        fields_resolve(fields_of[i].fixed);
                        fields_resolve(fields_of[i].item);
                }
}

void recall_extent(struct recall *recall, uint64_t extent)
{
        recall->extents[recall->n_extents++ % RECALL_EXTENTS] = extent;
}

static uint64_t usual_value(const struct field *field, uint32_t index, const struct recall *recall)
{
        switch (field->usual) {
        case USUAL_INDEX:
                return index;
        case USUAL_CACHE:
                return recall->cache;
        case USUAL_REVOKE:
                return recall->revoke;
        case USUAL_REQUEST:
                return recall->request;
        case USUAL_EXTENT:
                return recall->extents[(recall->n_extents - 1 - index) % RECALL_EXTENTS];
        case USUAL_VALUE:
        case USUAL_TEXT:
                break;
        }
        return field->value;
}

static void fill_usual(unsigned char *bytes, const struct field *fields, uint32_t index, const struct recall *recall)
{
        for (const struct field *f = fields; f->name; bytes += f->size, f++) {
                uint64_t value = usual_value(f, index, recall);

                if (f->usual == USUAL_TEXT) {
                        memset(bytes, 0, f->size);
                        memcpy(bytes, f->text, strlen(f->text));
                } else {
                        memcpy(bytes, &value, f->size);
                }
        }
}

void packet_usual(struct packet *ret, const struct wire_message_info *info, uint32_t n_items,
                  const struct recall *recall)
{
        _Alignas(8) static unsigned char fixed[WIRE_MAX_PACKET], items[WIRE_MAX_PACKET];
        const bool answers = info->direction == WIRE_D2C || strcmp(info->reply, "none") != 0;

        fields_resolve_all();
        if (n_items < info->min_items)
                n_items = info->min_items;
        if (n_items > info->max_items)
                n_items = info->max_items;
        fill_usual(fixed, fields_of[info->opcode].fixed, 0, recall);
        for (uint32_t i = 0; i < n_items; i++)
                fill_usual(items + (size_t)i * info->item_size, fields_of[info->opcode].item, i, recall);
        ret->n_fds = 0;
        ret->size = wire_encode(ret->bytes, sizeof(ret->bytes), (enum wire_opcode)info->opcode,
                                answers && info->direction != WIRE_EVT ? recall->request : 0,
                                info->direction == WIRE_C2D ? recall->ack : 0, fixed, items, n_items);
        assert(ret->size > 0);
}

enum wire_opcode packet_any_opcode(struct script *script)
{
        static const enum wire_opcode all[] = {
#define X(name, opcode, direction, item, max_items, fds, privilege, reply, doc) WIRE_##name,
                WIRE_MESSAGES(X)
#undef X
        };

        return all[script_byte(script) % (sizeof(all) / sizeof(all[0]))];
}

/* ---- bending ---- */

/* Sets one field of the fixed part, of one item or of all of them. A text is its length and its bytes. */
static void bend_field(struct packet *packet, const struct wire_message_info *info, struct script *script)
{
        const uint8_t part = script_byte(script), which = script_byte(script);
        const uint64_t value = script_number(script);
        const struct field *fields = part == 0 ? fields_of[info->opcode].fixed : fields_of[info->opcode].item;
        size_t n = 0, at = sizeof(struct wire_header), offset = 0, stride = info->item_size;
        unsigned char content[256] = { 0 };

        while (fields[n].name)
                n++;
        if (n == 0)
                return;
        for (size_t i = 0; i < which % n; i++)
                offset += fields[i].size;
        fields += which % n;
        assert(fields->size <= sizeof(content));
        if (part > 0)
                at += info->fixed_size + (part == 255 ? 0 : (part - 1u) * stride);
        if (fields->usual == USUAL_TEXT)
                (void)script_bytes(script, content, value < fields->size ? (size_t)value : fields->size);
        else
                memcpy(content, &value, sizeof(value));
        do {
                if (at + offset + fields->size > packet->size)
                        break;
                memcpy(packet->bytes + at + offset, content, fields->size);
                at += stride;
        } while (part == 255);
}

/* An odd number cuts half as many bytes off, an even one adds them; the largest even one adds the packet once more. */
static void bend_size(struct packet *packet, struct script *script)
{
        const uint8_t b = script_byte(script);
        size_t n = b / 2u;

        if (b == 0xfe) {
                memcpy(packet->bytes + packet->size, packet->bytes, packet->size);
                packet->size *= 2;
        } else if (b & 1) {
                packet->size -= n < packet->size ? n : packet->size;
        } else {
                memset(packet->bytes + packet->size, 0, n);
                packet->size += n;
        }
}

static void bend_fds(struct packet *packet, struct script *script)
{
        const uint8_t b = script_byte(script), kind = script_byte(script);

        packet->n_fds = b < 0xf0 ? b & 0x0f : WIRE_MAX_FDS - (255u - b);
        for (unsigned i = 0; i < packet->n_fds; i++)
                packet->fds[i] = packet_descriptor(kind & 0x80 ? kind + i : kind);
}

void packet_bend(struct packet *packet, struct script *script)
{
        struct wire_header *header = (void *)packet->bytes;
        const struct wire_message_info *info = wire_message_info(header->opcode);
        const uint8_t how = script_byte(script);

        assert(info && packet->size >= sizeof(*header));

        if (how & 0x40)
                header->request = (uint32_t)script_number(script);
        if (how & 0x80)
                header->ack = script_number(script);
        for (unsigned i = 0; i < (how & 3u); i++)
                bend_field(packet, info, script);
        if (how & 0x04)
                bend_size(packet, script);
        if (how & 0x20)
                header->size = (uint32_t)packet->size;
        if (how & 0x08 && packet->size > 0) {
                const size_t at = (size_t)script_number(script) % packet->size;

                packet->bytes[at] ^= script_byte(script);
        }
        if (how & 0x10)
                bend_fds(packet, script);
}

/* ---- descriptors ---- */

#ifndef __SANITIZE_THREAD__ /* which has to see libc's */
int close(int fd)           /* NOLINT: libc's, made strict */
{
        if (syscall(SYS_close, fd) == 0)
                return 0;
        if (errno == EBADF) {
                (void)fprintf(stderr, "close(%d) of what is not open\n", fd);
                abort();
        }
        return -1;
}
#endif

static int memfd(size_t size, int seals)
{
        int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (fd < 0 || ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, seals) < 0)
                abort();
        return fd;
}

int packet_descriptor(unsigned kind)
{
        static int fds[PACKET_DESCRIPTORS];

        if (fds[0] == 0) {
                int pipe_ends[2], sockets[2];

                if (pipe2(pipe_ends, O_CLOEXEC) < 0 ||
                    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets) < 0)
                        abort();
                fds[1] = memfd(100, 0);
                fds[2] = memfd(65536, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
                fds[3] = pipe_ends[0];
                fds[4] = pipe_ends[1];
                fds[5] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
                fds[6] = sockets[0];
                fds[7] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                fds[0] = memfd(65536, F_SEAL_GROW);
        }
        return fds[kind % PACKET_DESCRIPTORS];
}

unsigned descriptors_count(void)
{
        static char buffer[65536];
        int fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        unsigned n = 0;
        long got;

        if (fd < 0)
                abort();
        while ((got = syscall(SYS_getdents64, fd, buffer, sizeof(buffer))) > 0)
                for (long at = 0; at < got; n++) {
                        uint16_t length;

                        memcpy(&length, buffer + at + offsetof(struct dirent64, d_reclen), sizeof(length));
                        at += length;
                }
        (void)close(fd);
        return n - 3; /* "." and "..", and the one that we looked with */
}

/* ---- sending and receiving ---- */

union control {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * WIRE_MAX_FDS)];
};

int packet_send(int socket, const struct packet *packet)
{
        static union control control;
        struct iovec iov = { .iov_base = (void *)(uintptr_t)packet->bytes, .iov_len = packet->size };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (packet->n_fds > 0) {
                struct cmsghdr *c = &control.align;

                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * packet->n_fds);
                memcpy(CMSG_DATA(c), packet->fds, sizeof(int) * packet->n_fds);
                message.msg_control = &control;
                message.msg_controllen = CMSG_SPACE(sizeof(int) * packet->n_fds);
        }
        return sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

bool packet_receive(int socket, struct packet *ret)
{
        union control control;
        struct iovec iov = { .iov_base = ret->bytes, .iov_len = sizeof(ret->bytes) };
        struct msghdr message = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        ssize_t n = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        ret->n_fds = 0;
        if (n <= 0)
                return false;
        ret->size = (size_t)n;
        if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
                abort();
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                ret->n_fds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
                memcpy(ret->fds, CMSG_DATA(c), ret->n_fds * sizeof(int));
        }
        return true;
}

void packet_close_fds(struct packet *packet)
{
        for (unsigned i = 0; i < packet->n_fds; i++)
                (void)close(packet->fds[i]);
        packet->n_fds = 0;
}
