/* SPDX-License-Identifier: MIT
 *
 * config-check.c -- what the values of a configuration mean together.
 *
 * Shares compare to sizes only once it is known what they are shares of: so the rules are asked twice, when the file
 * was read and when the devices are there.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config-value.h"

/* `whole` 0: shares and sizes do not compare. */
static bool amount_exceeds(const struct config_amount *low, const struct config_amount *high, uint64_t whole)
{
        if (low->bytes == CONFIG_NO_LIMIT || high->bytes == CONFIG_NO_LIMIT)
                return false;
        if (whole > 0)
                return config_amount_bytes(low, whole) > config_amount_bytes(high, whole);
        if (low->percent > 0 && high->percent > 0)
                return low->percent > high->percent;
        return low->percent == 0 && high->percent == 0 && low->bytes > high->bytes;
}

int config_check_limits(const struct config_tenant *t, uint64_t whole, dev_complain_fn *complain, void *userdata)
{
        const struct {
                const char *key, *other;
                const struct config_amount *low, *high;
                bool at_low; /* the one that is complained of */
        } rules[] = { { "memory.min", "memory.max", &t->min, &t->max, true },
                      { "memory.low", "memory.max", &t->low, &t->max, true },
                      { "memory.high", "memory.max", &t->high, &t->max, true },
                      { "memory.high", "memory.min", &t->min, &t->high, false } };
        char sentence[160];
        int r = 0;

        assert(t && complain);

        if (t->min.bytes == CONFIG_NO_LIMIT) {
                complain(userdata, "memory.min", "it cannot be max: it is set aside");
                r = -EINVAL;
        }
        for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
                if (!amount_exceeds(rules[i].low, rules[i].high, whole))
                        continue;
                (void)snprintf(sentence, sizeof(sentence), "it is %s than %s", rules[i].at_low ? "more" : "less",
                               rules[i].other);
                complain(userdata, rules[i].key, sentence);
                r = -EINVAL;
        }
        return r;
}

/* Appends to a sentence of `size` bytes, as far as there is room. */
static void append(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void append(char *text, size_t size, const char *format, ...)
{
        const size_t used = strlen(text);
        va_list list;

        va_start(list, format);
        (void)vsnprintf(text + used, size - used, format, list);
        va_end(list);
}

/* `whole` 0: shares count for nothing. */
static int check_guarantees(const struct config *config, const struct config_size *devices, uint32_t n_devices,
                            uint64_t whole, unsigned *ret_line, char *why, size_t size)
{
        char text[CONFIG_SIZE_TEXT], page_text[CONFIG_SIZE_TEXT];

        for (uint32_t i = 0; i < n_devices; i++) {
                const uint64_t page = devices[i].page_size;
                uint64_t sum = 0, sum_pages = 0, left = devices[i].capacity;
                unsigned named = 0, line = 0;
                bool fits = true;

                for (uint32_t k = 0; k < config->n_tenants; k++) {
                        const uint64_t min = config_amount_bytes(&config->tenants[k].min, whole);

                        if (min > 0 && fits)
                                line = config->tenants[k].min_line;
                        fits = fits && min <= left && (min + page - 1) / page * page <= left;
                        left -= fits ? (min + page - 1) / page * page : 0;
                        sum = __builtin_add_overflow(sum, min, &sum) ? CONFIG_NO_LIMIT : sum;
                        sum_pages += min / page + (min % page > 0);
                }
                if (fits)
                        continue;
                if (sum <= devices[i].capacity) /* what is too much are the whole pages that it takes */
                        (void)snprintf(why, size, "memory.min of all tenants together is %s in whole pages of %s (",
                                       config_size_text(sum_pages * page, text), config_size_text(page, page_text));
                else
                        (void)snprintf(why, size, "memory.min of all tenants together is %s (",
                                       config_size_text(sum, text));
                for (uint32_t k = 0; k < config->n_tenants && named < 5; k++) {
                        const uint64_t min = config_amount_bytes(&config->tenants[k].min, whole);

                        if (min > 0)
                                append(why, size, "%s%.24s %s", named++ > 0 ? ", " : "", config->tenants[k].name,
                                       config_size_text(min, text));
                }
                append(why, size, "%s), and [device %s] has %s", named == 5 ? ", ..." : "", devices[i].name,
                       config_size_text(devices[i].capacity, text));
                *ret_line = line;
                return -EINVAL;
        }
        return 0;
}

int config_check_guarantees(const struct config *config, const struct config_size *devices, uint32_t n_devices,
                            unsigned *ret_line, char *why, size_t size)
{
        assert(config && devices && ret_line && why && size > 0);

        return check_guarantees(config, devices, n_devices, config_smallest(devices, n_devices), ret_line, why, size);
}

int config_check_written(const struct config *config, unsigned *ret_line, char *why, size_t size)
{
        struct config_size devices[CONFIG_MAX_DEVICES];
        uint64_t whole = 0;
        uint32_t n = 0;

        assert(config && ret_line && why && size > 0);

        for (uint32_t i = 0; i < config->n_devices; i++) {
                const struct config_device *device = &config->devices[i];
                const uint64_t page = device->page_size > 0 ? device->page_size : 1;

                if (device->capacity.bytes > 0 && device->capacity.percent == 0)
                        devices[n++] = (struct config_size){ device->name, device->capacity.bytes / page * page, page };
        }
        if (n > 0 && n == config->n_devices)
                whole = config_smallest(devices, n);
        return check_guarantees(config, devices, n, whole, ret_line, why, size);
}

uint64_t config_smallest(const struct config_size *devices, uint32_t n_devices)
{
        uint64_t smallest = devices[0].capacity;

        assert(n_devices > 0);

        for (uint32_t i = 1; i < n_devices; i++)
                if (devices[i].capacity < smallest)
                        smallest = devices[i].capacity;
        return smallest;
}
