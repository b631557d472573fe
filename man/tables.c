/* SPDX-License-Identifier: MIT
 *
 * tables.c -- fills in the tables of kvpager-protocol(7) from those that the code is made of.
 *
 * A filter: a line @LIMITS@, @MESSAGES C2D@ (D2C, EVT), @ERRORS@, @COUNTERS@ or @EVENTS@ of its input becomes a list in
 * mdoc, everything else passes through. So the manual cannot say anything else than the codec does. Runs at build time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metrics.h"
#include "wire.h"

static const char *role_of(const struct wire_message_info *info)
{
        return info->privilege == WIRE_PRIVILEGE_WORKER     ? "workers alone"
               : info->privilege == WIRE_PRIVILEGE_OPERATOR ? "operators alone"
                                                            : "";
}

static void print_fds(const struct wire_message_info *info)
{
        if (info->fds == WIRE_FDS_ONE)
                puts("Carries one file descriptor.");
        else if (info->fds == WIRE_FDS_EACH)
                puts("Carries a file descriptor an item, in their order.");
}

static void fields_begin(const char *what)
{
        printf(".Pp\n%s:\n.Bl -column -compact \"offset\" \"char[256]\" \"unacknowledged_bytes\"\n"
               ".It Sy offset Ta Sy type Ta Sy field\n",
               what);
}

/* One field; returns the offset of the next. */
static size_t field(size_t offset, const char *type, const char *name)
{
        printf(".It %zu Ta %s Ta %s\n", offset, type, name);
        return offset;
}

#define TYPE_U8             "u8"
#define TYPE_U16            "u16"
#define TYPE_U32            "u32"
#define TYPE_U64            "u64"
#define TYPE_I32            "i32"
#define FIELD_X(type, name) offset = field(offset, TYPE_##type, #name) + sizeof(WIRE_TYPE_##type);
#define FIELD_C(name, size) offset = field(offset, "char[" #size "]", #name) + (size);
#define FIELD_R(type, name) offset = field(offset, TYPE_##type, "(reserved)") + sizeof(WIRE_TYPE_##type);

/* The fields of a message, and of one of its items. Offsets count from the end of the header, and from the item's
 * begin. */
#define X(name, opcode, direction, item, max_items, fds, privilege, reply, doc)                                        \
        static void print_fields_##name(const struct wire_message_info *info)                                          \
        {                                                                                                              \
                size_t offset = 0;                                                                                     \
                if (info->fixed_size > 0) {                                                                            \
                        fields_begin("Fixed part");                                                                    \
                        WIRE_FIELDS_##name(FIELD_X, FIELD_C, FIELD_R) puts(".El");                                     \
                }                                                                                                      \
                offset = 0;                                                                                            \
                if (info->item_size > 0) {                                                                             \
                        fields_begin("Each item");                                                                     \
                        WIRE_ITEM_##item(FIELD_X, FIELD_C, FIELD_R) puts(".El");                                       \
                }                                                                                                      \
                (void)offset;                                                                                          \
        }
WIRE_MESSAGES(X)
#undef X

static void print_message(const struct wire_message_info *info, void (*print_fields)(const struct wire_message_info *))
{
        printf(".It Sy %s Pq %u\n%s.\n", info->name, (unsigned)info->opcode, info->doc);
        if (strcmp(info->reply, "none") != 0)
                printf("Answered by\n.Sy %s .\n", info->reply);
        if (*role_of(info))
                printf("For %s.\n", role_of(info));
        if (info->max_items > 0)
                printf("Has %u to %u items.\n", (unsigned)info->min_items, (unsigned)info->max_items);
        print_fds(info);
        print_fields(info);
}

static void print_messages(enum wire_direction direction)
{
        const struct wire_message_info *info;

        puts(".Bl -tag -width 4n");
#define X(name, opcode, direction_, item, max_items, fds, privilege, reply, doc)                                       \
        info = wire_message_info(opcode);                                                                              \
        if (info->direction == direction)                                                                              \
                print_message(info, print_fields_##name);
        WIRE_MESSAGES(X)
#undef X
        puts(".El");
}

static void print_errors(void)
{
        puts(".Bl -tag -width 4n -compact");
        for (int i = 0; i < WIRE_E_MAX_; i++) {
                enum wire_error_code code = (enum wire_error_code)i;
                int number = -wire_error_errno(code);
                printf(".It Sy %s Pq %d", wire_error_name(code), i);
                if (number > 0)
                        printf(" Er %s", strerrorname_np(number));
                printf("\n%s.\n", wire_error_sentence(code));
                if (wire_error_is_fatal(code))
                        puts("Ends the connection.");
        }
        puts(".El");
}

static void print_counters(void)
{
        puts(".Bl -tag -width 4n -compact");
        for (int i = 0; i < WIRE_COUNTER_MAX_; i++)
                printf(".It Sy %s\n%s.\n", wire_counter_name((enum wire_counter)i),
                       wire_counter_doc((enum wire_counter)i));
        puts(".El");
}

static void print_events(void)
{
        puts(".Bl -tag -width 4n -compact");
        for (int i = 0; i < WIRE_EVENT_MAX_; i++)
                printf(".It Sy %s\n%s.\n", wire_event_name((enum wire_event)i), wire_event_doc((enum wire_event)i));
        puts(".El");
}

static void print_limits(void)
{
        static const struct {
                const char *what;
                unsigned long long limit;
        } limits[] = {
                { "bytes of a packet", WIRE_MAX_PACKET },
                { "file descriptors of a packet", WIRE_MAX_FDS },
                { "extents granted to a worker and not acknowledged", WIRE_MAX_UNACKED },
                { "plane classes of a cache", WIRE_MAX_CLASSES },
                { "planes of a class", WIRE_MAX_PLANES },
                { "microseconds that a GROW waits; larger timeouts are cut", WIRE_MAX_TIMEOUT_USEC },
        };

        puts(".Bl -column \"60000000\" \"what\" -compact");
        for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++)
                printf(".It %llu Ta %s\n", limits[i].limit, limits[i].what);
        puts(".El");
}

static void print_version(void)
{
        printf(".Sy %u\n", WIRE_VERSION);
}

static void print_metrics(enum ctl_metric_scope scope)
{
        const struct ctl_metric *metric;

        puts(".Bl -tag -width 4n -compact");
        for (size_t i = 0; (metric = ctl_metric_at(i)); i++)
                if (metric->scope == scope) {
                        printf(".It Sy kvpager_%s%s\n%s", metric->name, metric->counter ? "_total" : "", metric->help);
                        /* One label says whose it is; where there are more, they are what is told. */
                        if (metric->value == CTL_METRIC_ONE)
                                printf("; labels %s", metric->labels);
                        puts(".");
                }
        puts(".El");
}

int main(void)
{
        static const struct {
                const char *line;
                void (*print)(void);
        } tables[] = { { "@LIMITS@", print_limits },
                       { "@ERRORS@", print_errors },
                       { "@COUNTERS@", print_counters },
                       { "@EVENTS@", print_events },
                       { "@VERSION@", print_version } };
        static const struct {
                const char *line;
                enum wire_direction direction;
        } messages[] = { { "@MESSAGES C2D@", WIRE_C2D },
                         { "@MESSAGES D2C@", WIRE_D2C },
                         { "@MESSAGES EVT@", WIRE_EVT } };
        static const struct {
                const char *line;
                enum ctl_metric_scope scope;
        } metrics[] = { { "@METRICS DAEMON@", CTL_METRIC_DAEMON },
                        { "@METRICS DEVICE@", CTL_METRIC_DEVICE },
                        { "@METRICS TENANT@", CTL_METRIC_TENANT },
                        { "@METRICS COUNTER@", CTL_METRIC_COUNTER } };
        char line[1024];

        while (fgets(line, sizeof(line), stdin)) {
                bool filled = false;
                line[strcspn(line, "\n")] = 0;
                for (size_t i = 0; i < sizeof(tables) / sizeof(*tables) && !filled; i++)
                        if ((filled = strcmp(line, tables[i].line) == 0))
                                tables[i].print();
                for (size_t i = 0; i < sizeof(messages) / sizeof(*messages) && !filled; i++)
                        if ((filled = strcmp(line, messages[i].line) == 0))
                                print_messages(messages[i].direction);
                for (size_t i = 0; i < sizeof(metrics) / sizeof(*metrics) && !filled; i++)
                        if ((filled = strcmp(line, metrics[i].line) == 0))
                                print_metrics(metrics[i].scope);
                if (!filled && line[0] == '@') {
                        (void)fprintf(stderr, "there is no table %s\n", line);
                        return EXIT_FAILURE;
                }
                if (!filled)
                        puts(line);
        }
        return fflush(stdout) == 0 && !ferror(stdin) ? EXIT_SUCCESS : EXIT_FAILURE;
}
