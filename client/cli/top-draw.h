/* SPDX-License-Identifier: MIT
 *
 * top-draw.h -- the picture of `kvpagerctl top`: a model becomes a canvas of cells, each a glyph and a style. No
 * terminal is needed for it; what has one copies the cells.
 */
#ifndef CTL_TOP_DRAW_H
#define CTL_TOP_DRAW_H

#include <stdio.h>

#include "top-model.h"

/* Printable ASCII stands for itself. */
enum top_glyph {
        TOP_GLYPH_LIVE = 0x80,
        TOP_GLYPH_IDLE,
        TOP_GLYPH_UNMAPPED,
        TOP_GLYPH_VIRGIN,
        TOP_GLYPH_MISSING,
        TOP_GLYPH_FREE,
        TOP_GLYPH_UP,
        TOP_GLYPH_DOWN,
        TOP_GLYPH_CUT, /* text that was cut */
        TOP_GLYPH_END_,
};

enum top_style {
        TOP_PLAIN,
        TOP_STRONG,
        TOP_FAINT,
        TOP_HEADING,
        TOP_SORTED, /* the heading that rows are sorted by */
        TOP_GOOD,
        TOP_WARN,
        TOP_ALARM,
        TOP_STYLES,
        TOP_SELECTED = 0x40, /* added to one of the above */
};

struct top_canvas {
        int width, height;
        unsigned char *glyphs, *styles; /* width * height each, row by row */
};

#define TOP_LINE_MAX 128

enum top_prompt { TOP_PROMPT_NONE, TOP_PROMPT_FILTER, TOP_PROMPT_LIMIT };

/* How somebody looks at the model; top-keys.c changes it. */
struct top_look {
        enum top_view view;
        struct top_order orders[TOP_VIEWS];
        char filter[TOP_LINE_MAX];
        char selected_name[64]; /* empty: nothing is selected */
        uint64_t selected_id;
        size_t selected; /* its row in the model last drawn */
        size_t page;     /* rows of the picture last drawn */
        uint64_t interval_usec;
        bool interactive; /* has keys, and a last line for them */
        bool help;
        enum top_prompt prompt;
        char line[TOP_LINE_MAX]; /* what is being typed */
        char message[256];
        bool alarm; /* the message is one of failure */
};

/* A canvas of blanks. Sizes are cut to what a terminal may have. -ENOMEM. top_canvas_done() it either way. */
int top_canvas_init(struct top_canvas *canvas, int width, int height);
void top_canvas_done(struct top_canvas *canvas);

/* A glyph as UTF-8 or ASCII, always one column wide. */
const char *top_glyph_text(unsigned char glyph, bool ascii, char buffer[static 2]);

/* Lines that the whole picture takes. */
int top_draw_height(const struct top_model *model, const struct top_look *look);

/* Draws; what does not fit is left out, rows around the selected one last. Moves look->selected to where the selected
 * row is now, and sets look->page. */
void top_draw(struct top_canvas *canvas, const struct top_model *model, struct top_look *look);

/* The canvas as lines of text without blanks at their ends. */
void top_canvas_print(const struct top_canvas *canvas, bool ascii, FILE *stream);

#endif
