/* SPDX-License-Identifier: MIT
 *
 * events.c -- what happened, a line each: for people, or JSON for programs.
 */
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <time.h>

#include "format.h"
#include "link.h"
#include "operate.h"
#include "snapshot.h"

#define FOREVER_USEC (UINT64_MAX / 4)

/* Whom and what an event is about, in brackets and words, each with a separator before. */
static void print_subject(const struct wire_item_event *e, FILE *out, const struct ctl_options *options)
{
        char text[CTL_FORMAT_MAX];
        const char *between = "  ";

        if (e->tenant[0]) {
                (void)fprintf(out, "%s[tenant %s]", between, e->tenant);
                between = ", ";
        }
        if (e->device[0]) {
                (void)fprintf(out, "%s[device %s]", between, e->device);
                between = ", ";
        }
        if (e->pid > 0) {
                (void)fprintf(out, "%spid %" PRIu64 " (uid %" PRIu32 ")", between, e->pid, e->uid);
                between = ", ";
        }
        if (e->bytes > 0) {
                (void)fprintf(out, "%s%s", between, ctl_format_bytes(text, e->bytes, options->bytes));
                between = ", ";
        }
        if (e->count > 1) {
                (void)fprintf(out, "%s%" PRIu32 " times", between, e->count);
                between = ", ";
        }
        (void)fprintf(out, "%s%s\n", *between == ',' ? ": " : between, e->text);
}

static void print_event(const struct wire_item_event *e, FILE *out, const struct ctl_options *options)
{
        time_t seconds = (time_t)(e->time_usec / 1000000);
        char when[32] = "";
        struct tm local;

        if (localtime_r(&seconds, &local))
                (void)strftime(when, sizeof(when), "%F %T", &local);
        (void)fprintf(out, "%s.%03u  %-20s", when, (unsigned)(e->time_usec / 1000 % 1000), e->event);
        print_subject(e, out, options);
}

/* Prints the events of a reply. `next` is the number that the first one should have; 0: any. */
static int print_page(const struct wire_view *view, uint64_t *next, const struct ctl_options *options, FILE *out,
                      FILE *err)
{
        const struct wire_events *page = view->fixed;
        const struct wire_item_event *items = view->items;

        for (uint32_t i = 0; i < view->n_items; i++) {
                if (*next > 0 && items[i].sequence > *next)
                        (void)fprintf(err, "kvpagerctl: %" PRIu64 " events were forgotten before they were read.\n",
                                      items[i].sequence - *next);
                *next = items[i].sequence + 1;
                if (!options->json)
                        print_event(&items[i], out, options);
                else if (ctl_json_print(ctl_json_event(&items[i]), JSON_COMPACT, out, err) != CTL_EXIT_OK)
                        return CTL_EXIT_FAILED;
        }
        *next = page->next;
        /* Whoever reads a pipe is to see an event when it happens. */
        return fflush(out) == 0 ? CTL_EXIT_OK : CTL_EXIT_FAILED;
}

int ctl_events(const struct ctl_options *options, FILE *out, FILE *err)
{
        _cleanup_(ctl_link_close) struct ctl_link link = CTL_LINK_NONE;
        const bool follow = options->given & CTL_OPTION_FOLLOW;
        struct wire_events_get get = { .follow = follow };
        struct wire_view view;
        uint64_t next = 0;
        bool more;

        if (ctl_link_open(&link, options->socket_path, options->timeout_usec) < 0 ||
            ctl_link_call(&link, WIRE_EVENTS_GET, &get, WIRE_EVENTS, &view) < 0)
                return ctl_complain(err, ctl_link_why(&link));
        if (follow)
                ctl_link_extend(&link, FOREVER_USEC);
        for (;;) {
                more = ((const struct wire_events *)view.fixed)->more;
                if (print_page(&view, &next, options, out, err) != CTL_EXIT_OK)
                        return CTL_EXIT_FAILED;
                if (!follow && !more)
                        return CTL_EXIT_OK;
                get.from = next;
                if ((follow ? ctl_link_next(&link, WIRE_EVENTS, &view)
                            : ctl_link_call(&link, WIRE_EVENTS_GET, &get, WIRE_EVENTS, &view)) < 0)
                        return ctl_complain(err, ctl_link_why(&link));
        }
}
