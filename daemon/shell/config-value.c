/* SPDX-License-Identifier: MIT
 *
 * config-value.c -- see config-value.h. Numbers are whole and decimal; nothing is guessed from what cannot be read to
 * its end.
 */
#include "config-value.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "log.h"

#define MAX_BYTES   (UINT64_C(1) << 60)
#define MAX_PERCENT 1000u

/* Digits at the start of `text`; `ret_rest` is what follows. -EINVAL: no digit; -ERANGE: over 64 bits. */
static int value_digits(const char *text, uint64_t *ret, const char **ret_rest)
{
        uint64_t value = 0;
        const char *p = text;

        for (; *p >= '0' && *p <= '9'; p++)
                if (__builtin_mul_overflow(value, 10u, &value) ||
                    __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
                        return -ERANGE;
        if (p == text)
                return -EINVAL;
        *ret = value;
        *ret_rest = p;
        return 0;
}

static int value_number(const char *text, uint64_t lowest, uint64_t highest, uint64_t *ret)
{
        const char *rest;
        uint64_t value;
        int r = value_digits(text, &value, &rest);

        if (r < 0)
                return r;
        if (*rest)
                return -EINVAL;
        if (value < lowest || value > highest)
                return -ERANGE;
        *ret = value;
        return 0;
}

/* K, M, G, T, each also as KiB or KB's shorter kin: they are all powers of 1,024 here. -1: none of them. */
static int value_unit_shift(const char *unit)
{
        static const char letters[] = "KMGT";
        const char *letter;

        if (*unit == '\0' || strcmp(unit, "B") == 0)
                return 0;
        letter = strchr(letters, *unit & ~0x20);
        if (!letter || !*letter || (unit[1] && strcmp(unit + 1, "iB") != 0))
                return -1;
        return 10 * (int)(letter - letters + 1);
}

static int value_size(const char *text, uint64_t *ret)
{
        const char *rest;
        uint64_t value;
        int shift, r;

        r = value_digits(text, &value, &rest);
        if (r < 0)
                return r;
        shift = value_unit_shift(rest);
        if (shift < 0)
                return -EINVAL;
        if (value > MAX_BYTES >> shift)
                return -ERANGE;
        *ret = value << shift;
        return 0;
}

int config_value_size(const char *text, void *field)
{
        uint64_t size;
        int r = value_size(text, &size);

        if (r < 0)
                return r;
        if (size == 0)
                return -ERANGE;
        *(uint64_t *)field = size;
        return 0;
}

int config_value_amount(const char *text, void *field)
{
        struct config_amount amount = { 0 };
        const char *rest;
        uint64_t percent;
        int r;

        if (strcmp(text, "max") == 0) {
                amount.bytes = CONFIG_NO_LIMIT;
        } else if (value_digits(text, &percent, &rest) == 0 && strcmp(rest, "%") == 0) {
                if (percent > MAX_PERCENT)
                        return -ERANGE;
                amount.percent = (uint32_t)percent; /* 0 % is 0 bytes */
        } else {
                r = value_size(text, &amount.bytes);
                if (r < 0)
                        return r;
        }
        *(struct config_amount *)field = amount;
        return 0;
}

int config_value_capacity(const char *text, void *field)
{
        struct config_amount amount;
        int r = config_value_amount(text, &amount);

        if (r < 0)
                return r;
        if (amount.bytes == CONFIG_NO_LIMIT)
                return -EINVAL;
        if (amount.bytes == 0 && amount.percent == 0)
                return -ERANGE;
        *(struct config_amount *)field = amount;
        return 0;
}

int config_value_duration(const char *text, void *field)
{
        static const struct {
                const char *unit;
                uint64_t usec;
        } units[] = { { "us", 1 }, { "ms", 1000 }, { "s", 1000000 }, { "min", 60000000 } };
        const char *rest;
        uint64_t value;
        int r = value_digits(text, &value, &rest);

        if (r < 0)
                return r;
        while (*rest == ' ')
                rest++;
        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
                if (strcmp(rest, units[i].unit) != 0)
                        continue;
                if (__builtin_mul_overflow(value, units[i].usec, &value) || value < 1000 ||
                    value > UINT64_C(3600) * 1000000)
                        return -ERANGE;
                *(uint64_t *)field = value;
                return 0;
        }
        return -EINVAL;
}

static int value_u32(const char *text, uint32_t lowest, uint32_t highest, void *field)
{
        uint64_t value;
        int r = value_number(text, lowest, highest, &value);

        if (r == 0)
                *(uint32_t *)field = (uint32_t)value;
        return r;
}

int config_value_count(const char *text, void *field)
{
        return value_u32(text, 0, 1u << 30, field);
}

int config_value_workers(const char *text, void *field)
{
        return value_u32(text, 1, 60000, field);
}

int config_value_weight(const char *text, void *field)
{
        return value_u32(text, 1, 10000, field);
}

int config_value_bool(const char *text, void *field)
{
        static const char *const yes[] = { "yes", "true", "on", "1" }, *const no[] = { "no", "false", "off", "0" };

        for (size_t i = 0; i < 4; i++)
                if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
                        *(bool *)field = strcasecmp(text, yes[i]) == 0;
                        return 0;
                }
        return -EINVAL;
}

int config_value_mode(const char *text, void *field)
{
        char *end;
        unsigned long mode;

        if (*text < '0' || *text > '7')
                return -EINVAL;
        mode = strtoul(text, &end, 8);
        if (*end)
                return -EINVAL;
        if (mode > 0777)
                return -ERANGE;
        *(mode_t *)field = (mode_t)mode;
        return 0;
}

/* An id by number, or by a name that getpwnam or getgrnam knows. */
int config_value_user(const char *text, void *field)
{
        const struct passwd *entry;
        uint64_t number;

        if (value_number(text, 0, UINT32_MAX - 1, &number) == 0) {
                *(uid_t *)field = (uid_t)number;
                return 0;
        }
        entry = *text ? getpwnam(text) : NULL;
        if (!entry)
                return -ENOENT;
        *(uid_t *)field = entry->pw_uid;
        return 0;
}

int config_value_group(const char *text, void *field)
{
        const struct group *entry;
        uint64_t number;

        if (value_number(text, 0, UINT32_MAX - 1, &number) == 0) {
                *(gid_t *)field = (gid_t)number;
                return 0;
        }
        entry = *text ? getgrnam(text) : NULL;
        if (!entry)
                return -ENOENT;
        *(gid_t *)field = entry->gr_gid;
        return 0;
}

int config_value_level(const char *text, void *field)
{
        int level = log_level_from_name(text);

        if (level < 0)
                return -EINVAL;
        *(uint32_t *)field = (uint32_t)level;
        return 0;
}

int config_value_overdue(const char *text, void *field)
{
        if (strcmp(text, "deny") != 0 && strcmp(text, "kill") != 0)
                return -EINVAL;
        *(bool *)field = text[0] == 'k';
        return 0;
}

static int value_text(const char *text, char *field, size_t size)
{
        if (!*text)
                return -EINVAL;
        if (strlen(text) >= size)
                return -ERANGE;
        (void)snprintf(field, size, "%s", text);
        return 0;
}

int config_value_backend(const char *text, void *field)
{
        if (dev_backend_find(text))
                return value_text(text, field, sizeof(((struct config_device *)0)->backend));
        return -EINVAL;
}

int config_value_uuid(const char *text, void *field)
{
        return value_text(text, field, sizeof(((struct config_device *)0)->uuid));
}

const char *config_size_text(uint64_t size, char text[static CONFIG_SIZE_TEXT])
{
        static const char units[] = "\0KMGT";
        size_t i = 0;

        if (size == CONFIG_NO_LIMIT) {
                (void)snprintf(text, CONFIG_SIZE_TEXT, "max");
                return text;
        }
        while (size > 0 && size % 1024 == 0 && i + 2 < sizeof(units)) {
                size /= 1024;
                i++;
        }
        (void)snprintf(text, CONFIG_SIZE_TEXT, "%" PRIu64 "%.1s", size, &units[i]);
        return text;
}
