/* SPDX-License-Identifier: MIT
 *
 * top-screen.c -- the terminal under `kvpagerctl top`.
 *
 * ncurses finds out what has changed since the last picture and sends no more than that. Colours are those of the
 * terminal's own palette, and never the only sign of anything: bars have glyphs of their own, figures are figures.
 */
#define NCURSES_NOMACROS 1
#include "top-screen.h"

#include <assert.h>
#include <curses.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "top-keys.h"

#define ESCAPE_MSEC 25 /* after Esc, for the rest of a function key */

static SCREEN *screen; /* ncurses is one of a process anyway */
static bool coloured;

static attr_t attributes_of(unsigned style)
{
        static const struct {
                attr_t attributes;
                short pair;
        } styles[TOP_STYLES] = {
                [TOP_PLAIN] = { A_NORMAL, 0 },
                [TOP_STRONG] = { A_BOLD, 0 },
                [TOP_FAINT] = { A_DIM, 0 },
                [TOP_HEADING] = { A_REVERSE, 0 },
                [TOP_SORTED] = { A_REVERSE | A_BOLD, 0 },
                [TOP_GOOD] = { A_NORMAL, 1 },
                [TOP_WARN] = { A_BOLD, 2 },
                [TOP_ALARM] = { A_BOLD, 3 },
        };
        unsigned plain = style & ~(unsigned)TOP_SELECTED;

        assert(plain < TOP_STYLES);
        return styles[plain].attributes | (style & TOP_SELECTED ? A_REVERSE : A_NORMAL) |
               (coloured ? (attr_t)COLOR_PAIR(styles[plain].pair) : A_NORMAL);
}

/* Ctrl-C means `q`, also while the daemon is waited for. As ncurses' own handler, which calls it a failure. */
static void on_interrupt(int number)
{
        (void)number;
        (void)endwin();
        _exit(EXIT_SUCCESS);
}

int top_screen_open(bool colour)
{
        assert(!screen);
        if (signal(SIGINT, on_interrupt) == SIG_IGN)
                (void)signal(SIGINT, SIG_IGN);
        screen = newterm(NULL, stdout, stdin);
        if (!screen)
                return -ENOTTY;
        (void)set_term(screen);
        (void)cbreak();
        (void)noecho();
        (void)nonl();
        (void)keypad(stdscr, TRUE);
        (void)set_escdelay(ESCAPE_MSEC);
        (void)curs_set(0);
        coloured = colour && has_colors() && start_color() == OK && use_default_colors() == OK;
        if (coloured) {
                (void)init_pair(1, COLOR_GREEN, -1);
                (void)init_pair(2, COLOR_YELLOW, -1);
                (void)init_pair(3, COLOR_RED, -1);
        }
        return 0;
}

void top_screen_close(void)
{
        if (!screen)
                return;
        (void)endwin();
        delscreen(screen);
        screen = NULL;
}

void top_screen_size(int *ret_width, int *ret_height)
{
        *ret_width = getmaxx(stdscr);
        *ret_height = getmaxy(stdscr);
}

void top_screen_show(const struct top_canvas *canvas, bool ascii)
{
        char buffer[2];

        (void)erase();
        for (int y = 0; y < canvas->height; y++)
                for (int x = 0; x < canvas->width; x++) {
                        const size_t at = (size_t)y * (size_t)canvas->width + (size_t)x;
                        (void)attrset((int)attributes_of(canvas->styles[at]));
                        (void)mvaddstr(y, x, top_glyph_text(canvas->glyphs[at], ascii, buffer));
                }
        (void)attrset((int)A_NORMAL);
        (void)refresh();
}

int top_screen_key(int timeout_msec)
{
        static const struct {
                int curses, key;
        } keys[] = {
                { KEY_UP, TOP_KEY_UP },       { KEY_DOWN, TOP_KEY_DOWN },         { KEY_LEFT, TOP_KEY_LEFT },
                { KEY_RIGHT, TOP_KEY_RIGHT }, { KEY_PPAGE, TOP_KEY_PAGE_UP },     { KEY_NPAGE, TOP_KEY_PAGE_DOWN },
                { KEY_HOME, TOP_KEY_HOME },   { KEY_END, TOP_KEY_END },           { KEY_BACKSPACE, TOP_KEY_ERASE },
                { KEY_ENTER, '\n' },          { KEY_RESIZE, TOP_SCREEN_RESIZED },
        };
        int key;

        timeout(timeout_msec);
        key = getch();
        if (key == ERR) {
                /* Nothing in time, or nothing ever again. */
                struct pollfd pollfd = { .fd = STDIN_FILENO, .events = POLLIN };
                return poll(&pollfd, 1, 0) > 0 && (pollfd.revents & (POLLHUP | POLLERR | POLLNVAL))
                               ? TOP_SCREEN_GONE
                               : TOP_SCREEN_NOTHING;
        }
        for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
                if (keys[i].curses == key)
                        return keys[i].key;
        return key;
}
