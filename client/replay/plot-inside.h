/* SPDX-License-Identifier: MIT
 *
 * plot-inside.h -- what plot.c and plot-bands.c share: a frame with two axes.
 */
#ifndef KVPAGER_REPLAY_PLOT_INSIDE_H
#define KVPAGER_REPLAY_PLOT_INSIDE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "outcome.h"

#define PLOT_WIDTH  960.0
#define PLOT_HEIGHT 500.0
#define PLOT_LEFT   84.0
#define PLOT_RIGHT  24.0
#define PLOT_TOP    84.0
#define PLOT_BOTTOM 56.0

struct axes {
        double seconds, bytes; /* at the far ends */
        bool share;            /* the x axis is a share of each run */
};

/* In the picture's units; what is beyond the axis lies on its end. */
double plot_x(const struct axes *axes, double seconds);
double plot_y(const struct axes *axes, double bytes);

/* What comes before the curves. */
void plot_begin(FILE *file, const struct axes *axes, const struct outcome *outcome);

/* Bytes over time of each tenant, live and idle, on top of each other. */
void plot_bands(FILE *file, const struct outcome *outcome);

#endif
