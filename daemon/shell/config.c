/* SPDX-License-Identifier: MIT
 *
 * config.c -- kvpagerd.conf through inih, strictly.
 *
 * inih splits lines into keys and values. What it is lenient about is caught in the reader that it pulls its lines
 * from: sections (it does not tell of empty ones and cuts long names), lines that are too long for it (it takes 198
 * characters; a match may well have more, so these are split here), lines that are neither a key nor a section,
 * continuation lines (none: a line says all it has to say), and line numbers, which its handler is not told.
 */
#include "config.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "config-value.h"
#include "log.h"
#include "owner.h"

#define LINE_CHARACTERS_MAX 8190u /* 32 matches of the longest kind, nearly */

enum section { SECTION_NONE, SECTION_DAEMON, SECTION_DEVICE, SECTION_TENANT, SECTION_REFUSED };

/* One key: where it may stand, what its value becomes, and what to say of a value that is none. */
struct key {
        enum section section;
        const char *name;
        int (*parse)(const char *text, void *field);
        size_t offset;
        const char *expected;
};

#define DAEMON(field) offsetof(struct config_daemon, field)
#define DEVICE(field) offsetof(struct config_device, field)
#define TENANT(field) offsetof(struct config_tenant, field)
#define AN_AMOUNT     "a size (bytes, 512M, 2G), a share (50%) or max"
#define A_MATCH       "unit:NAME, slice:NAME, cgroup:/PATH, uid:USER, gid:GROUP or any, several separated by blanks"
#define A_DURATION    "a time from 1ms to 60min (500ms, 2s, 1min)"

/* clang-format off */
static const struct key keys[] = {
        {SECTION_DAEMON, "socket-mode", config_value_mode, DAEMON(socket_mode), "an octal mode such as 0660"},
        {SECTION_DAEMON, "socket-group", config_value_group, DAEMON(socket_group), "a group's name or number"},
        {SECTION_DAEMON, "max-workers", config_value_workers, DAEMON(max_workers), "a number from 1 to 60000"},
        {SECTION_DAEMON, "log-level", config_value_level, DAEMON(log_level), "error, warning, notice, info or debug"},
        {SECTION_DAEMON, "slow-reader-deadline", config_value_duration, DAEMON(slow_reader_deadline_usec), A_DURATION},
        {SECTION_DAEMON, "absent-timeout", config_value_duration, DAEMON(absent_timeout_usec), A_DURATION},
        {SECTION_DAEMON, "holder", config_value_bool, DAEMON(holder), "yes or no"},
        {SECTION_DEVICE, "backend", config_value_backend, DEVICE(backend), "host or cuda"},
        {SECTION_DEVICE, "uuid", config_value_uuid, DEVICE(uuid), "a device's uuid, up to 47 characters"},
        {SECTION_DEVICE, "capacity", config_value_capacity, DEVICE(capacity), "a size (bytes, 512M, 2G) or a share (50%), not 0"},
        {SECTION_DEVICE, "page-size", config_value_size, DEVICE(page_size), "a size (64K, 2M)"},
        {SECTION_DEVICE, "virgin-pages", config_value_count, DEVICE(virgin_pages), "a number of pages"},
        {SECTION_DEVICE, "hugepages", config_value_bool, DEVICE(hugepages), "yes or no"},
        {SECTION_DEVICE, "populate", config_value_bool, DEVICE(populate), "yes or no"},
        {SECTION_TENANT, "match", config_value_matches, 0, A_MATCH},
        {SECTION_TENANT, "memory.min", config_value_amount, TENANT(min), AN_AMOUNT},
        {SECTION_TENANT, "memory.low", config_value_amount, TENANT(low), AN_AMOUNT},
        {SECTION_TENANT, "memory.high", config_value_amount, TENANT(high), AN_AMOUNT},
        {SECTION_TENANT, "memory.max", config_value_amount, TENANT(max), AN_AMOUNT},
        {SECTION_TENANT, "weight", config_value_weight, TENANT(weight), "a number from 1 to 10000"},
        {SECTION_TENANT, "reclaim-deadline", config_value_duration, TENANT(reclaim_deadline_usec), A_DURATION},
        {SECTION_TENANT, "on-overdue", config_value_overdue, TENANT(kill_overdue), "deny or kill"},
};
/* clang-format on */
#define N_KEYS (sizeof(keys) / sizeof(keys[0]))

struct parser {
        FILE *file;
        const char *path;
        struct config *config;
        config_complain_fn *complain;
        void *userdata;
        char *buffer; /* getline's */
        size_t buffer_size;
        unsigned line;
        bool wants_key;              /* the last line given to inih is a key, but its handler was not called yet */
        bool failed, section_failed; /* something was complained of; within this section */
        bool daemon_seen;
        enum section section;
        void *object; /* struct config_daemon, _device or _tenant of the section */
        char title[CONFIG_NAME_MAX + 16];
        unsigned lines[N_KEYS]; /* where each key stands in the section; 0: it does not */
};

static void parser_complain(struct parser *p, unsigned line, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
static void parser_complain(struct parser *p, unsigned line, const char *format, ...)
{
        char text[512], sentence[1024];
        va_list list;

        va_start(list, format);
        (void)vsnprintf(text, sizeof(text), format, list);
        va_end(list);
        (void)snprintf(sentence, sizeof(sentence), "%.400s:%u: %s", p->path, line, text);
        p->complain(p->userdata, sentence);
        p->failed = p->section_failed = true;
}

static void device_init(struct config_device *device, const char *name, unsigned line)
{
        *device = (struct config_device){ .line = line, .backend = "host", .virgin_pages = UINT32_MAX };
        (void)snprintf(device->name, sizeof(device->name), "%s", name);
}

static void tenant_init(struct config_tenant *tenant, const char *name, unsigned line)
{
        *tenant = (struct config_tenant){
                .line = line,
                .high = { .bytes = CONFIG_NO_LIMIT },
                .max = { .bytes = CONFIG_NO_LIMIT },
                .weight = 100,
                .reclaim_deadline_usec = 1000000,
        };
        (void)snprintf(tenant->name, sizeof(tenant->name), "%s", name);
}

static struct config *config_new(void)
{
        struct config *config = calloc(1, sizeof(*config));

        if (config)
                config->daemon = (struct config_daemon){ .socket_mode = 0666,
                                                         .socket_group = (gid_t)-1,
                                                         .max_workers = 1024,
                                                         .log_level = LOG_LEVEL_INFO,
                                                         .slow_reader_deadline_usec = 5000000,
                                                         .absent_timeout_usec = 60000000,
                                                         .holder = true };
        return config;
}

/* What a file leaves out. */
static void config_complete(struct config *config)
{
        if (config->n_devices == 0) {
                device_init(&config->devices[config->n_devices], "host", 0);
                (void)strcpy(config->devices[config->n_devices++].backend, CONFIG_BACKEND_ANY);
        }
        if (config->n_tenants == 0) {
                struct config_tenant *tenant = &config->tenants[config->n_tenants++];

                tenant_init(tenant, "default", 0);
                tenant->matches[tenant->n_matches++] = (struct config_match){ .kind = CONFIG_MATCH_ANY };
        }
}

static bool name_is_valid(const char *name)
{
        for (const char *c = name; *c; c++)
                if (!isalnum((unsigned char)*c) && !strchr("._-@", *c))
                        return false;
        return *name && strlen(name) < CONFIG_NAME_MAX;
}

static struct config_device *parser_add_device(struct parser *p, const char *name)
{
        struct config *config = p->config;

        for (uint32_t i = 0; i < config->n_devices; i++)
                if (strcmp(config->devices[i].name, name) == 0) {
                        parser_complain(p, p->line, "[device %s] stands a second time; the first is in line %u", name,
                                        config->devices[i].line);
                        return NULL;
                }
        if (config->n_devices == CONFIG_MAX_DEVICES) {
                parser_complain(p, p->line, "more than %u devices", CONFIG_MAX_DEVICES);
                return NULL;
        }
        device_init(&config->devices[config->n_devices], name, p->line);
        return &config->devices[config->n_devices++];
}

static struct config_tenant *parser_add_tenant(struct parser *p, const char *name)
{
        struct config *config = p->config;

        for (uint32_t i = 0; i < config->n_tenants; i++)
                if (strcmp(config->tenants[i].name, name) == 0) {
                        parser_complain(p, p->line, "[tenant %s] stands a second time; the first is in line %u", name,
                                        config->tenants[i].line);
                        return NULL;
                }
        if (config->n_tenants == CONFIG_MAX_TENANTS) {
                parser_complain(p, p->line, "more than %u tenants", CONFIG_MAX_TENANTS);
                return NULL;
        }
        tenant_init(&config->tenants[config->n_tenants], name, p->line);
        return &config->tenants[config->n_tenants++];
}

/* Enters a section; `kind` and `name` are its two words, `name` empty where there is one. SECTION_REFUSED: complained
 * of, and its keys are passed over. */
static enum section parser_open_section(struct parser *p, const char *kind, const char *name)
{
        bool device = strcmp(kind, "device") == 0, tenant = strcmp(kind, "tenant") == 0;

        if (strcmp(kind, "daemon") == 0 && !*name) {
                if (p->daemon_seen) {
                        parser_complain(p, p->line, "[daemon] stands a second time");
                        return SECTION_REFUSED;
                }
                p->daemon_seen = true;
                p->object = &p->config->daemon;
                return SECTION_DAEMON;
        }
        if (!device && !tenant) {
                parser_complain(p, p->line,
                                "unknown section [%s%s%.200s]: there are [daemon], [device NAME] and [tenant NAME]",
                                kind, *name ? " " : "", name);
                return SECTION_REFUSED;
        }
        if (!name_is_valid(name)) {
                parser_complain(p, p->line, "[%s %.100s]: the name must be 1 to %u letters, digits, or any of . _ - @",
                                kind, name, CONFIG_NAME_MAX - 1);
                return SECTION_REFUSED;
        }
        p->object = device ? (void *)parser_add_device(p, name) : (void *)parser_add_tenant(p, name);
        if (!p->object)
                return SECTION_REFUSED;
        return device ? SECTION_DEVICE : SECTION_TENANT;
}

/* Where the key stands in the section, or where the section begins. */
static unsigned parser_line_of(const struct parser *p, const char *key, unsigned otherwise)
{
        for (size_t i = 0; i < N_KEYS; i++)
                if (p->lines[i] > 0 && strcmp(keys[i].name, key) == 0)
                        return p->lines[i];
        return otherwise;
}

static void parser_complain_key(void *userdata, const char *key, const char *sentence)
{
        struct parser *p = userdata;
        const struct config_device *device = p->object;
        const struct config_tenant *tenant = p->object;
        const unsigned begin = p->section == SECTION_DEVICE ? device->line : tenant->line;

        parser_complain(p, parser_line_of(p, key, begin), "%s %s: %s", p->title, key, sentence);
}

/* What the keys of a section mean together, where each means something. */
static void parser_close_section(struct parser *p)
{
        struct dev_options options;

        if (p->section == SECTION_DEVICE && !p->section_failed) {
                const struct config_device *device = p->object;

                options = config_device_options(device);
                (void)dev_backend_find(device->backend)->check(&options, parser_complain_key, p);
        } else if (p->section == SECTION_TENANT) {
                struct config_tenant *tenant = p->object;

                tenant->match_line = parser_line_of(p, "match", tenant->line);
                tenant->min_line = parser_line_of(p, "memory.min", tenant->line);
                if (!p->section_failed)
                        (void)config_check_limits(tenant, 0, parser_complain_key, p);
        }
        p->section = SECTION_NONE;
        p->object = NULL;
        p->section_failed = false;
        memset(p->lines, 0, sizeof(p->lines));
}

/* "[kind name]", then nothing but a comment. */
static void parser_section(struct parser *p, char *line)
{
        char *end = strchr(line, ']'), *kind = line + 1, *name, *last;

        parser_close_section(p);
        p->section = SECTION_REFUSED;
        if (!end) {
                parser_complain(p, p->line, "a section without ]");
                return;
        }
        for (last = end + 1; isspace((unsigned char)*last); last++)
                ;
        if (*last && *last != ';' && *last != '#') {
                parser_complain(p, p->line, "something follows the section's ]");
                return;
        }
        while (end > kind && isspace((unsigned char)end[-1]))
                end--;
        *end = '\0';
        while (isspace((unsigned char)*kind))
                kind++;
        name = kind + strcspn(kind, " \t");
        if (*name) {
                *name++ = '\0';
                name += strspn(name, " \t");
        }
        p->section = parser_open_section(p, kind, name);
        (void)snprintf(p->title, sizeof(p->title), "[%s%s%s]", kind, *name ? " " : "", name);
}

/* A line that was neither comment nor section must have become a key. */
static void parser_check_last(struct parser *p)
{
        if (p->wants_key)
                parser_complain(p, p->line, "neither KEY = VALUE nor [SECTION]");
        p->wants_key = false;
}

static int parser_key(void *userdata, const char *section, const char *name, const char *value);

/* Ends `text` before the blanks at its end, and returns where those at its beginning end. */
static char *strip(char *text)
{
        char *end = text + strlen(text);

        while (end > text && isspace((unsigned char)end[-1]))
                *--end = '\0';
        return text + strspn(text, " \t\r\n\f\v");
}

/* A line that is too long for inih, as inih would take it: the key ends at the first = or :, and a comment begins at a
 * ; after a blank. false: there is no key. */
static bool parser_long_line(struct parser *p, char *line)
{
        char *value = line + strcspn(line, "=:"), *end;

        if (!*value)
                return false;
        *value++ = '\0';
        for (end = value; *end && !(end > value && *end == ';' && isspace((unsigned char)end[-1])); end++)
                ;
        *end = '\0';
        (void)parser_key(p, "", strip(line), strip(value));
        return true;
}

/* A key that the section does not have; what it has instead is said. */
static void parser_complain_unknown(struct parser *p, const char *name)
{
        char known[256] = "";

        for (size_t i = 0; i < N_KEYS; i++)
                if (keys[i].section == p->section)
                        (void)snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s", *known ? ", " : "",
                                       keys[i].name);
        parser_complain(p, p->line, "unknown key %s in %s: there are %s", name, p->title, known);
}

/* inih's fgets: gives it one line, without leading blanks. A line that is dealt with here is given as an empty one. */
static char *parser_read(char *str, int num, void *stream)
{
        struct parser *p = stream;
        ssize_t length;
        char *line;

        assert(num > 2);

        parser_check_last(p);
        errno = 0;
        length = getline(&p->buffer, &p->buffer_size, p->file);
        if (length < 0) {
                if (!feof(p->file)) /* what was read so far would look like the whole file */
                        parser_complain(p, p->line, "cannot be read on: %s", strerror(errno));
                return NULL;
        }
        p->line++;
        line = p->buffer;
        if (p->line == 1 && strncmp(line, "\xef\xbb\xbf", 3) == 0)
                line += 3;
        line += strspn(line, " \t\r\n\f\v");

        if (memchr(p->buffer, 0, (size_t)length)) {
                parser_complain(p, p->line, "a NUL byte");
                line = p->buffer + length;
        } else if (*line != ';' && *line != '#' && strlen(line) > LINE_CHARACTERS_MAX + 1) {
                parser_complain(p, p->line, "a line of more than %u characters", LINE_CHARACTERS_MAX);
                line = p->buffer + length;
        } else if (*line == '[') {
                parser_section(p, line);
                line = p->buffer + length;
        } else if (*line != ';' && *line != '#' && strlen(line) > (size_t)num - 1 && parser_long_line(p, line)) {
                line = p->buffer + length;
        }
        p->wants_key = *line && *line != ';' && *line != '#';
        (void)snprintf(str, (size_t)num, "%s", p->wants_key ? line : "\n");
        return str;
}

static const char *value_why(int error)
{
        return error == -ERANGE   ? "out of range"
               : error == -ENOENT ? "unknown to this machine"
               : error == -ENOMEM ? "out of memory"
                                  : "not valid";
}

static void parser_complain_value(struct parser *p, const struct key *key, const char *value, int error)
{
        parser_complain(p, p->line, "%s %s = %.100s: %s; expected %s", p->title, key->name, value, value_why(error),
                        key->expected);
}

static int parser_key(void *userdata, const char *section, const char *name, const char *value)
{
        struct parser *p = userdata;
        int r;

        (void)section; /* cut to 49 characters: ours is in the parser */
        p->wants_key = false;
        if (p->section == SECTION_REFUSED)
                return 1;
        if (p->section == SECTION_NONE) {
                parser_complain(p, p->line, "key %s stands before the first section", name);
                return 1;
        }
        for (size_t i = 0; i < N_KEYS; i++) {
                if (keys[i].section != p->section || strcmp(keys[i].name, name) != 0)
                        continue;
                if (p->lines[i] > 0) {
                        parser_complain(p, p->line, "%s %s stands a second time; the first is in line %u", p->title,
                                        name, p->lines[i]);
                        return 1;
                }
                p->lines[i] = p->line;
                r = keys[i].parse(value, (char *)p->object + keys[i].offset);
                if (r < 0)
                        parser_complain_value(p, &keys[i], value, r);
                return 1;
        }
        parser_complain_unknown(p, name);
        return 1;
}

/* What one section alone cannot show. */
static void parser_check_whole(struct parser *p)
{
        struct config *config = p->config;
        char text[2 * CONFIG_MATCH_TEXT];
        unsigned line;

        for (uint32_t i = 0; i < config->n_tenants; i++) {
                const struct config_tenant *t = &config->tenants[i], *taken;

                if (t->n_matches == 0)
                        parser_complain(p, t->line, "[tenant %s] has no match: nobody would ever belong to it",
                                        t->name);
                for (uint32_t k = 0; k < t->n_matches; k++) {
                        config->by_cgroup |= t->matches[k].kind >= CONFIG_MATCH_UNIT;
                        taken = config_match_taken(config, i, &t->matches[k]);
                        if (taken)
                                parser_complain(
                                        p, t->match_line,
                                        "[tenant %s] match = %s is never reached: [tenant %s] in line %u takes it before",
                                        t->name, config_match_text(&t->matches[k], text), taken->name, taken->line);
                }
        }
        if (!p->failed && config_check_written(config, &line, text, sizeof(text)) < 0)
                parser_complain(p, line, "%s", text);
}

int config_parse(FILE *file, const char *path, config_complain_fn *complain, void *userdata, struct config **ret)
{
        _cleanup_(cleanup_free) struct config *config = config_new();
        struct parser p = { .file = file, .path = path, .config = config, .complain = complain, .userdata = userdata };
        int r;

        assert(file && path && complain && ret);

        if (!config) {
                complain(userdata, "out of memory");
                return -ENOMEM;
        }
        r = ini_parse_stream(parser_read, &p, parser_key, &p);
        free(p.buffer);
        if (r != 0 && !p.failed)
                parser_complain(&p, r > 0 ? (unsigned)r : p.line, "not understood");
        parser_close_section(&p);
        parser_check_whole(&p);
        if (p.failed)
                return -EINVAL;
        config_complete(config);
        *ret = TAKE_PTR(config);
        return 0;
}

int config_set(struct config_tenant *tenant, const char *key, const char *value, char *why, size_t size)
{
        size_t used = 0;
        int r;

        assert(tenant && key && value && why && size > 0);

        for (size_t i = 0; i < N_KEYS; i++) {
                if (keys[i].section != SECTION_TENANT || strcmp(keys[i].name, "match") == 0 ||
                    strcmp(keys[i].name, key) != 0)
                        continue;
                r = keys[i].parse(value, (char *)tenant + keys[i].offset);
                if (r < 0)
                        (void)snprintf(why, size, "%s = %s: %s; expected %s", key, value, value_why(r),
                                       keys[i].expected);
                return r < 0 ? -EINVAL : 0;
        }
        (void)snprintf(why, size, "unknown key %s: there are ", key);
        for (size_t i = 0; i < N_KEYS && used < size; i++)
                if (keys[i].section == SECTION_TENANT && strcmp(keys[i].name, "match") != 0) {
                        used = strlen(why);
                        (void)snprintf(why + used, size - used, "%s%s", why[used - 1] == ' ' ? "" : ", ", keys[i].name);
                }
        return -EINVAL;
}

int config_load(const char *path, config_complain_fn *complain, void *userdata, struct config **ret)
{
        char sentence[600];
        FILE *file;
        int r;

        assert(path && complain && ret);

        do
                file = fopen(path, "re");
        while (!file && errno == EINTR);
        if (!file) {
                r = -errno;
                (void)snprintf(sentence, sizeof(sentence), "%.400s: cannot be opened: %s", path, strerror(-r));
                complain(userdata, sentence);
                return r;
        }
        r = config_parse(file, path, complain, userdata, ret);
        (void)fclose(file);
        return r;
}

struct dev_options config_device_options(const struct config_device *device)
{
        assert(device);

        return (struct dev_options){
                .name = device->name,
                .uuid = device->uuid,
                .page_size = device->page_size,
                .capacity = device->capacity.bytes,
                .capacity_percent = device->capacity.percent,
                .hugepages = device->hugepages,
                .populate = device->populate,
        };
}

struct config *config_default(void)
{
        struct config *config = config_new();

        if (config)
                config_complete(config);
        return config;
}

uint64_t config_amount_bytes(const struct config_amount *amount, uint64_t whole)
{
        assert(amount);

        if (amount->percent == 0)
                return amount->bytes;
        return whole / 100 * amount->percent + whole % 100 * amount->percent / 100;
}

bool config_same_devices(const struct config *a, const struct config *b)
{
        assert(a && b);

        if (a->n_devices != b->n_devices)
                return false;
        for (uint32_t i = 0; i < a->n_devices; i++) {
                const struct config_device *x = &a->devices[i], *y = &b->devices[i];

                if (strcmp(x->name, y->name) != 0 || strcmp(x->backend, y->backend) != 0 ||
                    strcmp(x->uuid, y->uuid) != 0 || x->capacity.bytes != y->capacity.bytes ||
                    x->capacity.percent != y->capacity.percent || x->page_size != y->page_size ||
                    x->virgin_pages != y->virgin_pages || x->hugepages != y->hugepages || x->populate != y->populate)
                        return false;
        }
        return true;
}
