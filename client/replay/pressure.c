/* SPDX-License-Identifier: MIT
 *
 * pressure.c -- see pressure.h.
 */
#include "pressure.h"

#include <assert.h>
#include <errno.h>

/* Until rows of so many bytes have been released, or nothing runs. */
static int give_up(struct pressure *pressure, uint64_t bytes)
{
        struct kvp_cache_stats before, now;
        int r = pager_stats(pressure->pager, &before);

        now = before;
        while (r >= 0 && now.live_bytes + bytes > before.live_bytes) {
                r = engine_give_up(pressure->engine);
                if (r == -ENOENT)
                        return 0;
                if (r >= 0)
                        r = pager_stats(pressure->pager, &now);
        }
        return r;
}

static void on_pressure(struct kvp_conn *conn, uint64_t bytes, uint64_t deadline_usec, void *userdata)
{
        struct pressure *pressure = userdata;
        int r = gate_visit(&pressure->gate, deadline_usec / 2);

        (void)conn;
        if (r == -ETIMEDOUT)
                (void)atomic_fetch_add(&pressure->owed, bytes);
        if (r < 0)
                return;
        pressure->pager->on_mapper = true;
        r = give_up(pressure, bytes);
        pressure->pager->on_mapper = false;
        if (pressure->error == 0)
                pressure->error = r;
        gate_part(&pressure->gate);
}

int pressure_begin(struct pressure *pressure, struct engine *engine, struct pager *pager)
{
        assert(pager->connection);

        *pressure = (struct pressure){ .engine = engine, .pager = pager };
        gate_init(&pressure->gate);
        pager->gate = &pressure->gate;
        return kvp_set_pressure_handler(pager->connection, on_pressure, pressure);
}

void pressure_end(struct pressure *pressure)
{
        (void)kvp_set_pressure_handler(pressure->pager->connection, NULL, NULL);
        gate_close(&pressure->gate);
        pressure->pager->gate = NULL;
}

int pressure_pay(struct pressure *pressure)
{
        const uint64_t owed = atomic_exchange(&pressure->owed, 0);

        if (pressure->error < 0 || owed == 0)
                return pressure->error;
        return give_up(pressure, owed);
}
