/* SPDX-License-Identifier: MIT
 *
 * top-draw.c -- the picture of `kvpagerctl top`.
 *
 *      kvpagerd 0.1.0, up 1h 2min; 2 tenants, 3 workers; 1 request waits        every 1s
 *      main      [device bar]  3.5G of 8G, 512M virgin, 0 missing
 *      (what the bars mean)
 *      TENANT  CURRENT  ...  BAR                      as many columns as there is room for
 *      chat       2.5G  ...  [live, idle, unmapped, free, and where the limits are]
 *      (keys, a prompt or a message)
 *
 * A bar's whole width is the capacity of all devices, so that bars of several tenants add up.
 */
#include "top-draw.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"

#define CANVAS_WIDTH_MAX  512
#define CANVAS_HEIGHT_MAX (1 << 17)
#define BAR_MIN           20
#define BAR_LOOK          24 /* columns are left out before the bar gets narrower */
#define NAME_MAX_WIDTH    24

/* ---- Canvas ---- */

int top_canvas_init(struct top_canvas *canvas, int width, int height)
{
        width = width < 1 ? 1 : width > CANVAS_WIDTH_MAX ? CANVAS_WIDTH_MAX : width;
        height = height < 1 ? 1 : height > CANVAS_HEIGHT_MAX ? CANVAS_HEIGHT_MAX : height;
        *canvas = (struct top_canvas){ .width = width, .height = height };
        canvas->glyphs = malloc((size_t)width * (size_t)height);
        canvas->styles = calloc((size_t)width, (size_t)height);
        if (!canvas->glyphs || !canvas->styles)
                return -ENOMEM;
        memset(canvas->glyphs, ' ', (size_t)width * (size_t)height);
        return 0;
}

void top_canvas_done(struct top_canvas *canvas)
{
        free(canvas->glyphs);
        free(canvas->styles);
        *canvas = (struct top_canvas){ 0 };
}

const char *top_glyph_text(unsigned char glyph, bool ascii, char buffer[static 2])
{
        static const struct {
                const char *utf8, *ascii;
        } glyphs[] = {
                [TOP_GLYPH_LIVE - 0x80] = { "\u2588", "#" },     [TOP_GLYPH_IDLE - 0x80] = { "\u2592", "=" },
                [TOP_GLYPH_UNMAPPED - 0x80] = { "\u2591", "+" }, [TOP_GLYPH_VIRGIN - 0x80] = { "\u2591", "-" },
                [TOP_GLYPH_MISSING - 0x80] = { "\u2573", "x" },  [TOP_GLYPH_FREE - 0x80] = { "\u00b7", "." },
                [TOP_GLYPH_UP - 0x80] = { "\u2191", "^" },       [TOP_GLYPH_DOWN - 0x80] = { "\u2193", "v" },
                [TOP_GLYPH_CUT - 0x80] = { "\u2026", "~" },
        };

        if (glyph >= 0x80 && glyph < TOP_GLYPH_END_)
                return ascii ? glyphs[glyph - 0x80].ascii : glyphs[glyph - 0x80].utf8;
        buffer[0] = (char)(glyph >= ' ' && glyph <= '~' ? glyph : '?');
        buffer[1] = 0;
        return buffer;
}

void top_canvas_print(const struct top_canvas *canvas, bool ascii, FILE *stream)
{
        char buffer[2];

        for (int y = 0; y < canvas->height; y++) {
                const unsigned char *line = canvas->glyphs + (size_t)y * (size_t)canvas->width;
                int end = canvas->width;
                while (end > 0 && line[end - 1] == ' ')
                        end--;
                for (int x = 0; x < end; x++)
                        (void)fputs(top_glyph_text(line[x], ascii, buffer), stream);
                (void)fputc('\n', stream);
        }
}

static void put(struct top_canvas *canvas, int x, int y, unsigned style, unsigned char glyph)
{
        if (x < 0 || y < 0 || x >= canvas->width || y >= canvas->height)
                return;
        canvas->glyphs[(size_t)y * (size_t)canvas->width + (size_t)x] = glyph;
        canvas->styles[(size_t)y * (size_t)canvas->width + (size_t)x] = (unsigned char)style;
}

/* Text from column x on; returns the column after it. What is not ASCII is a question mark: a byte is a column. */
static int __attribute__((format(printf, 5, 6)))
put_text(struct top_canvas *canvas, int x, int y, unsigned style, const char *format, ...)
{
        char text[CANVAS_WIDTH_MAX + 1];
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        for (const char *c = text; *c; c++)
                put(canvas, x++, y, style, *c >= ' ' && *c <= '~' ? (unsigned char)*c : '?');
        return x;
}

/* Text in exactly `width` columns, cut where it is longer. */
static void put_cell(struct top_canvas *canvas, int x, int y, int width, bool right, unsigned style, const char *text)
{
        int length = (int)strnlen(text, CANVAS_WIDTH_MAX);

        if (length > width) {
                (void)put_text(canvas, x, y, style, "%.*s", width - 1, text);
                put(canvas, x + width - 1, y, style, TOP_GLYPH_CUT);
                return;
        }
        (void)put_text(canvas, x, y, style, right ? "%*s" : "%-*s", width, text);
}

/* ---- Bars ---- */

/* The cells that `bytes` of `whole` take of `width`; never none for something. */
static int cells_of(uint64_t bytes, uint64_t whole, int width)
{
        unsigned shift = 0;

        if (whole == 0 || bytes == 0)
                return 0;
        if (bytes >= whole)
                return width;
        while (whole >> shift > UINT64_MAX / CANVAS_WIDTH_MAX / 2)
                shift++;
        whole >>= shift;
        int cells = (int)(((bytes >> shift) * (uint64_t)width + whole / 2) / whole);
        return cells > 0 ? cells : 1;
}

/* Draws `cells` more from `at` on, up to `width`; returns where it ends. */
static int put_segment(struct top_canvas *canvas, int x, int y, int at, int cells, int width, unsigned style,
                       enum top_glyph glyph)
{
        for (; cells > 0 && at < width; cells--)
                put(canvas, x + at++, y, style, (unsigned char)glyph);
        return at;
}

/* Cells between `from` and where `to` bytes end; at least one if there is anything between. */
static int cells_up_to(uint64_t bytes, uint64_t to, uint64_t whole, int width, int from)
{
        int cells = cells_of(to, whole, width) - from;

        return bytes > 0 && cells < 1 ? 1 : cells;
}

static void put_limit(struct top_canvas *canvas, int x, int y, uint64_t bytes, uint64_t whole, int width,
                      unsigned style, char letter)
{
        int at = cells_of(bytes, whole, width);

        if (bytes == 0 || bytes > whole) /* none, or one that the device keeps anyway */
                return;
        put(canvas, x + (at < width ? at : width - 1), y, style, (unsigned char)letter);
}

static void put_row_bar(struct top_canvas *canvas, int x, int y, int width, const struct top_row *row,
                        const struct top_model *model, unsigned selected)
{
        const uint64_t *f = row->figures, whole = model->capacity;
        int at = 0;

        at = put_segment(canvas, x, y, at, cells_up_to(f[TOP_LIVE], f[TOP_LIVE], whole, width, at), width,
                         TOP_GOOD | selected, TOP_GLYPH_LIVE);
        at = put_segment(canvas, x, y, at, cells_up_to(f[TOP_IDLE], f[TOP_LIVE] + f[TOP_IDLE], whole, width, at), width,
                         TOP_PLAIN | selected, TOP_GLYPH_IDLE);
        at = put_segment(canvas, x, y, at,
                         cells_up_to(f[TOP_UNMAPPED], f[TOP_LIVE] + f[TOP_IDLE] + f[TOP_UNMAPPED], whole, width, at),
                         width, TOP_WARN | selected, TOP_GLYPH_UNMAPPED);
        (void)put_segment(canvas, x, y, at, width - at, width, TOP_FAINT | selected, TOP_GLYPH_FREE);
        if (model->view != TOP_TENANTS)
                return;
        /* Where two meet, the one that binds more is seen. */
        put_limit(canvas, x, y, f[TOP_LOW], whole, width, TOP_STRONG | selected, 'l');
        put_limit(canvas, x, y, f[TOP_MIN], whole, width, TOP_STRONG | selected, 'm');
        put_limit(canvas, x, y, f[TOP_HIGH], whole, width, TOP_STRONG | selected, 'h');
        put_limit(canvas, x, y, f[TOP_MAX], whole, width, TOP_STRONG | selected, 'M');
}

/* ---- Head ---- */

static const char *plural(uint64_t n)
{
        return n == 1 ? "" : "s";
}

static void draw_daemon(struct top_canvas *canvas, const struct top_model *model, const struct top_look *look)
{
        const struct wire_status *s = &model->now->status;
        char up[CTL_FORMAT_MAX], span[64];
        int x;

        x = put_text(canvas, 0, 0, TOP_STRONG, "kvpagerd");
        x = put_text(canvas, x, 0, TOP_PLAIN, " %s, up %s; %" PRIu32 " tenant%s, %" PRIu32 " worker%s; ", s->version,
                     ctl_format_span(up, s->uptime_usec), s->tenants, plural(s->tenants), s->workers,
                     plural(s->workers));
        x = put_text(canvas, x, 0, s->waiting_requests ? TOP_WARN : TOP_PLAIN, "%" PRIu64 " request%s wait%s",
                     s->waiting_requests, plural(s->waiting_requests), s->waiting_requests == 1 ? "s" : "");
        if (model->interval_usec == 0 && s->counted_usec > s->uptime_usec)
                (void)snprintf(span, sizeof(span), "of the last %s", ctl_format_span(up, s->counted_usec));
        else if (model->interval_usec == 0)
                (void)snprintf(span, sizeof(span), "since the daemon started");
        else
                (void)snprintf(span, sizeof(span), "%s %" PRIu64 ".%" PRIu64 "s", look->interactive ? "every" : "over",
                               (look->interactive ? look->interval_usec : model->interval_usec) / 1000000,
                               (look->interactive ? look->interval_usec : model->interval_usec) % 1000000 / 100000);
        if (x + 2 + (int)strlen(span) <= canvas->width)
                (void)put_text(canvas, canvas->width - (int)strlen(span), 0, TOP_FAINT, "%s", span);
}

static void draw_device(struct top_canvas *canvas, int y, int name_width, const struct wire_item_device *device)
{
        char used[CTL_FORMAT_MAX], capacity[CTL_FORMAT_MAX], virgin[CTL_FORMAT_MAX], missing[CTL_FORMAT_MAX], text[256];
        uint64_t current = device->allocated_bytes > device->virgin_bytes
                                   ? device->allocated_bytes - device->virgin_bytes
                                   : 0;
        uint64_t whole = device->capacity_bytes, end = current;
        int x = name_width + 2, width, at = 0;

        (void)snprintf(text, sizeof(text), "%s of %s, %s virgin, %s missing",
                       ctl_format_bytes(used, device->allocated_bytes, false),
                       ctl_format_bytes(capacity, device->capacity_bytes, false),
                       ctl_format_bytes(virgin, device->virgin_bytes, false),
                       ctl_format_bytes(missing, device->missing_bytes, false));
        put_cell(canvas, 0, y, name_width, false, TOP_STRONG, device->name);
        width = canvas->width - x - 2 - (int)strlen(text);
        if (width >= BAR_MIN) {
                at = put_segment(canvas, x, y, at, cells_up_to(current, end, whole, width, at), width, TOP_GOOD,
                                 TOP_GLYPH_LIVE);
                end += device->virgin_bytes;
                at = put_segment(canvas, x, y, at, cells_up_to(device->virgin_bytes, end, whole, width, at), width,
                                 TOP_PLAIN, TOP_GLYPH_VIRGIN);
                end += device->missing_bytes;
                at = put_segment(canvas, x, y, at, cells_up_to(device->missing_bytes, end, whole, width, at), width,
                                 TOP_ALARM, TOP_GLYPH_MISSING);
                (void)put_segment(canvas, x, y, at, width - at, width, TOP_FAINT, TOP_GLYPH_FREE);
                x += width + 2;
        }
        (void)put_text(canvas, x, y, device->missing_bytes ? TOP_ALARM : TOP_PLAIN, "%s", text);
}

static void draw_legend(struct top_canvas *canvas, int y, const struct top_model *model, const struct top_look *look)
{
        static const struct {
                enum top_glyph glyph;
                enum top_style style;
                const char *what;
        } parts[] = { { TOP_GLYPH_LIVE, TOP_GOOD, " live  " },
                      { TOP_GLYPH_IDLE, TOP_PLAIN, " idle  " },
                      { TOP_GLYPH_UNMAPPED, TOP_WARN, " granted, not mapped  " } };
        int x = 0;

        if (look->filter[0])
                x = put_text(canvas, x, y, TOP_WARN, "%zu of %zu match \"%s\"  ", model->n_rows, model->n_all,
                             look->filter);
        for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
                put(canvas, x, y, parts[i].style, (unsigned char)parts[i].glyph);
                x = put_text(canvas, x + 1, y, TOP_FAINT, "%s", parts[i].what);
        }
        if (model->view == TOP_TENANTS)
                (void)put_text(canvas, x, y, TOP_FAINT, "m min  l low  h high  M max");
}

/* ---- Table ---- */

/* In the order in which they stand; `rank` is the one in which they are left out, the highest first. */
static const struct {
        enum top_figure figure;
        int width, rank;
} columns[] = {
        { TOP_CURRENT, 7, 1 },      { TOP_LIVE, 7, 6 },     { TOP_IDLE, 7, 7 },    { TOP_UNMAPPED, 8, 10 },
        { TOP_UNBROKERED, 10, 18 }, { TOP_PRESSURE, 8, 2 }, { TOP_WAITING, 7, 4 }, { TOP_WAITS, 6, 8 },
        { TOP_FAILED, 6, 12 },      { TOP_GRANTS, 8, 3 },   { TOP_REVOKES, 7, 9 }, { TOP_OVERDUE, 7, 5 },
        { TOP_MIN, 7, 13 },         { TOP_LOW, 7, 15 },     { TOP_HIGH, 7, 16 },   { TOP_MAX, 7, 14 },
        { TOP_WEIGHT, 6, 17 },      { TOP_MEMBERS, 7, 11 }, { TOP_UID, 6, 12 },
};
#define N_COLUMNS (sizeof(columns) / sizeof(*columns))

/* Which columns there is room for beside the first `used` ones; returns the width of all. */
static int choose_columns(enum top_view view, int room, bool ret_chosen[static N_COLUMNS])
{
        int used = 0;

        memset(ret_chosen, 0, N_COLUMNS * sizeof(*ret_chosen));
        for (int rank = 1; rank <= (int)N_COLUMNS; rank++)
                for (size_t i = 0; i < N_COLUMNS; i++) {
                        if (columns[i].rank != rank || !top_figure_in(columns[i].figure, view))
                                continue;
                        if (used + 2 + columns[i].width > room)
                                return used;
                        ret_chosen[i] = true;
                        used += 2 + columns[i].width;
                }
        return used;
}

static const char *format_figure(char buffer[static CTL_FORMAT_MAX], const struct top_row *row, enum top_figure figure,
                                 bool totals)
{
        uint64_t value = row->figures[figure];

        switch (top_figure_kind(figure)) {
        case TOP_KIND_TEXT:
                return row->name;
        case TOP_KIND_BYTES:
                return ctl_format_bytes(buffer, value, false);
        case TOP_KIND_SHARE:
                (void)snprintf(buffer, CTL_FORMAT_MAX, "%" PRIu64 ".%" PRIu64 "%%", value / 10, value % 10);
                return buffer;
        case TOP_KIND_RATE:
                if (totals || value >= 1000)
                        (void)snprintf(buffer, CTL_FORMAT_MAX, "%" PRIu64, totals ? value : (value + 5) / 10);
                else
                        (void)snprintf(buffer, CTL_FORMAT_MAX, "%" PRIu64 ".%" PRIu64, value / 10, value % 10);
                return buffer;
        case TOP_KIND_COUNT:
                break;
        }
        (void)snprintf(buffer, CTL_FORMAT_MAX, "%" PRIu64, value);
        return buffer;
}

static unsigned style_of(enum top_figure figure, uint64_t value)
{
        if (figure == TOP_OVERDUE && value > 0)
                return TOP_ALARM;
        if ((figure == TOP_PRESSURE || figure == TOP_WAITING || figure == TOP_FAILED) && value > 0)
                return TOP_WARN;
        return TOP_PLAIN;
}

/* A heading, with an arrow before it where rows are sorted by it: the columns are two apart. */
static void draw_heading(struct top_canvas *canvas, int x, int y, int width, enum top_figure figure,
                         const struct top_model *model, const struct top_look *look)
{
        const struct top_order *order = &look->orders[look->view];
        const bool text = top_figure_kind(figure) == TOP_KIND_TEXT, sorted = order->by == figure;
        const char *title = top_figure_title(figure, model->view, model->interval_usec == 0);
        int length = (int)strlen(title);

        put_cell(canvas, x, y, width, !text, sorted ? TOP_SORTED : TOP_HEADING, title);
        if (sorted)
                put(canvas, text ? x + (length < width ? length : width - 1) : x + width - length - 1, y, TOP_SORTED,
                    text == order->reverse ? TOP_GLYPH_DOWN : TOP_GLYPH_UP);
}

struct layout {
        int pid_width, name_width, bar_x, bar_width; /* bar_width 0: there is no room for one */
        bool chosen[N_COLUMNS];
};

static struct layout layout_of(const struct top_canvas *canvas, const struct top_model *model)
{
        struct layout layout = { .pid_width = model->view == TOP_WORKERS ? 7 + 2 : 0, .name_width = 7 };
        int room;

        for (size_t i = 0; i < model->n_rows; i++) {
                int length = (int)strnlen(model->rows[i].name, NAME_MAX_WIDTH);
                layout.name_width = length > layout.name_width ? length : layout.name_width;
        }
        room = canvas->width - layout.pid_width - layout.name_width;
        layout.bar_x = layout.pid_width + layout.name_width + 2 +
                       choose_columns(model->view, room - BAR_LOOK - 2 >= 9 ? room - BAR_LOOK - 2 : room,
                                      layout.chosen);
        layout.bar_width = canvas->width - layout.bar_x >= BAR_MIN ? canvas->width - layout.bar_x : 0;
        return layout;
}

static void draw_row(struct top_canvas *canvas, int y, const struct layout *layout, const struct top_row *row,
                     const struct top_model *model, unsigned selected)
{
        char buffer[CTL_FORMAT_MAX];
        int x = layout->pid_width;

        for (int i = 0; selected && i < canvas->width; i++)
                put(canvas, i, y, TOP_PLAIN | selected, ' ');
        if (model->view == TOP_WORKERS)
                put_cell(canvas, 0, y, layout->pid_width - 2, true, TOP_STRONG | selected,
                         format_figure(buffer, row, TOP_PID, false));
        put_cell(canvas, x, y, layout->name_width, false, TOP_STRONG | selected, row->name);
        x += layout->name_width;
        for (size_t i = 0; i < N_COLUMNS; i++) {
                if (!layout->chosen[i])
                        continue;
                put_cell(canvas, x + 2, y, columns[i].width, true,
                         style_of(columns[i].figure, row->figures[columns[i].figure]) | selected,
                         format_figure(buffer, row, columns[i].figure, model->interval_usec == 0));
                x += 2 + columns[i].width;
        }
        if (layout->bar_width > 0)
                put_row_bar(canvas, layout->bar_x, y, layout->bar_width, row, model, selected);
}

static void draw_table(struct top_canvas *canvas, int y, int height, const struct top_model *model,
                       struct top_look *look)
{
        const struct layout layout = layout_of(canvas, model);
        int x = layout.pid_width + layout.name_width;
        size_t first;

        if (model->view == TOP_WORKERS)
                draw_heading(canvas, 0, y, layout.pid_width - 2, TOP_PID, model, look);
        draw_heading(canvas, layout.pid_width, y, layout.name_width, TOP_NAME, model, look);
        for (size_t i = 0; i < N_COLUMNS; i++) {
                if (!layout.chosen[i])
                        continue;
                draw_heading(canvas, x + 2, y, columns[i].width, columns[i].figure, model, look);
                x += 2 + columns[i].width;
        }
        look->page = height > 1 ? (size_t)(height - 1) : 0;
        first = look->selected >= look->page && look->page > 0 ? look->selected - look->page + 1 : 0;
        for (size_t i = first; i < model->n_rows && i - first < look->page; i++)
                draw_row(canvas, y + 1 + (int)(i - first), &layout, &model->rows[i], model,
                         look->interactive && i == look->selected ? TOP_SELECTED : 0);
}

/* ---- Foot, help, all of it ---- */

static void draw_foot(struct top_canvas *canvas, int y, const struct top_look *look)
{
        static const char *const questions[] = {
                [TOP_PROMPT_FILTER] = "Show what contains: ", [TOP_PROMPT_LIMIT] = "Set KEY=VALUE of "
        };
        int x;

        if (look->prompt != TOP_PROMPT_NONE) {
                x = put_text(canvas, 0, y, TOP_STRONG, "%s", questions[look->prompt]);
                if (look->prompt == TOP_PROMPT_LIMIT)
                        x = put_text(canvas, x, y, TOP_STRONG, "%s: ", look->selected_name);
                x = put_text(canvas, x, y, TOP_PLAIN, "%s", look->line);
                put(canvas, x, y, TOP_SELECTED, ' '); /* the cursor */
        } else if (look->message[0]) {
                (void)put_text(canvas, 0, y, look->alarm ? TOP_ALARM : TOP_STRONG, "%s", look->message);
        } else {
                (void)put_text(canvas, 0, y, TOP_FAINT,
                               "q quit  v view  < > sort  r reverse  / filter  c change  + - interval  ? help");
        }
}

static void draw_help(struct top_canvas *canvas, int y, int height)
{
        static const char *const lines[] = {
                "v, Tab        tenants or workers",
                "up, down      select a row; also j and k, Page Up and Down, Home and End",
                "<, >          sort by the column to the left, to the right",
                "r             the other way round",
                "/             show only what contains a text (Esc: all again)",
                "c             change a limit of the selected tenant: memory.max=2G",
                "+, -          more or less time between two pictures",
                "Space         a new picture at once",
                "?, h          this help",
                "q, Ctrl-C     quit",
                "",
                "PRESSURE is the share of the time in which at least one request waited for",
                "memory; WAITS, FAILED and REVOKES are what was counted in that time. A bar's",
                "width is the capacity of all devices.",
        };

        for (int i = 0; i < (int)(sizeof(lines) / sizeof(*lines)) && i < height; i++)
                (void)put_text(canvas, 2, y + i, TOP_PLAIN, "%s", lines[i]);
}

static int head_height(const struct top_model *model)
{
        return 1 + (int)model->now->devices.n + 1;
}

int top_draw_height(const struct top_model *model, const struct top_look *look)
{
        const size_t rows = model->n_rows < CANVAS_HEIGHT_MAX / 2 ? model->n_rows : CANVAS_HEIGHT_MAX / 2;

        return head_height(model) + 1 + (int)rows + (look->interactive ? 1 : 0);
}

/* Where the selected row has gone; the first one where it is no more. */
static void follow_selected(const struct top_model *model, struct top_look *look)
{
        const struct top_row *row;

        look->selected = 0;
        for (size_t i = 0; i < model->n_rows; i++)
                if (model->rows[i].id == look->selected_id && strcmp(model->rows[i].name, look->selected_name) == 0)
                        look->selected = i;
        row = model->n_rows > 0 ? &model->rows[look->selected] : NULL;
        look->selected_id = row ? row->id : 0;
        (void)snprintf(look->selected_name, sizeof(look->selected_name), "%s", row ? row->name : "");
}

void top_draw(struct top_canvas *canvas, const struct top_model *model, struct top_look *look)
{
        const struct wire_item_device *devices = model->now->devices.items;
        const int foot = look->interactive ? 1 : 0;
        int n_devices = (int)model->now->devices.n, y = 1, name_width = 7;

        assert(model->view == look->view);
        follow_selected(model, look);
        draw_daemon(canvas, model, look);
        /* On a low terminal rows are worth more than devices. */
        if (n_devices > 1 && 1 + n_devices + 2 + foot + 3 > canvas->height)
                n_devices = canvas->height > 1 + 2 + foot + 3 + 1 ? canvas->height - (1 + 2 + foot + 3) : 1;
        for (int i = 0; i < n_devices; i++) {
                int length = (int)strnlen(devices[i].name, NAME_MAX_WIDTH);
                name_width = length > name_width ? length : name_width;
        }
        for (int i = 0; i < n_devices; i++)
                draw_device(canvas, y++, name_width, &devices[i]);
        if (look->help) {
                draw_help(canvas, y, canvas->height - y - foot);
        } else {
                draw_legend(canvas, y, model, look);
                draw_table(canvas, y + 1, canvas->height - y - 1 - foot, model, look);
        }
        if (look->interactive) {
                for (int x = 0; x < canvas->width; x++)
                        put(canvas, x, canvas->height - 1, TOP_PLAIN, ' ');
                draw_foot(canvas, canvas->height - 1, look);
        }
}
