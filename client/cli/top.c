/* SPDX-License-Identifier: MIT
 *
 * top.c -- `kvpagerctl top`: a snapshot every interval, the picture of the last two, and keys in between.
 *
 *      top-model.c    figures from two snapshots
 *      top-draw.c     figures to cells
 *      top-keys.c     keys to what is shown, and how
 *      top-screen.c   cells to the terminal
 *
 * A daemon that goes away stays on the screen as it was, with a line that says so, and is looked for again at every
 * interval: a restart is nothing to start anew for.
 */
#include "top.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "arguments.h"
#include "link.h"
#include "tenant-set.h"
#include "top-draw.h"
#include "top-keys.h"
#include "top-model.h"
#include "top-screen.h"

#define TOP_WIDTH 100 /* of a picture that no terminal is there for */

struct top {
        const struct ctl_options *options;
        struct ctl_link link; /* closed while there is no daemon */
        struct ctl_snapshot before, now;
        bool has_before;
        bool ascii;
        bool away; /* the message says that there is no daemon */
        struct top_look look;
        struct top_model model;
};

static void top_done(struct top *top)
{
        top_model_done(&top->model);
        ctl_snapshot_done(&top->before);
        ctl_snapshot_done(&top->now);
        ctl_link_close(&top->link);
}

/* A link with time left: the one that there is, or a new one. Who gets an error from it, or on it, closes it. */
static int top_connect(struct top *top)
{
        if (top->link.fd < 0)
                return ctl_link_open(&top->link, top->options->socket_path, top->options->timeout_usec);
        ctl_link_extend(&top->link, top->options->timeout_usec);
        return 0;
}

/* 0, or a negative errno, for which ctl_link_why() has the words; then nothing has changed but that the link is closed.
 */
static int top_fetch(struct top *top)
{
        struct ctl_snapshot snapshot = { 0 };
        int r = top_connect(top);

        if (r >= 0)
                r = ctl_snapshot_fetch(&snapshot, &top->link, TOP_PARTS);
        if (r < 0) {
                ctl_link_close(&top->link);
                ctl_snapshot_done(&snapshot);
                return r;
        }
        ctl_snapshot_done(&top->before);
        top->has_before = top->now.parts != 0;
        top->before = top->now;
        top->now = snapshot;
        return 0;
}

static int top_build(struct top *top)
{
        top_model_done(&top->model);
        return top_model_build(&top->model, top->has_before ? &top->before : NULL, &top->now, top->look.view,
                               top->look.filter, top->look.orders[top->look.view]);
}

/* ---- One picture ---- */

/* $COLUMNS, else the terminal's width, else TOP_WIDTH. */
static int once_width(FILE *out)
{
        const char *columns = getenv("COLUMNS");
        struct winsize size;
        long width = columns ? strtol(columns, NULL, 10) : 0;

        if (width <= 0 && fileno(out) >= 0 && ioctl(fileno(out), TIOCGWINSZ, &size) == 0)
                width = size.ws_col;
        return width > 0 && width < 10000 ? (int)width : TOP_WIDTH;
}

static int top_once_json(struct top *top, FILE *out)
{
        json_t *tenants = top_model_json(&top->model), *workers = NULL, *all;
        int r = -1;

        top->look.view = TOP_WORKERS;
        if (top_build(top) == 0)
                workers = top_model_json(&top->model);
        all = tenants && workers ? json_object() : NULL;
        if (all && json_object_update(all, tenants) == 0 && json_object_update(all, workers) == 0)
                r = json_dumpf(all, out, JSON_INDENT(2) | JSON_ENSURE_ASCII);
        (void)fputs(r == 0 ? "\n" : "", out);
        json_decref(all);
        json_decref(tenants);
        json_decref(workers);
        return r < 0 && !ferror(out) ? -ENOMEM : 0;
}

static int top_once_text(struct top *top, FILE *out)
{
        struct top_canvas canvas;
        int r = top_canvas_init(&canvas, once_width(out), top_draw_height(&top->model, &top->look));

        if (r == 0) {
                top_draw(&canvas, &top->model, &top->look);
                top_canvas_print(&canvas, top->ascii, out);
        }
        top_canvas_done(&canvas);
        return r;
}

/* With an interval, of what happens in it; else of all since the daemon started, at once. */
static int top_once(struct top *top, FILE *out, FILE *err)
{
        if (top->options->given & CTL_OPTION_INTERVAL) {
                (void)poll(NULL, 0, (int)(top->options->interval_usec / 1000));
                if (top_fetch(top) < 0)
                        return ctl_complain(err, ctl_link_why(&top->link));
        }
        if (top_build(top) < 0 || (top->options->json ? top_once_json(top, out) : top_once_text(top, out)) < 0)
                return ctl_complain(err, strerror(ENOMEM));
        return CTL_EXIT_OK;
}

/* ---- The whole terminal ---- */

static int top_show(struct top *top)
{
        struct top_canvas canvas;
        int width, height, r;

        top_screen_size(&width, &height);
        r = top_canvas_init(&canvas, width, height);
        if (r == 0)
                r = top_build(top);
        if (r == 0) {
                top_draw(&canvas, &top->model, &top->look);
                top_screen_show(&canvas, top->ascii);
        }
        top_canvas_done(&canvas);
        return r;
}

/* The first line of what failed. */
static void top_message_why(struct top *top)
{
        const char *why = ctl_link_why(&top->link);

        (void)snprintf(top->look.message, sizeof(top->look.message), "%.*s", (int)strcspn(why, "\n"), why);
        top->look.alarm = true;
}

static void top_refetch(struct top *top)
{
        if (top_fetch(top) < 0) {
                top_message_why(top);
                top->away = true;
        } else if (top->away) {
                top->look.message[0] = 0;
                top->look.alarm = top->away = false;
        }
}

/* What was typed, KEY=VALUE, of the selected tenant. The message says what came of it. */
static void top_set(struct top *top)
{
        const char *line = top->look.line;
        bool deferred = false;
        int r = top_connect(top);

        if (r >= 0)
                r = ctl_tenant_set(&top->link, top->look.selected_name, &line, 1, &deferred);
        if (r < 0) {
                top_message_why(top);
                ctl_link_close(&top->link); /* it may be at fault; the next snapshot takes a new one */
        } else {
                (void)snprintf(top->look.message, sizeof(top->look.message), "%s of %s: %s.", line,
                               top->look.selected_name, deferred ? "deferred until memory is reclaimed" : "applied");
        }
}

/* Keys until the next snapshot is due. */
static int top_run(struct top *top)
{
        enum top_action action = TOP_DRAW;
        uint64_t due = ctl_now_usec() + top->look.interval_usec;
        int r = top_show(top);

        while (r == 0 && action != TOP_QUIT) {
                uint64_t now = ctl_now_usec(), last = due - top->look.interval_usec;
                int key = top_screen_key(now < due ? (int)((due - now + 999) / 1000) : 0);

                if (key == TOP_SCREEN_GONE)
                        return 0;
                action = key >= 0 ? top_key(&top->look, &top->model, key) : TOP_DRAW;
                due = last + top->look.interval_usec; /* which may have changed */
                now = ctl_now_usec();
                if (action == TOP_SET)
                        top_set(top);
                if (action == TOP_FETCH || now >= due) {
                        top_refetch(top);
                        due = ctl_now_usec() + top->look.interval_usec;
                }
                r = top_show(top);
        }
        return r;
}

int ctl_top(const struct ctl_options *options, FILE *out, FILE *err)
{
        const bool once = options->given & CTL_OPTION_ONCE;
        _cleanup_(top_done) struct top top = {
                .options = options,
                .link = CTL_LINK_NONE,
                .look = { .orders = { [TOP_TENANTS] = { .by = TOP_CURRENT }, [TOP_WORKERS] = { .by = TOP_CURRENT } },
                          .interval_usec = options->interval_usec,
                          .interactive = !once },
        };
        int r;

        if (options->json && !once)
                return ctl_arguments_complain(err, "top --json goes with --once.");
        if (!once && (fileno(out) != STDOUT_FILENO || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)))
                return ctl_complain(err, "top needs a terminal; `kvpagerctl top --once` prints one picture as text.");
        (void)setlocale(LC_CTYPE, "");
        top.ascii = (options->given & CTL_OPTION_ASCII) || strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
        if (top_fetch(&top) < 0)
                return ctl_complain(err, ctl_link_why(&top.link));
        if (once)
                return top_once(&top, out, err);
        if (top_screen_open(options->colour) < 0)
                return ctl_complain(
                        err, "top does not know this terminal (TERM); `kvpagerctl top --once` prints one picture "
                             "as text.");
        r = top_run(&top);
        top_screen_close();
        return r < 0 ? ctl_complain(err, strerror(-r)) : CTL_EXIT_OK;
}
