/* SPDX-License-Identifier: MIT
 *
 * fuzz-wire.c -- bytes as a packet. Nothing is read beyond them, and there is one way to write a message: what is
 * accepted is byte for byte what the encoder makes of it.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "wire.h"

/* The input: direction, number of fds, and the packet. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static _Alignas(8) unsigned char again[WIRE_MAX_PACKET];
        struct wire_view view;
        unsigned char *packet;

        if (size < 2)
                return 0;
        packet = malloc(size - 2 ? size - 2 : 1); /* a block of its own, so that a sanitizer sees its end */
        if (!packet)
                return 0;
        memcpy(packet, data + 2, size - 2);
        if (wire_decode(packet, size - 2, data[1], (enum wire_direction)(data[0] % 3), &view) == WIRE_E_NONE) {
                size_t n = wire_encode(again, sizeof(again), (enum wire_opcode)view.info->opcode, view.header.request,
                                       view.header.ack, view.fixed, view.items, view.n_items);

                if (n != size - 2 || memcmp(again, packet, n) != 0)
                        abort();
        }
        free(packet);
        return 0;
}
