/* SPDX-License-Identifier: MIT
 *
 * top-screen.h -- the terminal under `kvpagerctl top`: shows a canvas, reads keys. All of ncurses is behind it.
 */
#ifndef CTL_TOP_SCREEN_H
#define CTL_TOP_SCREEN_H

#include <stdbool.h>

#include "top-draw.h"

/* Takes the terminal, which is standard input and output. The locale must have been set. There is one screen at a time;
 * it is given back by top_screen_close(), and by the handlers of SIGINT, which ends the program with 0, and of SIGTERM.
 * 0; -ENOTTY: ncurses knows no such terminal. */
int top_screen_open(bool colour);
void top_screen_close(void);

void top_screen_size(int *ret_width, int *ret_height);
void top_screen_show(const struct top_canvas *canvas, bool ascii);

#define TOP_SCREEN_NOTHING (-1) /* no key in time */
#define TOP_SCREEN_RESIZED (-2)
#define TOP_SCREEN_GONE    (-3) /* the terminal hung up */

/* Waits up to `timeout_msec` for a key: a character, an enum top_key, or one of the above. */
int top_screen_key(int timeout_msec);

#endif
