/* SPDX-License-Identifier: MIT
 *
 * top-keys.c -- what keys do in `kvpagerctl top`. No terminal, no daemon: what needs one is told to the caller.
 */
#include "top-keys.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const uint64_t intervals_usec[] = { 100000,  200000,   500000,   1000000,  2000000,
                                           5000000, 10000000, 30000000, 60000000, 300000000 };
#define N_INTERVALS (sizeof(intervals_usec) / sizeof(*intervals_usec))

/* The next one up or down; as it is where there is none. */
static void change_interval(struct top_look *look, bool longer)
{
        for (size_t i = 0; i < N_INTERVALS; i++) {
                const uint64_t interval = intervals_usec[longer ? i : N_INTERVALS - 1 - i];
                if (longer ? interval > look->interval_usec : interval < look->interval_usec) {
                        look->interval_usec = interval;
                        return;
                }
        }
}

static void change_order(struct top_look *look, int step)
{
        struct top_order *order = &look->orders[look->view];
        int figure = (int)order->by;

        do
                figure = (figure + step + TOP_FIGURES) % TOP_FIGURES;
        while (!top_figure_in((enum top_figure)figure, look->view));
        *order = (struct top_order){ .by = (enum top_figure)figure };
}

static void select_row(struct top_look *look, const struct top_model *model, size_t at)
{
        if (model->n_rows == 0)
                return;
        look->selected = at < model->n_rows ? at : model->n_rows - 1;
        look->selected_id = model->rows[look->selected].id;
        (void)snprintf(look->selected_name, sizeof(look->selected_name), "%s", model->rows[look->selected].name);
}

static void open_prompt(struct top_look *look, enum top_prompt prompt, const char *line)
{
        look->prompt = prompt;
        (void)snprintf(look->line, sizeof(look->line), "%s", line);
}

static void open_limit(struct top_look *look, const struct top_model *model)
{
        if (look->view == TOP_TENANTS && model->n_rows > 0) {
                open_prompt(look, TOP_PROMPT_LIMIT, "");
                return;
        }
        (void)snprintf(look->message, sizeof(look->message), "Select a tenant first: v shows them.");
        look->alarm = true;
}

/* While something is being typed. */
static enum top_action prompt_key(struct top_look *look, int key)
{
        const enum top_prompt prompt = look->prompt;
        size_t length = strlen(look->line);

        if (key == TOP_KEY_ESCAPE) {
                look->prompt = TOP_PROMPT_NONE;
        } else if (key == '\n' || key == '\r') {
                look->prompt = TOP_PROMPT_NONE;
                if (prompt == TOP_PROMPT_LIMIT)
                        return length > 0 ? TOP_SET : TOP_DRAW;
                memcpy(look->filter, look->line, sizeof(look->filter));
        } else if (key == TOP_KEY_ERASE || key == '\b') {
                look->line[length > 0 ? length - 1 : 0] = 0;
        } else if (key >= ' ' && key <= '~' && length + 1 < sizeof(look->line)) {
                look->line[length] = (char)key;
                look->line[length + 1] = 0;
        }
        return TOP_DRAW;
}

/* Keys that move the selection; false: it is none. */
static bool move_key(struct top_look *look, const struct top_model *model, int key)
{
        const size_t page = look->page > 0 ? look->page : 1, at = look->selected;

        switch (key) {
        case TOP_KEY_UP:
        case 'k':
                select_row(look, model, at > 0 ? at - 1 : 0);
                return true;
        case TOP_KEY_DOWN:
        case 'j':
                select_row(look, model, at + 1);
                return true;
        case TOP_KEY_PAGE_UP:
                select_row(look, model, at > page ? at - page : 0);
                return true;
        case TOP_KEY_PAGE_DOWN:
                select_row(look, model, at + page);
                return true;
        case TOP_KEY_HOME:
                select_row(look, model, 0);
                return true;
        case TOP_KEY_END:
                select_row(look, model, SIZE_MAX);
                return true;
        default:
                return false;
        }
}

enum top_action top_key(struct top_look *look, const struct top_model *model, int key)
{
        assert(model->view == look->view);
        if (look->prompt != TOP_PROMPT_NONE)
                return prompt_key(look, key);
        look->message[0] = 0;
        look->alarm = false;
        if (look->help && key != 'q' && key != 'Q') {
                look->help = false; /* any key ends it */
                return TOP_DRAW;
        }
        if (move_key(look, model, key))
                return TOP_DRAW;
        switch (key) {
        case 'q':
        case 'Q':
                return TOP_QUIT;
        case ' ':
                return TOP_FETCH;
        case 'v':
        case '\t':
                look->view = look->view == TOP_TENANTS ? TOP_WORKERS : TOP_TENANTS;
                look->selected = 0;
                look->selected_name[0] = 0;
                break;
        case '<':
        case TOP_KEY_LEFT:
                change_order(look, -1);
                break;
        case '>':
        case TOP_KEY_RIGHT:
                change_order(look, 1);
                break;
        case 'r':
                look->orders[look->view].reverse = !look->orders[look->view].reverse;
                break;
        case '/':
                open_prompt(look, TOP_PROMPT_FILTER, look->filter);
                break;
        case TOP_KEY_ESCAPE:
                look->filter[0] = 0;
                break;
        case 'c':
                open_limit(look, model);
                break;
        case '+':
                change_interval(look, true);
                break;
        case '-':
                change_interval(look, false);
                break;
        case '?':
        case 'h':
                look->help = true;
                break;
        default:
                break;
        }
        return TOP_DRAW;
}
