/* SPDX-License-Identifier: MIT
 *
 * contents.cu -- K and V that can be known again: written, checked, poisoned; and outputs compared (kernels.h).
 */
#include "kernels.h"

typedef unsigned long long word;

static __device__ uint64_t thread_index(void)
{
        return (uint64_t)blockIdx.x * KERNEL_THREADS + threadIdx.x;
}

static __device__ void report(uint64_t *count, uint64_t *first, uint64_t place)
{
        (void)atomicAdd((word *)count, 1ull);
        (void)atomicMin((word *)first, (word)place);
}

/* The bits of element e of a word. */
static __device__ uint32_t element(uint64_t bits, uint32_t e, uint32_t bytes)
{
        return bytes == 2 ? (uint32_t)(bits >> 16 * e) & 0xffffu : (uint32_t)(bits >> 32 * e);
}

static __device__ uint32_t get(const char *at, uint32_t bytes)
{
        return bytes == 2 ? *(const uint16_t *)at : *(const uint32_t *)at;
}

static __device__ void put(char *at, uint32_t bytes, uint32_t bits)
{
        if (bytes == 2)
                *(uint16_t *)at = (uint16_t)bits;
        else
                *(uint32_t *)at = bits;
}

/* One word of one head of one token in one part. */
struct item {
        uint32_t part, head;
        uint64_t token, i;
        char *place, *shadow;
        uint32_t n; /* elements */
};

static __device__ struct item item_find(const struct kernel_contents &c, uint64_t index)
{
        const uint32_t words = (c.head_bytes + 7) / 8;
        const struct kernel_tensor *tensor;
        struct item item;

        item.i = index % words;
        item.head = (uint32_t)(index / words % c.heads);
        item.part = (uint32_t)(index / words / c.heads % c.n_parts);
        item.token = c.from + index / words / c.heads / c.n_parts;
        tensor = (const struct kernel_tensor *)c.parts + item.part;
        item.place = (char *)tensor->data + c.row * tensor->row_stride + item.token * tensor->token_stride +
                     item.head * tensor->head_stride + item.i * 8;
        item.shadow = c.shadow ? (char *)c.shadow + ((item.part * c.most_tokens + item.token) * c.heads + item.head) * c.head_bytes +
                                         item.i * 8
                               : nullptr;
        item.n = (uint32_t)(c.head_bytes - item.i * 8 < 8 ? c.head_bytes - item.i * 8 : 8) / c.element_bytes;
        return item;
}

/* Where a token is written for the first time since the row was taken, there must be zeros, as in a fresh page, or the poison that
 * this worker left at that place: else the page is somebody else's or was never cleaned. */
extern "C" __global__ void __launch_bounds__(KERNEL_THREADS) kvp_fill(const struct kernel_contents c)
{
        struct kernel_report *found = (struct kernel_report *)c.report;

        for (uint64_t index = thread_index(); index < kernel_contents_words(&c); index += (uint64_t)gridDim.x * KERNEL_THREADS) {
                const struct item item = item_find(c, index);
                const uint64_t value = kernel_value_word(kernel_value_seed(c.request, item.token, c.first_part + item.part, item.head),
                                                         item.i, c.keep, c.base);
                const uint64_t poison = kernel_poison_word(c.worker, c.row, item.token, item.part);
                bool stale = false;

                for (uint32_t e = 0; e < item.n; e++) {
                        char *place = item.place + e * c.element_bytes;
                        const uint32_t old = get(place, c.element_bytes);

                        stale |= old != 0 && old != element(poison, e, c.element_bytes);
                        put(place, c.element_bytes, element(value, e, c.element_bytes));
                        if (item.shadow)
                                put(item.shadow + e * c.element_bytes, c.element_bytes, element(value, e, c.element_bytes));
                }
                if (stale && c.shadow)
                        report(&found->stale, &found->first_stale, kernel_place(item.part, item.token, item.head));
        }
}

/* Compares all of a row with its shadow, and poisons it. */
extern "C" __global__ void __launch_bounds__(KERNEL_THREADS) kvp_check(const struct kernel_contents c)
{
        struct kernel_report *found = (struct kernel_report *)c.report;

        for (uint64_t index = thread_index(); index < kernel_contents_words(&c); index += (uint64_t)gridDim.x * KERNEL_THREADS) {
                const struct item item = item_find(c, index);
                const uint64_t poison = kernel_poison_word(c.worker, c.row, item.token, item.part);
                bool wrong = false;

                for (uint32_t e = 0; e < item.n; e++) {
                        char *place = item.place + e * c.element_bytes;

                        wrong |= get(place, c.element_bytes) != get(item.shadow + e * c.element_bytes, c.element_bytes);
                        put(place, c.element_bytes, element(poison, e, c.element_bytes));
                }
                if (wrong)
                        report(&found->mismatches, &found->first, kernel_place(item.part, item.token, item.head));
        }
}

extern "C" __global__ void __launch_bounds__(KERNEL_THREADS) kvp_compare(const struct kernel_compare c)
{
        struct kernel_report *found = (struct kernel_report *)c.report;
        const uint64_t n = (uint64_t)c.layers * c.n;

        for (uint64_t index = thread_index(); index < n; index += (uint64_t)gridDim.x * KERNEL_THREADS) {
                const uint32_t layer = (uint32_t)(index / c.n), i = (uint32_t)(index % c.n);
                const uint32_t bits = ((const uint32_t *)c.found)[index];

                if (c.expected && bits != ((const uint32_t *)c.expected)[index])
                        report(&found->mismatches, &found->first, kernel_place(2 * layer, c.token, 0));
                if (c.count)
                        (void)atomicAdd((word *)&found->checksum,
                                        (word)hash_fold(kernel_value_seed(c.request, c.token, layer, 0) + i, bits));
        }
}
