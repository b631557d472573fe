/* SPDX-License-Identifier: MIT
 *
 * top-keys.h -- what keys do in `kvpagerctl top`.
 */
#ifndef CTL_TOP_KEYS_H
#define CTL_TOP_KEYS_H

#include "top-draw.h"

/* Keys that are no character; those that are stand for themselves. */
enum top_key {
        TOP_KEY_ESCAPE = 27,
        TOP_KEY_ERASE = 127,
        TOP_KEY_UP = 256,
        TOP_KEY_DOWN,
        TOP_KEY_LEFT,
        TOP_KEY_RIGHT,
        TOP_KEY_PAGE_UP,
        TOP_KEY_PAGE_DOWN,
        TOP_KEY_HOME,
        TOP_KEY_END,
};

enum top_action {
        TOP_DRAW,  /* nothing but to draw anew */
        TOP_FETCH, /* a new snapshot at once */
        TOP_SET,   /* set look->line, KEY=VALUE, of the tenant look->selected_name; look->message is to say what came of
                      it */
        TOP_QUIT,
};

/* Changes how somebody looks at `model`, the one last drawn. A key that means nothing changes nothing. */
enum top_action top_key(struct top_look *look, const struct top_model *model, int key);

#endif
