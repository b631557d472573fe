/* SPDX-License-Identifier: MIT
 *
 * plot.c -- bytes over time as an SVG that any browser shows: kvpager's live and idle memory, a 16-token block
 * allocator's, and what reserving ahead would take. Written by hand: a plot of four lines needs no library.
 *
 * Of a scenario each tenant's memory is drawn instead (plot-bands.c).
 *
 * On the virtual clock all lines share its seconds. Where attention was computed, kvpager ran on the wall clock and the
 * yardsticks on the virtual one; each line is then drawn over its own run, from start to end.
 */
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "cleanup.h"
#include "number.h"
#include "plot-inside.h"
#include "utf8.h"

#define N_SERIES    4u
#define CLIP_FACTOR 3.0 /* reserve-ahead may be out of all proportion: what is far beyond the others is cut */

struct series {
        const char *label, *colour, *dash;
        const struct timeline *timeline;
        double factor; /* bytes of a unit */
        uint64_t peak; /* bytes */
        bool filled;
};

double plot_x(const struct axes *axes, double seconds)
{
        return PLOT_LEFT +
               (seconds < axes->seconds ? seconds / axes->seconds : 1) * (PLOT_WIDTH - PLOT_LEFT - PLOT_RIGHT);
}

double plot_y(const struct axes *axes, double bytes)
{
        double share = bytes > axes->bytes ? 1 : bytes / axes->bytes;

        return PLOT_HEIGHT - PLOT_BOTTOM - share * (PLOT_HEIGHT - PLOT_TOP - PLOT_BOTTOM);
}

/* 1, 2 or 5 times a power of `base`... of ten, so that about five of them make `range`. */
static double tick_step(double range)
{
        double step = pow(10, floor(log10(range / 5)));

        if (range / step > 25)
                return step * 5;
        return range / step > 10 ? step * 2 : step;
}

static void draw_frame(FILE *file, const struct axes *axes, const struct outcome *outcome)
{
        const struct options *options = outcome->options;
        const char *slash = options->trace ? strrchr(options->trace, '/') : NULL;
        const char *scenario = options->scenario ? scenario_name(options->scenario) : NULL;
        _cleanup_(cleanup_free) char *name = utf8_repair(slash            ? slash + 1
                                                         : options->trace ? options->trace
                                                         : scenario       ? scenario
                                                                          : "made-up load");

        (void)fprintf(
                file,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" "
                "font-family=\"sans-serif\" font-size=\"13\" fill=\"#333\">\n"
                "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
                "<text x=\"%.0f\" y=\"24\" font-size=\"16\" font-weight=\"bold\">KV cache memory over time</text>\n"
                "<text x=\"%.0f\" y=\"24\" text-anchor=\"end\" fill=\"#777\">",
                PLOT_WIDTH, PLOT_HEIGHT, PLOT_WIDTH, PLOT_HEIGHT, PLOT_LEFT, PLOT_WIDTH - PLOT_RIGHT);
        for (const char *c = name ? name : ""; *c; c++)
                (void)fputc(strchr("<>&\"", *c) || (unsigned char)*c < ' ' ? '_' : *c, file);
        (void)fprintf(file, ", %s, %s</text>\n", options->geometry.name, layout_name(options->layout));
        (void)fprintf(file, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"middle\">%s</text>\n",
                      (PLOT_LEFT + PLOT_WIDTH - PLOT_RIGHT) / 2, PLOT_HEIGHT - 12,
                      axes->share ? "share of the run (%)" : "time of the trace (s)");
}

static void draw_ticks(FILE *file, const struct axes *axes)
{
        double step = tick_step(axes->seconds), unit = 1, bytes_step;
        const char *name = "B";
        static const char *const names[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };

        for (double at = 0; at <= axes->seconds * 1.0001; at += step)
                (void)fprintf(file,
                              "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#333\"/>"
                              "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%g</text>\n",
                              plot_x(axes, at), plot_x(axes, at), PLOT_HEIGHT - PLOT_BOTTOM,
                              PLOT_HEIGHT - PLOT_BOTTOM + 5, plot_x(axes, at), PLOT_HEIGHT - PLOT_BOTTOM + 20, at);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && axes->bytes >= ldexp(1, (int)i * 10); i++) {
                unit = ldexp(1, (int)i * 10);
                name = names[i];
        }
        bytes_step = tick_step(axes->bytes / unit) * unit;
        for (double at = 0; at <= axes->bytes * 1.0001; at += bytes_step)
                (void)fprintf(file,
                              "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>"
                              "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%g %s</text>\n",
                              PLOT_LEFT, PLOT_WIDTH - PLOT_RIGHT, plot_y(axes, at), plot_y(axes, at),
                              at > 0 ? "#e4e4e4" : "#333", PLOT_LEFT - 8, plot_y(axes, at) + 4, at / unit, name);
}

void plot_begin(FILE *file, const struct axes *axes, const struct outcome *outcome)
{
        draw_frame(file, axes, outcome);
        draw_ticks(file, axes);
}

static void draw_series(FILE *file, const struct axes *axes, const struct series *series)
{
        const struct timeline *timeline = series->timeline;
        double scale = axes->share ? 100.0 / (double)(timeline->end_usec ? timeline->end_usec : 1) : 1e-6;
        uint64_t n;

        if (timeline->bucket_usec == 0)
                return;
        n = timeline->end_usec / timeline->bucket_usec + 1;
        (void)fprintf(
                file,
                "<path fill=\"%s\"%s stroke=\"%s\" stroke-width=\"1.6\" stroke-linejoin=\"round\"%s%s%s d=\"M%.1f %.1f",
                series->filled ? series->colour : "none", series->filled ? " fill-opacity=\"0.15\"" : "",
                series->colour, series->dash ? " stroke-dasharray=\"" : "", series->dash ? series->dash : "",
                series->dash ? "\"" : "", plot_x(axes, 0), plot_y(axes, 0));
        for (uint64_t i = 0; i < n; i++) {
                double from = (double)(i * timeline->bucket_usec) * scale;
                double to = (double)((i + 1) * timeline->bucket_usec) * scale;

                (void)fprintf(file, "L%.1f %.1fH%.1f", plot_x(axes, from),
                              plot_y(axes, (double)timeline->values[i] * series->factor), plot_x(axes, to));
        }
        (void)fprintf(file, "V%.1f\"/>\n", plot_y(axes, 0));
}

static void draw_legend(FILE *file, const struct axes *axes, const struct series *series)
{
        for (uint32_t i = 0; i < N_SERIES; i++) {
                double x = PLOT_LEFT + i * (PLOT_WIDTH - PLOT_LEFT - PLOT_RIGHT) / N_SERIES;
                char size[32];

                (void)fprintf(
                        file,
                        "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"48\" y2=\"48\" stroke=\"%s\" stroke-width=\"3\"%s%s%s/>"
                        "<text x=\"%.1f\" y=\"52\">%s</text>"
                        "<text x=\"%.1f\" y=\"68\" fill=\"#777\">peak %s%s</text>\n",
                        x, x + 22, series[i].colour, series[i].dash ? " stroke-dasharray=\"" : "",
                        series[i].dash ? series[i].dash : "", series[i].dash ? "\"" : "", x + 28, series[i].label,
                        x + 28, size_format(series[i].peak, size, sizeof(size)),
                        (double)series[i].peak > axes->bytes ? ", cut here" : "");
        }
}

static void plot_curves(FILE *file, const struct outcome *outcome)
{
        const struct simulation *simulation = &outcome->simulation;
        const struct series series[N_SERIES] = {
                { "kvpager, live", "#0072b2", NULL, &outcome->live, 1, outcome->peak_live_bytes, true },
                { "kvpager, idle", "#56b4e9", "5 3", &outcome->idle, 1, outcome->peak_idle_bytes, false },
                { "16-token blocks", "#d55e00", NULL, &simulation->blocks, (double)outcome_paged16_bytes(outcome, 1),
                  outcome_paged16_bytes(outcome, simulation->peak_blocks), false },
                { "reserve ahead", "#8a8a8a", "2 3", &simulation->running, (double)outcome_reserved_bytes(outcome, 1),
                  outcome_reserved_bytes(outcome, simulation->peak_running), false },
        };
        struct axes axes = { .share = !options_virtual_clock(outcome->options), .seconds = 1 };
        double others = 1, all = 1;

        for (uint32_t i = 0; i < N_SERIES; i++) {
                double end = (double)series[i].timeline->end_usec / 1e6, peak = (double)series[i].peak;

                axes.seconds = end > axes.seconds ? end : axes.seconds;
                all = peak > all ? peak : all;
                if (i < N_SERIES - 1)
                        others = peak > others ? peak : others;
        }
        if (axes.share)
                axes.seconds = 100;
        axes.bytes = (all > CLIP_FACTOR * others ? CLIP_FACTOR * others : all) * 1.05;

        plot_begin(file, &axes, outcome);
        for (uint32_t i = N_SERIES; i-- > 0;)
                draw_series(file, &axes, &series[i]);
        draw_legend(file, &axes, series);
}

int plot_write(const struct outcome *outcome, const char *path, struct complaint *complaint)
{
        _cleanup_(cleanup_file) FILE *file = NULL;

        assert(path);

        file = fopen(path, "we");
        if (!file)
                return complain(complaint, -errno, "%s: %s", path, strerror(errno));
        if (outcome->options->scenario != SCENARIO_NONE)
                plot_bands(file, outcome);
        else
                plot_curves(file, outcome);
        (void)fputs("</svg>\n", file);
        if (fflush(file) != 0 || ferror(file))
                return complain(complaint, -EIO, "%s: cannot write: %s", path, strerror(errno));
        return 0;
}
