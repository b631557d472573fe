/* SPDX-License-Identifier: MIT
 *
 * test-cli-top.c -- kvpagerctl top without a terminal: figures of two snapshots, the picture of them, and what keys do.
 * tests/system/86-top.py has the terminal.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "client/cli/ctl.h"
#include "client/cli/top-draw.h"
#include "client/cli/top-keys.h"
#include "client/cli/top-model.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static struct wire_item_device device = {
        .capacity_bytes = 8 * GIB, .allocated_bytes = 3 * GIB + 512 * MIB, .virgin_bytes = 512 * MIB, .name = "main"
};

/* Two moments of a daemon, two seconds apart, each with its own copy of tenants and workers. */
struct moments {
        struct wire_item_tenant tenants[2][3];
        struct wire_item_worker workers[2][3];
        struct ctl_snapshot at[2];
};

static void moments_init(struct moments *m)
{
        static const struct wire_item_tenant tenants[] = {
                { .current_bytes = 3 * GIB,
                  .live_bytes = 2 * GIB,
                  .idle_bytes = 512 * MIB,
                  .min_bytes = GIB,
                  .high_bytes = UINT64_MAX,
                  .max_bytes = 4 * GIB,
                  .extents_granted = 1000,
                  .requests_waited = 7,
                  .requests_failed = 2,
                  .stall_usec = 10000000,
                  .revokes = 3,
                  .waiting = 1,
                  .workers = 2,
                  .weight = 100,
                  .name = "chat" },
                { .current_bytes = MIB,
                  .live_bytes = MIB,
                  .high_bytes = UINT64_MAX,
                  .max_bytes = UINT64_MAX,
                  .extents_granted = 5,
                  .overdue = 1,
                  .workers = 1,
                  .weight = 200,
                  .name = "Batch" },
                { .high_bytes = UINT64_MAX, .max_bytes = UINT64_MAX, .weight = 100, .name = "spare" },
        };
        static const struct wire_item_worker workers[] = {
                { .pid = 4711,
                  .worker = 65536,
                  .current_bytes = 2 * GIB,
                  .live_bytes = 2 * GIB,
                  .caches = 1,
                  .uid = 1000,
                  .tenant = "chat" },
                { .pid = 4712,
                  .worker = 1,
                  .current_bytes = GIB,
                  .idle_bytes = 512 * MIB,
                  .caches = 2,
                  .uid = 1000,
                  .tenant = "chat" },
                { .pid = 99, .worker = 2, .current_bytes = MIB, .live_bytes = MIB, .overdue = 1, .tenant = "Batch" },
        };

        for (int i = 0; i < 2; i++) {
                memcpy(m->tenants[i], tenants, sizeof(tenants));
                memcpy(m->workers[i], workers, sizeof(workers));
                m->at[i] = (struct ctl_snapshot){
                        .parts = TOP_PARTS,
                        .status = { .pid = 1,
                                    .uptime_usec = (100 + 2 * (uint64_t)i) * 1000000,
                                    .tenants = 3,
                                    .workers = 3,
                                    .waiting_requests = 1,
                                    .version = "9.8.7" },
                        .devices = { &device, 1 },
                        .tenants = { m->tenants[i], 3 },
                        .workers = { m->workers[i], 3 },
                };
        }
        m->tenants[1][0].extents_granted += 250;
        m->tenants[1][0].requests_waited += 4;
        m->tenants[1][0].requests_failed += 1;
        m->tenants[1][0].stall_usec += 500000;
        m->tenants[1][0].revokes += 2;
}

static struct top_model build(const struct ctl_snapshot *before, const struct ctl_snapshot *now, enum top_view view,
                              const char *filter, enum top_figure by, bool reverse)
{
        struct top_model model;

        cr_assert_eq(top_model_build(&model, before, now, view, filter, (struct top_order){ by, reverse }), 0);
        return model;
}

static const struct top_row *row_of(const struct top_model *model, const char *name)
{
        for (size_t i = 0; i < model->n_rows; i++)
                if (strcmp(model->rows[i].name, name) == 0)
                        return &model->rows[i];
        cr_assert(false, "no row %s", name);
        return NULL;
}

/* ---- Model ---- */

Test(top_model, what_happened_in_between)
{
        struct moments m;

        moments_init(&m);
        struct top_model model = build(&m.at[0], &m.at[1], TOP_TENANTS, "", TOP_CURRENT, false);
        const struct top_row *chat = row_of(&model, "chat"), *spare = row_of(&model, "spare");
        cr_expect_eq(model.interval_usec, 2000000);
        cr_expect_eq(model.capacity, 8 * GIB);
        cr_expect_eq(chat->figures[TOP_PRESSURE], 250, "half a second of two");
        cr_expect_eq(chat->figures[TOP_GRANTS], 1250, "125.0 a second");
        cr_expect_eq(chat->figures[TOP_WAITS], 4);
        cr_expect_eq(chat->figures[TOP_FAILED], 1);
        cr_expect_eq(chat->figures[TOP_REVOKES], 2);
        cr_expect_eq(chat->figures[TOP_WAITING], 1);
        cr_expect_eq(chat->figures[TOP_UNMAPPED], 512 * MIB);
        cr_expect_eq(chat->figures[TOP_MEMBERS], 2);
        cr_expect_eq(spare->figures[TOP_PRESSURE], 0);
        cr_expect_eq(spare->figures[TOP_GRANTS], 0);
        top_model_done(&model);
}

Test(top_model, totals_where_nothing_can_be_compared)
{
        struct moments m;

        moments_init(&m);
        m.at[1].status.uptime_usec = 1000000;
        m.at[1].status.counted_usec = 42000000;
        struct top_model model = build(NULL, &m.at[1], TOP_TENANTS, "", TOP_CURRENT, false);
        cr_expect_eq(model.interval_usec, 0);
        cr_expect_eq(row_of(&model, "chat")->figures[TOP_PRESSURE], 250, "10.5 seconds of 42");
        cr_expect_eq(row_of(&model, "chat")->figures[TOP_GRANTS], 1250);
        cr_expect_eq(row_of(&model, "chat")->figures[TOP_WAITS], 11);
        top_model_done(&model);

        /* Another daemon, and the same one with a clock that went back. */
        model = build(&m.at[0], &m.at[1], TOP_TENANTS, "", TOP_CURRENT, false);
        cr_expect_eq(model.interval_usec, 0);
        top_model_done(&model);
        m.at[1].status.uptime_usec = 102000000;
        m.at[1].status.pid = 2;
        model = build(&m.at[0], &m.at[1], TOP_TENANTS, "", TOP_CURRENT, false);
        cr_expect_eq(model.interval_usec, 0);
        top_model_done(&model);
        m.at[1].status = (struct wire_status){ 0 };
        model = build(NULL, &m.at[1], TOP_TENANTS, "", TOP_CURRENT, false);
        cr_expect_eq(row_of(&model, "chat")->figures[TOP_PRESSURE], 0, "no time at all");
        top_model_done(&model);
}

Test(top_model, tenants_that_come_anew_begin_anew)
{
        struct moments m;

        moments_init(&m);
        m.at[0].tenants.n = 1;                   /* Batch is new */
        m.tenants[1][0].extents_granted = 10;    /* chat was taken away and came back */
        m.tenants[1][0].stall_usec = UINT64_MAX; /* nonsense is shown as all of the time */
        struct top_model model = build(&m.at[0], &m.at[1], TOP_TENANTS, "", TOP_CURRENT, false);
        cr_expect_eq(row_of(&model, "chat")->figures[TOP_GRANTS], 50);
        cr_expect_eq(row_of(&model, "chat")->figures[TOP_PRESSURE], 1000);
        cr_expect_eq(row_of(&model, "Batch")->figures[TOP_GRANTS], 25);
        top_model_done(&model);
}

static void expect_order(const struct moments *m, enum top_view view, enum top_figure by, bool reverse,
                         const char *names)
{
        struct top_model model = build(&m->at[0], &m->at[1], view, "", by, reverse);
        char got[64] = "";

        for (size_t i = 0; i < model.n_rows; i++) {
                char one[16];
                (void)snprintf(one, sizeof(one), "%c%u ", model.rows[i].name[0], (unsigned)model.rows[i].id & 0xffff);
                strcat(got, one);
        }
        cr_expect_str_eq(got, names);
        top_model_done(&model);
}

Test(top_model, order)
{
        struct moments m;

        moments_init(&m);
        expect_order(&m, TOP_TENANTS, TOP_CURRENT, false, "c0 B0 s0 ");
        expect_order(&m, TOP_TENANTS, TOP_CURRENT, true, "s0 B0 c0 ");
        expect_order(&m, TOP_TENANTS, TOP_NAME, false, "B0 c0 s0 ");
        expect_order(&m, TOP_TENANTS, TOP_NAME, true, "s0 c0 B0 ");
        expect_order(&m, TOP_TENANTS, TOP_WEIGHT, false, "B0 c0 s0 ");
        expect_order(&m, TOP_TENANTS, TOP_WEIGHT, true, "c0 s0 B0 ");
        expect_order(&m, TOP_WORKERS, TOP_NAME, false, "B2 c1 c0 ");
        expect_order(&m, TOP_WORKERS, TOP_PID, false, "c1 c0 B2 ");
        expect_order(&m, TOP_WORKERS, TOP_OVERDUE, false, "B2 c1 c0 ");
}

Test(top_model, filter)
{
        static const struct {
                enum top_view view;
                const char *filter;
                size_t rows;
        } cases[] = { { TOP_TENANTS, "BATCH", 1 }, { TOP_TENANTS, "a", 3 },   { TOP_TENANTS, "chatty", 0 },
                      { TOP_TENANTS, "0", 0 },     { TOP_WORKERS, "471", 2 }, { TOP_WORKERS, "chat", 2 },
                      { TOP_WORKERS, "99", 1 } };
        struct moments m;

        moments_init(&m);
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                struct top_model model = build(NULL, &m.at[1], cases[i].view, cases[i].filter, TOP_CURRENT, false);
                cr_expect_eq(model.n_rows, cases[i].rows, "%s: %zu", cases[i].filter, model.n_rows);
                cr_expect_eq(model.n_all, 3);
                top_model_done(&model);
        }
}

Test(top_model, json)
{
        struct moments m;

        moments_init(&m);
        struct top_model model = build(&m.at[0], &m.at[1], TOP_TENANTS, "", TOP_CURRENT, false);
        json_t *json = top_model_json(&model), *chat = json_array_get(json_object_get(json, "tenants"), 0);
        cr_expect_eq(json_integer_value(json_object_get(json, "interval_usec")), 2000000);
        cr_expect_str_eq(json_string_value(json_object_get(chat, "name")), "chat");
        cr_expect_float_eq(json_real_value(json_object_get(chat, "pressure")), 0.25, 1e-9);
        cr_expect_float_eq(json_real_value(json_object_get(chat, "grants_per_second")), 125.0, 1e-9);
        cr_expect(json_is_null(json_object_get(chat, "high_bytes")));
        cr_expect_null(json_object_get(chat, "pid"));
        json_decref(json);
        top_model_done(&model);

        model = build(NULL, &m.at[1], TOP_WORKERS, "", TOP_CURRENT, false);
        json = top_model_json(&model);
        json_t *worker = json_array_get(json_object_get(json, "workers"), 0);
        cr_expect(json_is_null(json_object_get(json, "interval_usec")));
        cr_expect_str_eq(json_string_value(json_object_get(worker, "tenant")), "chat");
        cr_expect_eq(json_integer_value(json_object_get(worker, "pid")), 4711);
        cr_expect_eq(json_integer_value(json_object_get(worker, "caches")), 1);
        json_decref(json);
        top_model_done(&model);
}

/* ---- Picture ---- */

static struct top_look look_at(enum top_view view, bool interactive)
{
        return (struct top_look){
                .view = view,
                .orders = { [TOP_TENANTS] = { .by = TOP_CURRENT }, [TOP_WORKERS] = { .by = TOP_CURRENT } },
                .interval_usec = 1000000,
                .interactive = interactive
        };
}

static char *picture_of(const struct top_model *model, struct top_look *look, int width, int height, bool ascii)
{
        struct top_canvas canvas;
        char *text = NULL;
        size_t size;
        FILE *stream = open_memstream(&text, &size);

        cr_assert_eq(top_canvas_init(&canvas, width, height ? height : top_draw_height(model, look)), 0);
        top_draw(&canvas, model, look);
        top_canvas_print(&canvas, ascii, stream);
        top_canvas_done(&canvas);
        cr_assert_eq(fclose(stream), 0);
        return text;
}

Test(top_draw, tenants)
{
        struct moments m;

        moments_init(&m);
        struct top_look look = look_at(TOP_TENANTS, false);
        struct top_model model = build(&m.at[0], &m.at[1], TOP_TENANTS, "", TOP_CURRENT, false);
        _cleanup_(ctl_free) char *text = picture_of(&model, &look, 100, 0, true);
        cr_expect_str_eq(
                text,
                "kvpagerd 9.8.7, up 1min 42s; 3 tenants, 3 workers; 1 request waits                         over 2.0s\n"
                "main     #####################---...............................  3.5G of 8G, 512M virgin, 0 missing\n"
                "# live  = idle  + granted, not mapped  m min  l low  h high  M max\n"
                "TENANT  vCURRENT     LIVE     IDLE  PRESSURE  WAITING  GRANTS/S  OVERDUE\n"
                "chat          3G       2G     512M     25.0%        1       125        0  ###m###=++...M............\n"
                "Batch         1M       1M        0      0.0%        0       0.0        1  #.........................\n"
                "spare          0        0        0      0.0%        0       0.0        0  ..........................\n");
        _cleanup_(ctl_free) char *utf8 = picture_of(&model, &look, 100, 0, false);
        cr_expect(strstr(utf8, "\u2588\u2588\u2588m\u2588\u2588\u2588\u2592\u2591\u2591\u00b7\u00b7\u00b7M\u00b7"),
                  "%s", utf8);
        top_model_done(&model);
}

Test(top_draw, workers_of_whom_one_is_overdue)
{
        struct moments m;

        moments_init(&m);
        struct top_look look = look_at(TOP_WORKERS, false);
        look.orders[TOP_WORKERS] = (struct top_order){ .by = TOP_PID, .reverse = true };
        strcpy(look.filter, "a");
        struct top_model model = build(NULL, &m.at[1], TOP_WORKERS, "a", TOP_PID, true);
        _cleanup_(ctl_free) char *text = picture_of(&model, &look, 105, 0, true);
        cr_expect(strstr(text, "since the daemon started\n"), "%s", text);
        cr_expect(strstr(text, "\n3 of 3 match \"a\"  # live  = idle  + granted, not mapped\n"
                               "   ^PID  TENANT   CURRENT     LIVE     IDLE  UNMAPPED  OVERDUE   CACHES     UID\n"
                               "     99  Batch         1M       1M        0         0        1        0       0  #"),
                  "%s", text);
        top_model_done(&model);
}

/* Whatever the size: no line is too long, none is missing, nothing is written beside the canvas. */
Test(top_draw, any_size)
{
        static const int widths[] = { 1, 2, 3, 8, 9, 10, 17, 30, 41, 42, 43, 60, 80, 100, 150, 250, 512 };
        enum { N_WIDTHS = sizeof(widths) / sizeof(*widths) };
        struct moments m;

        moments_init(&m);
        for (size_t i = 0; i < TOP_VIEWS * N_WIDTHS * 8; i++) {
                const int width = widths[i / 8 % N_WIDTHS], height = 1 + 4 * (int)(i % 8);
                struct top_look look = look_at(i < 8 * N_WIDTHS ? TOP_TENANTS : TOP_WORKERS, true);
                struct top_model model = build(&m.at[0], &m.at[1], look.view, "", TOP_CURRENT, false);
                int lines = 0;

                look.help = height % 8 == 1;
                look.selected = 2;
                _cleanup_(ctl_free) char *text = picture_of(&model, &look, width, height, true);
                for (const char *line = text; *line; line = strchr(line, '\n') + 1, lines++)
                        cr_expect_leq(strcspn(line, "\n"), (size_t)width);
                cr_expect_eq(lines, height);
                top_model_done(&model);
        }
}

Test(top_draw, bars_of_extremes)
{
        static const struct {
                uint64_t current, live, idle, min, low, high, max;
                const char *bar;
        } cases[] = {
                { 0, 0, 0, 0, 0, UINT64_MAX, UINT64_MAX, "........................" },
                { 8 * GIB, 8 * GIB, 0, 0, 0, UINT64_MAX, UINT64_MAX, "########################" },
                { 9 * GIB, 9 * GIB, 0, 0, 0, UINT64_MAX, UINT64_MAX, "########################" },
                { 3, 1, 1, 0, 0, UINT64_MAX, UINT64_MAX, "#=+....................." },
                { 8 * GIB, 8 * GIB - 2, 1, 0, 0, UINT64_MAX, UINT64_MAX, "########################" },
                { 0, 0, 0, 8 * GIB, 4 * GIB, 6 * GIB, 8 * GIB, "............l.....h....M" },
                { 0, 0, 0, 4 * GIB, 4 * GIB, 4 * GIB, 4 * GIB, "............M..........." },
                { 0, 0, 0, 1, 0, 9 * GIB, 16 * GIB, ".m......................" },
                { UINT64_MAX, UINT64_MAX, 0, 0, 0, UINT64_MAX, UINT64_MAX, "########################" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                struct wire_item_tenant tenant = { .current_bytes = cases[i].current,
                                                   .live_bytes = cases[i].live,
                                                   .idle_bytes = cases[i].idle,
                                                   .min_bytes = cases[i].min,
                                                   .low_bytes = cases[i].low,
                                                   .high_bytes = cases[i].high,
                                                   .max_bytes = cases[i].max,
                                                   .name = "x" };
                struct ctl_snapshot now = { .parts = TOP_PARTS, .devices = { &device, 1 }, .tenants = { &tenant, 1 } };
                struct top_look look = look_at(TOP_TENANTS, false);
                struct top_model model = build(NULL, &now, TOP_TENANTS, "", TOP_CURRENT, false);
                _cleanup_(ctl_free) char *text = picture_of(&model, &look, 42, 0, true);
                const char *row = strrchr(text, ' ');
                cr_expect(row && strncmp(row + 1, cases[i].bar, 24) == 0 && row[25] == '\n', "case %zu: %s", i, text);
                top_model_done(&model);
        }
}

Test(top_draw, no_device_and_many_devices)
{
        static struct wire_item_device many[16];
        struct moments m;

        moments_init(&m);
        m.at[1].devices.n = 0;
        struct top_look look = look_at(TOP_TENANTS, true);
        struct top_model model = build(NULL, &m.at[1], TOP_TENANTS, "", TOP_CURRENT, false);
        _cleanup_(ctl_free) char *none = picture_of(&model, &look, 80, 10, true);
        cr_expect(strstr(none, "\nchat "), "%s", none);
        top_model_done(&model);

        m.at[1].devices = (struct ctl_list){ many, 16 };
        for (int i = 0; i < 16; i++)
                (void)snprintf(many[i].name, sizeof(many[i].name), "device%d", i);
        model = build(NULL, &m.at[1], TOP_TENANTS, "", TOP_CURRENT, false);
        _cleanup_(ctl_free) char *low = picture_of(&model, &look, 80, 10, true);
        cr_expect(strstr(low, "\nchat ") && strstr(low, "\ndevice2 ") && !strstr(low, "\ndevice3 "), "%s", low);
        _cleanup_(ctl_free) char *high = picture_of(&model, &look, 80, 40, true);
        cr_expect(strstr(high, "\nchat ") && strstr(high, "\ndevice15"), "%s", high);
        top_model_done(&model);
}

/* ---- Keys ---- */

struct session {
        struct moments moments;
        struct top_look look;
        struct top_model model;
};

static void session_begin(struct session *s)
{
        moments_init(&s->moments);
        s->look = look_at(TOP_TENANTS, true);
        s->model = (struct top_model){ 0 };
}

/* As the program does it: key, model, picture. The picture is in ASCII, 80 x 12; the caller frees it. */
static char *press(struct session *s, int key, enum top_action action)
{
        if (key)
                cr_expect_eq(top_key(&s->look, &s->model, key), action, "key %d", key);
        top_model_done(&s->model);
        s->model = build(&s->moments.at[0], &s->moments.at[1], s->look.view, s->look.filter,
                         s->look.orders[s->look.view].by, s->look.orders[s->look.view].reverse);
        return picture_of(&s->model, &s->look, 80, 12, true);
}

static void expect_press(struct session *s, int key, enum top_action action, const char *shows)
{
        _cleanup_(ctl_free) char *text = press(s, key, action);

        cr_expect(strstr(text, shows), "after key %d '%c': %s\nis not in\n%s", key, key > ' ' && key < 127 ? key : ' ',
                  shows, text);
}

static void type(struct session *s, const char *text)
{
        for (; *text; text++)
                free(press(s, *text, TOP_DRAW));
}

Test(top_keys, view_order_and_help)
{
        struct session s;

        session_begin(&s);
        expect_press(&s, 0, TOP_DRAW, "TENANT  vCURRENT");
        expect_press(&s, 'r', TOP_DRAW, "TENANT  ^CURRENT");
        expect_press(&s, '<', TOP_DRAW, "TENANT^  CURRENT");
        expect_press(&s, 'r', TOP_DRAW, "TENANTv  CURRENT");
        expect_press(&s, TOP_KEY_LEFT, TOP_DRAW, "WAITING");
        cr_expect_eq(s.look.orders[TOP_TENANTS].by, TOP_MEMBERS, "around the end");
        expect_press(&s, TOP_KEY_RIGHT, TOP_DRAW, "TENANT^  CURRENT");
        expect_press(&s, '\t', TOP_DRAW, "   PID  TENANT  vCURRENT");
        expect_press(&s, 'v', TOP_DRAW, "TENANT^  CURRENT");
        expect_press(&s, '?', TOP_DRAW, "tenants or workers");
        expect_press(&s, 'x', TOP_DRAW, "TENANT^  CURRENT");
        expect_press(&s, 'h', TOP_DRAW, "tenants or workers");
        expect_press(&s, 'q', TOP_QUIT, "");
        expect_press(&s, ' ', TOP_DRAW, "TENANT");
        expect_press(&s, ' ', TOP_FETCH, "TENANT");
        expect_press(&s, 1000, TOP_DRAW, "TENANT");
        top_model_done(&s.model);
}

Test(top_keys, interval)
{
        struct session s;

        session_begin(&s);
        expect_press(&s, 0, TOP_DRAW, "every 1.0s");
        expect_press(&s, '+', TOP_DRAW, "every 2.0s");
        expect_press(&s, '-', TOP_DRAW, "every 1.0s");
        expect_press(&s, '-', TOP_DRAW, "every 0.5s");
        for (int i = 0; i < 20; i++)
                free(press(&s, '-', TOP_DRAW));
        cr_expect_eq(s.look.interval_usec, 100000);
        for (int i = 0; i < 20; i++)
                free(press(&s, '+', TOP_DRAW));
        cr_expect_eq(s.look.interval_usec, 300000000);
        s.look.interval_usec = 1234567;
        expect_press(&s, '-', TOP_DRAW, "every 1.0s");
        top_model_done(&s.model);
}

Test(top_keys, selection_stays_with_its_row)
{
        struct session s;

        session_begin(&s);
        free(press(&s, 0, TOP_DRAW));
        cr_expect_str_eq(s.look.selected_name, "chat");
        free(press(&s, 'j', TOP_DRAW));
        cr_expect_str_eq(s.look.selected_name, "Batch");
        free(press(&s, 'r', TOP_DRAW));
        free(press(&s, '<', TOP_DRAW));
        cr_expect_str_eq(s.look.selected_name, "Batch");
        cr_expect_eq(s.look.selected, 0);
        free(press(&s, TOP_KEY_END, TOP_DRAW));
        free(press(&s, TOP_KEY_DOWN, TOP_DRAW));
        cr_expect_str_eq(s.look.selected_name, "spare");
        s.moments.at[1].tenants.n = 2; /* it is gone */
        free(press(&s, 0, TOP_DRAW));
        cr_expect_str_eq(s.look.selected_name, "Batch");
        free(press(&s, TOP_KEY_UP, TOP_DRAW));
        cr_expect_eq(s.look.selected, 0);
        s.moments.at[1].tenants.n = 0;
        expect_press(&s, TOP_KEY_PAGE_DOWN, TOP_DRAW, "TENANT");
        expect_press(&s, TOP_KEY_HOME, TOP_DRAW, "TENANT");
        cr_expect_str_eq(s.look.selected_name, "");
        top_model_done(&s.model);
}

Test(top_keys, pages_of_many_rows)
{
        static struct wire_item_tenant many[200];
        struct session s;

        session_begin(&s);
        for (unsigned i = 0; i < 200; i++) {
                many[i] = (struct wire_item_tenant){ .current_bytes = (200 - i) * MIB };
                (void)snprintf(many[i].name, sizeof(many[i].name), "t%03u", i);
        }
        s.moments.at[1].tenants = (struct ctl_list){ many, 200 };
        expect_press(&s, 0, TOP_DRAW, "\nt000 ");
        cr_expect_eq(s.look.page, 7, "12 lines less daemon, device, legend, headings and foot");
        expect_press(&s, TOP_KEY_PAGE_DOWN, TOP_DRAW, "\nt007 ");
        expect_press(&s, TOP_KEY_END, TOP_DRAW, "\nt199 ");
        expect_press(&s, TOP_KEY_PAGE_UP, TOP_DRAW, "\nt192 ");
        expect_press(&s, TOP_KEY_HOME, TOP_DRAW, "\nt006 ");
        top_model_done(&s.model);
}

Test(top_keys, filter)
{
        struct session s;

        session_begin(&s);
        free(press(&s, 0, TOP_DRAW));
        expect_press(&s, '/', TOP_DRAW, "Show what contains:");
        type(&s, "bax");
        expect_press(&s, TOP_KEY_ERASE, TOP_DRAW, "Show what contains: ba");
        cr_expect_eq(s.model.n_rows, 3, "not before it is entered");
        expect_press(&s, '\n', TOP_DRAW, "1 of 3 match \"ba\"");
        expect_press(&s, '/', TOP_DRAW, "Show what contains: ba");
        expect_press(&s, TOP_KEY_ESCAPE, TOP_DRAW, "1 of 3 match \"ba\"");
        free(press(&s, TOP_KEY_ESCAPE, TOP_DRAW));
        cr_expect_eq(s.model.n_rows, 3);
        expect_press(&s, '/', TOP_DRAW, "Show what contains:");
        for (int i = 0; i < 500; i++)
                type(&s, "q");
        free(press(&s, '\r', TOP_DRAW));
        cr_expect_eq(strlen(s.look.filter), TOP_LINE_MAX - 1);
        cr_expect_eq(s.model.n_rows, 0);
        top_model_done(&s.model);
}

Test(top_keys, change_a_limit)
{
        struct session s;

        session_begin(&s);
        free(press(&s, 0, TOP_DRAW));
        expect_press(&s, 'j', TOP_DRAW, "q quit");
        expect_press(&s, 'c', TOP_DRAW, "Set KEY=VALUE of Batch:");
        expect_press(&s, '\n', TOP_DRAW, "q quit");
        free(press(&s, 'c', TOP_DRAW));
        type(&s, "weight=50");
        expect_press(&s, '\n', TOP_SET, "q quit");
        cr_expect_str_eq(s.look.line, "weight=50");
        cr_expect_str_eq(s.look.selected_name, "Batch");
        free(press(&s, 'v', TOP_DRAW));
        expect_press(&s, 'c', TOP_DRAW, "Select a tenant first");
        expect_press(&s, 'j', TOP_DRAW, "q quit");
        top_model_done(&s.model);
}
