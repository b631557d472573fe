/* SPDX-License-Identifier: MIT
 *
 * plot-bands.c -- how tenants share the device over time: a band for each one's live memory, a paler one above it for
 * its idle memory, all on top of each other up to the capacity.
 */
#include <assert.h>

#include "number.h"
#include "plot-inside.h"

static const char *const colours[] = { "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9" };

#define N_COLOURS  (sizeof(colours) / sizeof(colours[0]))
#define LEGEND_MAX 6u

static double value_at(const struct timeline *timeline, uint64_t usec)
{
        return timeline->bucket_usec == 0 || usec > timeline->end_usec
                       ? 0
                       : (double)timeline->values[usec / timeline->bucket_usec];
}

/* The upper end of a band at a moment: band 2 * i is tenant i's live memory, the next one its idle memory. A bucket has
 * the most of its time for each, which together may be more than there ever was. */
static double upper_end(const struct outcome *outcome, uint32_t band, uint64_t usec)
{
        double sum = 0;

        for (uint32_t i = 0; i <= band; i++) {
                const struct outcome_tenant *tenant = &outcome->tenants[i / 2];

                sum += value_at(i % 2 ? &tenant->idle : &tenant->live, usec);
        }
        return sum < (double)outcome->capacity ? sum : (double)outcome->capacity;
}

static void draw_band(FILE *file, const struct axes *axes, const struct outcome *outcome, uint32_t band,
                      uint64_t step_usec)
{
        const uint64_t n = (uint64_t)(axes->seconds * 1e6) / step_usec;

        (void)fprintf(file, "<path fill=\"%s\" fill-opacity=\"%s\" d=\"M%.1f %.1f", colours[band / 2 % N_COLOURS],
                      band % 2 ? "0.3" : "0.85", plot_x(axes, 0), plot_y(axes, 0));
        for (uint64_t i = 0; i <= n; i++)
                (void)fprintf(file, "V%.1fH%.1f", plot_y(axes, upper_end(outcome, band, i * step_usec)),
                              plot_x(axes, (double)((i + 1) * step_usec) / 1e6));
        for (uint64_t i = n + 1; band > 0 && i-- > 0;)
                (void)fprintf(file, "V%.1fH%.1f", plot_y(axes, upper_end(outcome, band - 1, i * step_usec)),
                              plot_x(axes, (double)(i * step_usec) / 1e6));
        (void)fputs("Z\"/>\n", file);
}

static void draw_line(FILE *file, const struct axes *axes, double bytes, const char *label)
{
        (void)fprintf(file,
                      "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#333\" stroke-dasharray=\"5 3\"/>"
                      "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
                      PLOT_LEFT, PLOT_WIDTH - PLOT_RIGHT, plot_y(axes, bytes), plot_y(axes, bytes),
                      PLOT_WIDTH - PLOT_RIGHT, plot_y(axes, bytes) - 5, label);
}

static void draw_legend(FILE *file, const struct outcome *outcome)
{
        const uint32_t n = outcome->options->tenants;

        for (uint32_t i = 0; i < n && i < LEGEND_MAX; i++) {
                const double x = PLOT_LEFT +
                                 i * (PLOT_WIDTH - PLOT_LEFT - PLOT_RIGHT) / (n < LEGEND_MAX ? n : LEGEND_MAX);

                (void)fprintf(file,
                              "<rect x=\"%.1f\" y=\"38\" width=\"14\" height=\"14\" fill=\"%s\" fill-opacity=\"0.85\"/>"
                              "<rect x=\"%.1f\" y=\"38\" width=\"14\" height=\"14\" fill=\"%s\" fill-opacity=\"0.3\"/>"
                              "<text x=\"%.1f\" y=\"50\">%s: live, idle</text>\n",
                              x, colours[i % N_COLOURS], x + 14, colours[i % N_COLOURS], x + 34,
                              outcome->tenants[i].name);
        }
}

void plot_bands(FILE *file, const struct outcome *outcome)
{
        const uint32_t n = outcome->options->tenants;
        struct axes axes = { .seconds = outcome->trace_seconds, .bytes = (double)outcome->capacity * 1.05 };
        uint64_t step_usec = 1000;
        char label[64], size[32];

        assert(outcome->tenants);

        for (uint32_t i = 0; i < n; i++)
                if (outcome->tenants[i].live.bucket_usec > step_usec)
                        step_usec = outcome->tenants[i].live.bucket_usec;
        plot_begin(file, &axes, outcome);
        for (uint32_t band = 2 * n; band-- > 0;)
                draw_band(file, &axes, outcome, band, step_usec);
        (void)snprintf(label, sizeof(label), "capacity %s", size_format(outcome->capacity, size, sizeof(size)));
        draw_line(file, &axes, (double)outcome->capacity, label);
        draw_legend(file, outcome);
}
