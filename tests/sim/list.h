/* SPDX-License-Identifier: MIT
 *
 * list.h -- arrays that grow, for the simulator: `x` beside n_x (records) and x_space (room for so many).
 */
#ifndef SIM_LIST_H
#define SIM_LIST_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Makes room for one more record. There is no going on without memory. */
static inline void *list_reserve(void *list, uint32_t n, uint32_t *space, size_t size)
{
        if (n < *space)
                return list;
        *space = *space == 0 ? 64 : *space * 2;
        list = realloc(list, *space * size);
        if (!list)
                abort();
        return list;
}

/* Appends a zeroed record and gives its address. */
#define LIST_PUSH(owner, list)                                                                                         \
        ((owner)->list = list_reserve((owner)->list, (owner)->n_##list, &(owner)->list##_space,                        \
                                      sizeof(*(owner)->list)),                                                         \
         memset(&(owner)->list[(owner)->n_##list], 0, sizeof(*(owner)->list)), &(owner)->list[(owner)->n_##list++])

/* Keeps the order: it means age. */
#define LIST_REMOVE(owner, list, item)                                                                                 \
        do {                                                                                                           \
                size_t at_ = (size_t)((item) - (owner)->list);                                                         \
                memmove(&(owner)->list[at_], &(owner)->list[at_ + 1],                                                  \
                        (--(owner)->n_##list - at_) * sizeof(*(owner)->list));                                         \
        } while (0)

#endif
