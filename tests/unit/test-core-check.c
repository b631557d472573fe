/* SPDX-License-Identifier: MIT
 *
 * test-core-check.c -- the proof is itself proven: in a core where everything is under way at once, one field after the
 * other is falsified, and core_check() must say which.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core-world.h"
#include "internal.h"

static struct core *core;
static uint32_t worker_slot, other_slot; /* has extents in all states; waits for memory */
static uint32_t cache_slot;

static uint32_t slot_of(uint32_t id)
{
        return id & 0xffffu;
}

static struct extent *extent_in(enum extent_state state, bool reclassed)
{
        for (uint32_t i = 0; i < core->top_extent; i++)
                if (extent_get(core, i)->state == state && extent_get(core, i)->reclassed == reclassed)
                        return extent_get(core, i);
        cr_assert_fail("no extent in state %d", (int)state);
        return NULL;
}

static struct request *request_in(enum request_state state)
{
        for (uint32_t i = 0; i < core->top_request; i++)
                if (request_get(core, i)->state == state)
                        return request_get(core, i);
        cr_assert_fail("no request in state %d", (int)state);
        return NULL;
}

static struct row *row_of(uint32_t number)
{
        uint32_t row = ptable_row_find(core, cache_slot, number);

        cr_assert_neq(row, NIL);
        return row_get(core, row);
}

/* Row 0 is mapped and held, and one of its extents is being destroyed; row 1 idle; row 2 granted; row 3 in the making,
 * and all of device 1, where smaller extents make way; device 2 has extents that nobody wants. The other tenant waits
 * for more than there is, and somebody is asked for it. */
static void start(void)
{
        static const struct core_params params = {
                .max_extents = 2048, .max_workers = 3, .max_caches = 4, .max_rows = 16, .max_requests = 8
        };
        uint32_t worker, other, cache, small;
        char why[200];

        start_with(&params);
        core = world.core;
        add_device(1, 16, 64, 16);
        add_device(2, 16, 64, 16);
        set_tenant(1, UINT64_MAX);
        worker = add_worker(0);
        other = add_worker(1);
        cache = add_cache(worker, 8, 2, 128);
        small = add_cache_on(1, worker, 1, 1, 64);
        device_answer_all(&world);
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 0, .need = 85, .max = 85 });
        hold(worker, cache, 1, true);
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 1, .need = 2, .max = 2 });
        device_answer_all(&world);
        acknowledge(worker, 12);
        hold(worker, cache, 1, false);
        give_back(worker, grant_of(worker, 4));
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 2, .need = 2, .max = 2 });
        while (world.device.n_operations > 1)
                device_answer(&world, 1); /* all but the destruction */
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 3, .need = 6, .max = 6 });
        grow((struct core_ev_grow){ .worker = worker, .cache = cache, .row = 0, .first = 96, .need = 1, .max = 1 });
        grow((struct core_ev_grow){ .worker = worker, .cache = small, .row = 0, .need = 64, .max = 64 });
        grow((struct core_ev_grow){ .worker = other,
                                    .cache = add_cache(other, 1, 1, 1024),
                                    .need = 1000,
                                    .max = 1000,
                                    .timeout_usec = 1000000 });
        worker_slot = slot_of(worker);
        other_slot = slot_of(other);
        cache_slot = slot_of(cache);
        cr_assert_eq(core_check(core, why, sizeof(why)), 0, "%s", why);
}

TestSuite(core_check, .init = start, .fini = stop);

static void expect_broken(const char *words, int line)
{
        char why[200] = "";

        cr_expect_eq(core_check(core, why, sizeof(why)), -1, "line %d: not seen: %s", line, words);
        cr_expect(strstr(why, words), "line %d: '%s' is said, not '%s'", line, why, words);
}

/* With the field falsified, the proof fails with these words. */
#define FALSE(field, value, words)                                                                                     \
        do {                                                                                                           \
                __typeof__(field) *const at_ = &(field), was_ = *at_;                                                  \
                *at_ = (__typeof__(field))(value);                                                                     \
                expect_broken(words, __LINE__);                                                                        \
                *at_ = was_;                                                                                           \
        } while (0)
#define MORE(field, words) FALSE(field, (field) + 1u, words)
#define LESS(field, words) FALSE(field, (field)-1u, words)

Test(core_check, sees_a_page_of_a_device_counted_wrongly)
{
        for (uint32_t i = 0; i < core->n_devices; i++) {
                struct device *d = device_get(core, i);

                MORE(d->creating, "creating pages of ");
                MORE(d->virgin, "virgin pages of ");
                MORE(d->reclassing, "reclassing pages of ");
                MORE(d->held, "held pages of ");
                MORE(d->returning, "returning pages of ");
                MORE(d->idle_pages, "idle pages of ");
                MORE(d->free, "the places of the pages of ");
                LESS(d->pages, "the places of the pages of ");
                LESS(d->reserved_pages, "promised ");
                FALSE(d->reserved_pages, d->pages - d->held + 1, " pages and has ");
                FALSE(d->reserved_pages, d->pages - d->held + 1, "promised ");
                MORE(d->n_waiting, "waiting requests of ");
                for (uint32_t order = 0; order < CORE_ORDERS; order++) {
                        MORE(d->n_virgin[order], "virgin extents of ");
                        MORE(d->n_creating[order], "extents in the making of ");
                        MORE(d->want[order], "wanted extents of ");
                }
        }
}

Test(core_check, sees_bytes_of_a_worker_or_tenant_counted_wrongly)
{
        for (uint32_t i = 0; i < 2; i++) {
                struct worker *w = worker_get(core, i);
                struct tenant *t = tenant_get(core, i);

                MORE(w->current_bytes, "current bytes of worker");
                MORE(w->unacked_bytes, "unacknowledged bytes of worker");
                MORE(w->live_bytes, "live bytes of worker");
                MORE(w->idle_bytes, "idle bytes of worker");
                MORE(w->n_requests, "requests of worker");
                MORE(t->workers, "workers of tenant");
                MORE(t->n_slots, "slots of workers of tenant");
                MORE(t->n_caches, "slots of caches of tenant");
                MORE(t->current_bytes, "current bytes of tenant");
                MORE(t->live_bytes, "live bytes of tenant");
                MORE(t->idle_bytes, "idle bytes of tenant");
        }
}

Test(core_check, sees_what_is_owed_and_asked_back_counted_wrongly)
{
        struct tenant *t = tenant_get(core, 0);
        struct device *d = device_get(core, 0);
        struct worker *w = worker_get(core, worker_slot);

        cr_assert_neq(w->revoke.id, 0);
        for (uint32_t i = 0; i < core->n_devices; i++) {
                MORE(t->current[i], "current pages of tenant");
                MORE(t->revoked[i], "pages revoked of tenant");
                MORE(t->min[i], "memory.min in pages of tenant");
                LESS(t->max[i], "memory.max in pages of tenant");
                MORE(device_get(core, i)->unmet, "unmet guarantees of device");
                MORE(device_get(core, i)->n_over, "tenants over their limit on device");
                MORE(device_get(core, i)->n_revokes, "revokes of device");
                MORE(device_get(core, i)->revoked, "pages revoked of device");
        }
        MORE(t->overdue, "overdue workers of tenant");
        MORE(t->n_requests, "requests of tenant");
        FALSE(w->overdue, 7, "overdue workers of tenant");
        MORE(w->revoke.remaining, "pages revoked of tenant");
        FALSE(w->revoke.deadline_usec, core->next_deadline_usec - 1, "nobody looks when the revoke");
        FALSE(d->page_shift, d->page_shift - 1, "current bytes of worker");
        t->overdue++;
        FALSE(w->overdue, 7, "should not be asked for memory");
        t->overdue--;
}

Test(core_check, sees_a_population_counted_wrongly)
{
        struct cache *k = cache_get(core, cache_slot);

        MORE(core->n_extents, "extents of the core");
        MORE(core->n_rows, "row records of the core");
        MORE(core->n_caches, "caches of the core");
        MORE(core->n_tenants, "tenants of the core");
        MORE(core->n_requests, "requests of the core");
        MORE(core->n_waiting, "queued requests of the core");
        MORE(k->row_records, "row records of cache");
        MORE(k->held_rows, "held rows of cache");
        MORE(k->live_pages, "live pages of cache");
        MORE(k->idle_pages, "idle pages of cache");
        MORE(row_of(0)->extents, "extents of row record");
        MORE(row_of(0)->pages, "mapped pages of row record");
}

Test(core_check, sees_a_list_that_is_cut_or_runs_in_a_circle)
{
        struct extent *virgin = extent_in(EXTENT_VIRGIN, false);
        struct device *d = device_get(core, extent_device(virgin));
        struct cache *k = cache_get(core, cache_slot);
        struct worker *w = worker_get(core, worker_slot), *other = worker_get(core, other_slot);
        struct tenant *t = tenant_get(core, 1);
        struct request *waiting = request_in(REQUEST_WAITING), *admitted = request_in(REQUEST_ADMITTED);

        FALSE(d->virgin_head[extent_order_index(virgin)], NIL, "the virgin list of ");
        FALSE(virgin->next, virgin - extent_get(core, 0), "the virgin list of ");
        FALSE(k->first_row, NIL, "row records of ");
        FALSE(row_get(core, k->first_row)->next, k->first_row, "does not belong there");
        FALSE(row_of(0)->head, NIL, "extents of row");
        FALSE(extent_get(core, row_of(0)->head)->next, row_of(0)->head, "extents of row");
        FALSE(w->first_request, NIL, "requests of worker");
        FALSE(admitted->of_worker_next, admitted - request_get(core, 0), "requests of worker");
        FALSE(other->admitted_head, admitted - request_get(core, 0), "admitted requests of worker");
        FALSE(admitted->next, admitted - request_get(core, 0), "admitted requests of worker");
        t->fresh[0] = NIL;
        FALSE(t->waiting_head[0], NIL, "queued requests of ");
        FALSE(waiting->next, waiting - request_get(core, 0), "queued requests of ");
}

Test(core_check, sees_an_extent_that_is_not_where_it_belongs)
{
        struct extent *mapped = extent_get(core, row_of(0)->head), *granted = extent_in(EXTENT_GRANTED, false);
        struct cache *k = cache_get(core, cache_slot);

        FALSE(mapped->state, EXTENT_RETURNING, "does not belong there");
        FALSE(mapped->row, mapped->row + 1, "does not belong there");
        FALSE(mapped->worker, mapped->worker + 1, "does not belong there");
        FALSE(mapped->where, mapped->where + 1, "does not belong there");
        FALSE(granted->state, EXTENT_MAPPED, "mapped pages of row");
        FALSE(mapped->plane, CORE_MAX_PLANES, "lies outside its plane");
        FALSE(mapped->plane, 2, "lies outside its plane");
        FALSE(k->classes[0].row_pages, 84, "lies outside its plane");
        FALSE(extent_in(EXTENT_VIRGIN, false)->state, EXTENT_STATES, "has state 6");
        FALSE(extent_in(EXTENT_VIRGIN, false)->state, EXTENT_CREATING, "creating pages of");
        FALSE(extent_in(EXTENT_VIRGIN, false)->where, 1 << 4, "virgin pages of");
        FALSE(extent_in(EXTENT_RETURNING, false)->reclassed, 1, "reclassing pages of");
        FALSE(extent_in(EXTENT_RETURNING, true)->reclassed, 0, "reclassing pages of");
        FALSE(worker_get(core, worker_slot)->ring[granted->ring], NIL, "is not in the ring");
}

Test(core_check, sees_a_page_backed_twice_or_not_found)
{
        for (uint32_t i = row_of(0)->head; i != NIL; i = extent_get(core, i)->next) {
                struct extent *e = extent_get(core, i);

                if (extent_pages(e) == 4) {
                        FALSE(e->first, 64, "backed twice");
                        FALSE(e->first, 4, "backed twice, or not found");
                        FALSE(e->first, 81, "lies outside its plane");
                        FALSE(e->plane, !e->plane, "backed twice");
                }
                if (extent_pages(e) == 1 && e->first == 84)
                        FALSE(e->first, 80, "backed twice");
                if (e->granule_next != NIL)
                        FALSE(e->granule_next, NIL, "backed twice, or not found");
        }
}

Test(core_check, sees_a_row_that_should_not_be)
{
        struct row *empty = row_of(3);

        FALSE(empty->pins, 0, "should not be");
        FALSE(empty->number, 4, "is not found by its number");
        FALSE(empty->used, 0, "is on the list of cache");
        FALSE(empty->cache, empty->cache + 1, "is on the list of cache");
        FALSE(row_of(0)->prev, row_of(0)->prev + 1, "is on the list of cache");
        FALSE(cache_get(core, cache_slot)->rows, 3, "should not be");
        FALSE(row_of(0)->pins, 0, "is not what worker");
        FALSE(row_of(0)->held, 0, "held rows of cache");
}

Test(core_check, sees_a_worker_that_nobody_serves)
{
        struct worker *w = worker_get(core, worker_slot);
        struct device *d = device_get(core, (w->waits - 1) / CORE_ORDERS);
        uint32_t *line = &d->wait_head[(w->waits - 1) % CORE_ORDERS];
        const uint32_t before = *line;

        cr_assert_neq(w->waits, 0);
        cr_assert(!core_pending(core));
        MORE(w->waits, "stands in the wrong line");
        FALSE(w->admitted_head, NIL, "stands in the wrong line");
        *line = NIL;
        FALSE(w->waits, 0, "nobody delivers it");
        w->granted += 1000; /* it has been there for long */
        w->acked += 1000;
        FALSE(w->waits, 0, "nobody delivers it");
        w->granted -= 1000;
        w->acked -= 1000;
        *line = before;
        FALSE(d->n_virgin[(w->waits - 1) % CORE_ORDERS], 1, "virgin extents of");
        FALSE(w->ack_at_usec, UINT64_MAX, "nobody will ask");
        FALSE(w->acked, w->granted, "its window says");
        FALSE(w->granted, w->acked + CORE_MAX_UNACKED + 1, "its window says");
}

Test(core_check, sees_memory_that_is_there_and_is_waited_for)
{
        struct extent *virgin = extent_in(EXTENT_VIRGIN, false);
        struct device *d = device_get(core, extent_device(virgin));
        struct worker *w = worker_get(core, worker_slot);

        device_get(core, (w->waits - 1) / CORE_ORDERS)->wait_head[(w->waits - 1) % CORE_ORDERS] = NIL;
        w->waits = 1 + extent_device(virgin) * CORE_ORDERS + extent_order_index(virgin);
        d->wait_head[extent_order_index(virgin)] = worker_slot;
        expect_broken("has what worker", __LINE__);
}

Test(core_check, sees_a_request_that_is_not_its_workers_or_never_ends)
{
        struct request *waiting = request_in(REQUEST_WAITING), *admitted = request_in(REQUEST_ADMITTED);

        FALSE(waiting->worker, worker_slot, "is not what worker");
        FALSE(waiting->deadline_usec, core->next_deadline_usec - 1, "outlives its deadline");
        FALSE(tenant_get(core, worker_get(core, waiting->worker)->tenant)->reclaim_deadline_usec,
              core->next_deadline_usec - 1 - bits_max_u64(waiting->since_usec, core->devices[0].back_usec),
              "nobody looks when request");
        FALSE(waiting->state, REQUEST_FREE, "requests of the core");
        FALSE(tenant_get(core, worker_get(core, waiting->worker)->tenant)->fresh[0], NIL - 1, "has lost its place");
        FALSE(tenant_get(core, worker_get(core, waiting->worker)->tenant)->turn[0], NIL - 1, "has lost its place");
        MORE(admitted->total, "current bytes of worker");
        LESS(admitted->total, "current bytes of worker");
}

Test(core_check, says_what_it_finds_first_and_fits_its_words_to_the_buffer)
{
        char why[12];

        core->n_extents++;
        core->n_requests++;
        expect_broken("extents of the core", __LINE__);
        memset(why, 'x', sizeof(why));
        cr_expect_eq(core_check(core, why, sizeof(why)), -1);
        cr_expect_eq(why[sizeof(why) - 1], 0);
        memset(why, 'x', sizeof(why));
        cr_expect_eq(core_check(core, why, 0), -1);
        cr_expect_eq(why[0], 'x');
        core->n_extents--;
        core->n_requests--;
        cr_expect_eq(core_check(core, NULL, 0), 0);
}
