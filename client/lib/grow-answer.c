/* SPDX-License-Identifier: MIT
 *
 * grow-answer.c -- from granted extents to backed tokens.
 *
 * While entries of a row are under way its lists belong to the reader, so extents are placed and mapped without a lock;
 * when an entry ends, what is complete in all planes is counted under cache->lock and everything beyond goes back. That
 * is sent before the row can be asked for again, so the daemon never sees a request for pages that it believes granted.
 */
#include "grow-answer.h"

#include <assert.h>
#include <errno.h>

#include "giveback.h"
#include "grow.h"
#include "mapper.h"
#include "probe.h"

/* What a caller may be told; anything else means that library and daemon do not understand each other. */
static int sane_status(int status)
{
        switch (status) {
        case 0:
        case -ENOMEM:
        case -EDQUOT:
        case -ETIMEDOUT:
        case -EAGAIN:
        case -EMFILE:
        case -ENOTCONN:
                return status;
        default:
                return -EPROTO;
        }
}

static struct request *request_find(struct kvp_conn *conn, uint32_t id)
{
        struct request *request = &conn->requests[id % CONN_MAX_REQUESTS];
        bool found;

        (void)pthread_mutex_lock(&conn->mutex);
        found = request->id == id && request->state == REQUEST_GROW;
        if (found)
                request->answered = true;
        (void)pthread_mutex_unlock(&conn->mutex);
        return found ? request : NULL;
}

/* ---- the end of an entry ---- */

/* With cache->lock held: what its end means for the row. */
static void row_answered(struct kvp_cache *cache, const struct wire_item_grow *item, bool ahead, int status)
{
        struct row *r = &cache->rows[item->row];

        if (item->flags & WIRE_GROW_OPTIONAL) {
                if (status < 0)
                        r->flags |= ROW_COOLING;
                else
                        r->flags &= ~(uint32_t)(ROW_COOLING | ROW_SCARCE);
        } else if (status == 0) {
                r->flags &= ~(uint32_t)ROW_COOLING;
        } else if (ahead && (status == -ENOMEM || status == -EDQUOT || status == -ETIMEDOUT)) {
                r->flags |= ROW_SCARCE; /* once more, without look-ahead */
        } else if (!(r->flags & ROW_STALE)) {
                r->error = status;
        }
}

/* Makes `n` complete places from index `from` on usable, an adjacent run of extents a plane in one call. */
static int make_usable(struct kvp_cache *cache, const struct wire_item_grow *item, uint32_t from, uint32_t n)
{
        const struct extents *list = cache_extents(cache, item->row, item->plane_class);
        const uint32_t planes = cache->layout.classes[item->plane_class].planes,
                       first = extents_end(list, planes, from);
        const size_t bytes = (size_t)(extents_end(list, planes, from + n) - first) << cache->layout.page_shift;
        int r = 0;

        for (uint32_t plane = 0; plane < planes && n > 0 && cache->mem->access && r == 0; plane++) {
                r = cache->mem->access(cache->mem_device,
                                       cache_address(cache, item->plane_class, plane, item->row, first), bytes);
                PROBE1(access_done, bytes);
        }
        return r;
}

/* Gives back the places from index `from` on, which are not complete. Apart, for the sake of the stack that it takes
 * and others need not touch. */
static __attribute__((noinline)) uint64_t return_ragged(struct kvp_conn *conn, struct kvp_cache *cache,
                                                        const struct wire_item_grow *item, uint32_t from)
{
        struct giveback ragged;
        uint64_t returned;

        giveback_init(&ragged, conn, WIRE_RETURN_GIVEN);
        returned = giveback_places(&ragged, cache, item->row, item->plane_class, from);
        giveback_send(&ragged);
        return returned;
}

static void entry_end(struct kvp_conn *conn, struct request *request, uint32_t index, int status,
                      struct giveback *refused)
{
        struct grow_entry *entry = &request->entries[index];
        const struct wire_item_grow *item = &request->items[index];
        struct kvp_cache *cache = request->cache;
        struct extents *list = cache_extents(cache, item->row, item->plane_class);
        struct row *r = &cache->rows[item->row];
        const uint32_t planes = cache->layout.classes[item->plane_class].planes;
        uint32_t complete = extents_complete(list, planes, entry->from), end;
        uint64_t returned = 0, pages, stuck = 0;
        bool wake = false;

        assert(!entry->done && request->n_left > 0);
        if (make_usable(cache, item, entry->from, complete) < 0) {
                complete = 0; /* all of it goes back */
                entry->status = -ENOMEM;
        }
        end = extents_end(list, planes, entry->from + complete);
        if (entry->from + complete < list->n) { /* else nothing came: the mapper may be reading the list, to resume */
                returned = return_ragged(conn, cache, item, entry->from + complete);
                stuck = extents_pages(list, planes, entry->from + complete);
        }
        if (refused->n > 0)
                giveback_send(refused);
        entry->done = true;
        request->n_left--;

        (void)pthread_mutex_lock(&cache->lock);
        assert(end >= list->mapped && r->growing > 0);
        pages = (uint64_t)(end - list->mapped) * planes;
        list->mapped = end;
        row_account(cache, item->row, pages + stuck, 0);
        r->growing--;
        if (stuck > 0)
                r->flags |= ROW_STUCK;
        row_answered(cache, item, entry->ahead, sane_status(entry->status < 0 ? entry->status : status));
        if (r->growing == 0)
                r->flags &= ~(uint32_t)ROW_STALE;
        if (r->growing == 0 && r->flags & ROW_WANTS_MAPPER)
                wake = row_queue(cache, item->row, r->flags & ROW_WANTS_MAPPER);
        row_refresh(cache, item->row);
        cache->counters.grants += (uint64_t)complete * planes;
        cache->counters.granted_pages += pages;
        cache->counters.returns += returned;
        cache->counters.refusals += entry->refused;
        (void)pthread_mutex_unlock(&cache->lock);
        if (wake) /* it has something to do for the row that had to wait for this */
                (void)mapper_wake(conn);
}

/* Frees the request once all its entries have ended. */
static void request_end(struct kvp_conn *conn, struct request *request, bool sent)
{
        bool starved;

        assert(request->n_left == 0);
        PROBE1(ended, request->id);
        (void)pthread_mutex_lock(&conn->mutex);
        if (sent) {
                request->cache->requests--;
                conn->n_requests--;
        }
        conn->ended++;
        starved = conn_request_free(conn, request);
        (void)pthread_mutex_unlock(&conn->mutex);
        if (starved)
                (void)mapper_wake(conn);
}

static void end_all(struct kvp_conn *conn, struct request *request, int status)
{
        struct giveback refused;

        giveback_init(&refused, conn, WIRE_RETURN_REFUSED);
        for (uint32_t i = 0; i < request->n_entries; i++)
                if (!request->entries[i].done)
                        entry_end(conn, request, i, status, &refused);
}

void grow_unsent(struct kvp_conn *conn, struct request *request, int status)
{
        end_all(conn, request, status);
        request_end(conn, request, false);
}

/* ---- grants ---- */

/* Puts an extent where it belongs. On error it was not mapped, and its entry will not be complete. */
static int extent_take(struct request *request, const struct wire_item_grant *grant, int fd)
{
        struct grow_entry *entry = &request->entries[grant->entry];
        const struct wire_item_grow *item = &request->items[grant->entry];
        struct kvp_cache *cache = request->cache;
        struct extent_place *place;
        uint64_t end;
        int r;

        if (grant->order > 6 || grant->order % 2 != 0 || grant->first < item->first ||
            grant->first % (1u << grant->order) != 0 || grant->plane >= cache->layout.classes[item->plane_class].planes)
                return -EBADMSG;
        end = grant->first + (UINT64_C(1) << grant->order);
        if (end > (uint64_t)item->first + item->max)
                return -EBADMSG;
        if (fd < 0)
                return -EMFILE;
        r = extents_place(cache_extents(cache, item->row, item->plane_class),
                          cache->layout.classes[item->plane_class].planes, entry->from, item->first, grant->plane,
                          grant->first, grant->order, &place);
        if (r < 0)
                return r;
        r = cache->mem->map(cache->mem_device,
                            cache_address(cache, item->plane_class, grant->plane, item->row, grant->first),
                            UINT64_C(1) << grant->order << cache->layout.page_shift, fd);
        PROBE3(map_done, grant->request, UINT64_C(1) << grant->order << cache->layout.page_shift, r);
        if (r < 0)
                return r;
        place->present |= UINT64_C(1) << grant->plane;
        place->ids[grant->plane] = grant->extent;
        return 0;
}

/* ThreadSanitizer does not know close_range(), and would take a number's next owner for a racer. */
#ifdef __SANITIZE_THREAD__
#define HAVE_CLOSE_RANGE false
#else
#define HAVE_CLOSE_RANGE true
#endif

/* The fds of one packet mostly have consecutive numbers: then nobody else's lies between them, and one call closes all.
 */
static void close_all(const int *fds, unsigned n)
{
        for (unsigned i = 0, end; i < n; i = end) {
                for (end = i + 1; end < n && fds[end] == fds[end - 1] + 1; end++)
                        ;
                if (HAVE_CLOSE_RANGE && end - i > 1 && close_range((unsigned)fds[i], (unsigned)fds[end - 1], 0) == 0)
                        continue;
                for (unsigned k = i; k < end; k++)
                        (void)close(fds[k]);
        }
}

/* false: the daemon calls an entry complete that is not, though nothing of it was refused here. */
static bool entry_is_plausible(const struct request *request, uint32_t index)
{
        const struct grow_entry *entry = &request->entries[index];
        const struct wire_item_grow *item = &request->items[index];
        const struct extents *list = cache_extents(request->cache, item->row, item->plane_class);
        const uint32_t planes = request->cache->layout.classes[item->plane_class].planes;
        const uint32_t complete = extents_complete(list, planes, entry->from);

        return entry->status < 0 ||
               (entry->from + complete == list->n && extents_end(list, planes, list->n) >= item->first + item->need);
}

bool grow_granted(struct kvp_conn *conn, const struct wire_item_grant *items, uint32_t n, const int *fds,
                  unsigned n_fds)
{
        struct request *request = NULL;
        struct giveback refused;
        bool fine = true;

        giveback_init(&refused, conn, WIRE_RETURN_REFUSED);
        for (uint32_t i = 0; i < n; i++) {
                const struct wire_item_grant *grant = &items[i];
                int r;

                if (!request || request->id != grant->request) {
                        request = request_find(conn, grant->request);
                        PROBE1(granted, grant->request);
                }
                if (!request || grant->entry >= request->n_entries || request->entries[grant->entry].done) {
                        giveback_add(&refused, grant->extent); /* of nothing that we asked for */
                        continue;
                }
                r = extent_take(request, grant, i < n_fds ? fds[i] : -1);
                if (r < 0) {
                        request->entries[grant->entry].status = r;
                        request->entries[grant->entry].refused++;
                        giveback_add(&refused, grant->extent);
                }
                if (!(grant->flags & WIRE_GRANT_LAST))
                        continue;
                atomic_store_explicit(&conn->short_of_memory, (grant->flags & WIRE_GRANT_SHORT) != 0,
                                      memory_order_relaxed);
                if (!entry_is_plausible(request, grant->entry))
                        fine = false;
                entry_end(conn, request, grant->entry, fine ? 0 : -EPROTO, &refused);
                if (request->n_left == 0) {
                        request_end(conn, request, true);
                        request = NULL;
                }
        }
        giveback_send(&refused);
        close_all(fds, n_fds);
        return fine;
}

/* ---- failures ---- */

bool grow_failed(struct kvp_conn *conn, const struct wire_item_grow_failed *items, uint32_t n)
{
        struct giveback refused;

        giveback_init(&refused, conn, WIRE_RETURN_REFUSED);
        for (uint32_t i = 0; i < n; i++) {
                struct request *request = request_find(conn, items[i].request);
                int status = wire_error_errno((enum wire_error_code)items[i].error);

                if (!request || items[i].entry >= request->n_entries || request->entries[items[i].entry].done)
                        return false;
                entry_end(conn, request, items[i].entry, status < 0 ? status : -EPROTO, &refused);
                if (request->n_left == 0)
                        request_end(conn, request, true);
        }
        return true;
}

bool grow_refused(struct kvp_conn *conn, uint32_t id, const struct wire_error *error)
{
        const int status = wire_error_errno((enum wire_error_code)error->error);
        struct request *request = request_find(conn, id);

        if (!request)
                return false;
        end_all(conn, request, status < 0 ? status : -EPROTO);
        request_end(conn, request, true);
        return true;
}

void grow_fail_all(struct kvp_conn *conn)
{
        bool starved = false;

        for (uint32_t i = 0; i < CONN_MAX_REQUESTS; i++) {
                struct request *request = &conn->requests[i];
                enum request_state state;

                (void)pthread_mutex_lock(&conn->mutex);
                state = request->state;
                if (state == REQUEST_CALL || state == REQUEST_GROW) /* any other is its owner's, who looks at it */
                        request->answered = true;
                if (state == REQUEST_CALL) {
                        request->status = -ENOTCONN;
                        starved |= conn_call_end(conn, request);
                }
                (void)pthread_mutex_unlock(&conn->mutex);
                if (state == REQUEST_GROW) {
                        end_all(conn, request, conn_is_gone(conn) ? -ENOTCONN : -EAGAIN); /* to be asked for again */
                        request_end(conn, request, true);
                }
        }
        if (starved)
                (void)mapper_wake(conn);
}
