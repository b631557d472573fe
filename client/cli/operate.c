/* SPDX-License-Identifier: MIT
 *
 * operate.c -- set and reload. Whether a key, a value and all of them together make sense is the daemon's to say.
 */
#include "operate.h"

#include <jansson.h>
#include <string.h>

#include "arguments.h"
#include "link.h"
#include "snapshot.h"
#include "tenant-set.h"

#define UNTIL "holds until the configuration is read again or kvpagerd is restarted"

int ctl_set(const struct ctl_options *options, FILE *out, FILE *err)
{
        _cleanup_(ctl_link_close) struct ctl_link link = CTL_LINK_NONE;
        bool deferred = false;

        for (size_t i = 1; i < options->n_words; i++)
                if (strcspn(options->words[i], "=") == 0 || !strchr(options->words[i], '='))
                        return ctl_arguments_complain(err, "%s is not of the form KEY=VALUE.", options->words[i]);
        if (ctl_link_open(&link, options->socket_path, options->timeout_usec) < 0 ||
            ctl_tenant_set(&link, options->words[0], options->words + 1, options->n_words - 1, &deferred) < 0)
                return ctl_complain(err, ctl_link_why(&link));
        if (options->json)
                return ctl_json_print(json_pack("{s:o, s:s}", "tenant", ctl_json_text(options->words[0]), "result",
                                                deferred ? "deferred" : "applied"),
                                      JSON_INDENT(2), out, err);
        (void)fputs(deferred ? "deferred until enough memory was reclaimed; " UNTIL "\n" : "applied; " UNTIL "\n", out);
        return CTL_EXIT_OK;
}

int ctl_reload(const struct ctl_options *options, FILE *out, FILE *err)
{
        _cleanup_(ctl_link_close) struct ctl_link link = CTL_LINK_NONE;
        struct wire_view view;

        if (ctl_link_open(&link, options->socket_path, options->timeout_usec) < 0 ||
            ctl_link_call(&link, WIRE_RELOAD, NULL, WIRE_OK, &view) < 0)
                return ctl_complain(err, ctl_link_why(&link));
        if (options->json)
                return ctl_json_print(json_pack("{s:b}", "ok", 1), JSON_INDENT(2), out, err);
        (void)fputs("the configuration is in force, and what was set by hand is not\n", out);
        return CTL_EXIT_OK;
}
