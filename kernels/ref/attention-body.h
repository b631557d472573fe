/* SPDX-License-Identifier: MIT
 *
 * attention-body.h -- the code of attention.c, included once for each instruction set with its own name.
 *
 * Included and not cloned by attribute, because gcc lowers generic vectors to the instruction set of the function that
 * they stand in before it clones or inlines it. No include guard, for the same reason.
 */

#define convert_fp16 VARIANT(convert_fp16)
#define convert_bf16 VARIANT(convert_bf16)
#define convert      VARIANT(convert)
#define convert_head VARIANT(convert_head)
#define exponentiate VARIANT(exponentiate)
#define sum          VARIANT(sum)
#define score        VARIANT(score)
#define accumulate   VARIANT(accumulate)
#define attend_head  VARIANT(attend_head)
#define attend       VARIANT(attend)

#ifdef F16C
INLINE void convert_fp16(const void *source, floats *ret)
{
        __m128i half;

        memcpy(&half, source, sizeof(half));
        *ret = (floats)_mm256_cvtph_ps(half);
}
#else
/* Shifts the bits into fp32's places and lets a multiplication repair the exponent; that handles subnormals too.
 * Infinity and NaN come out as large finite numbers would, so they get the exponent of all ones back. */
INLINE void convert_fp16(const void *source, floats *ret)
{
        halves half;
        words word, exponent;
        floats value;

        memcpy(&half, source, sizeof(half));
        word = __builtin_convertvector(half, words);
        exponent = word & 0x7c00u;
        value = (floats)((word & 0x7fffu) << 13) * 0x1p112f;
        word = (words)value | ((words)(exponent == 0x7c00u) & 0x7f800000u) | (word & 0x8000u) << 16;
        *ret = (floats)word;
}
#endif

INLINE void convert_bf16(const void *source, floats *ret)
{
        halves half;
        words word;

        memcpy(&half, source, sizeof(half));
        word = __builtin_convertvector(half, words) << 16;
        *ret = (floats)word;
}

INLINE void convert(enum attention_type type, const void *source, floats *ret)
{
        if (type == ATTENTION_FP16)
                convert_fp16(source, ret);
        else if (type == ATTENTION_BF16)
                convert_bf16(source, ret);
        else
                memcpy(ret, source, sizeof(*ret));
}

/* One head of one token to fp32; the last vector is filled up with zeros. */
INLINE void convert_head(enum attention_type type, const char *source, uint32_t dim, floats *ret)
{
        size_t element = type == ATTENTION_FP32 ? 4 : 2;
        uint32_t full = dim / LANES, rest = dim % LANES;

        for (uint32_t i = 0; i < full; i++)
                convert(type, source + i * LANES * element, &ret[i]);
        if (rest > 0) {
                char padded[LANES * sizeof(float)] = { 0 };

                memcpy(padded, source + full * LANES * element, rest * element);
                convert(type, padded, &ret[full]);
        }
}

/* e to the power of x, for x <= 0: 2 to the power of a whole number by its bits, times a polynomial for the rest
 * (Cephes). What would be subnormal is zero, and what is no number stays none. */
INLINE void exponentiate(floats *x)
{
        const floats least = (floats){ 0 } - 126.0f;
        floats scaled = *x * 1.44269504f, whole, rest, value;
        words below = (words)(scaled < least), bits;

        scaled = (floats)(((words)scaled & ~below) | ((words)least & below));
        whole = (scaled + 0x1.8p23f) - 0x1.8p23f; /* rounds to the nearest whole number */
        rest = (scaled - whole) * 0.693147181f;
        value = rest * 1.9875691500e-4f + 1.3981999507e-3f;
        value = value * rest + 8.3334519073e-3f;
        value = value * rest + 4.1665795894e-2f;
        value = value * rest + 1.6666665459e-1f;
        value = value * rest + 5.0000001201e-1f;
        value = value * rest * rest + rest + 1.0f;
        whole = whole + 127.0f + 0x1p23f; /* the whole number's bits are now the mantissa's low ones */
        bits = (words)whole << 23 & ~below;
        *x = value * (floats)bits;
}

INLINE float sum(const floats *vector)
{
        float lanes[LANES];

        memcpy(lanes, vector, sizeof(lanes));
        return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

INLINE void score(const struct block *block, const floats *query, float scale, float scores[static BLOCK_TOKENS])
{
        for (uint32_t t = 0; t < block->tokens; t++) {
                floats product = query[0] * block->keys[t][0];

                for (uint32_t i = 1; i < block->key_vectors; i++)
                        product += query[i] * block->keys[t][i];
                scores[t] = sum(&product) * scale;
        }
        for (uint32_t t = block->tokens; t < BLOCK_TOKENS; t++)
                scores[t] = -__builtin_inff();
}

INLINE void accumulate(struct accumulator *accumulator, const struct block *block, const floats *query, float scale)
{
        float scores[BLOCK_TOKENS], maximum = accumulator->maximum, correction = 1;

        score(block, query, scale, scores);
        for (uint32_t t = 0; t < block->tokens; t++)
                maximum = scores[t] > maximum ? scores[t] : maximum;
        if (maximum > accumulator->maximum) {
                floats difference = { 0 };

                difference += accumulator->maximum - maximum;
                exponentiate(&difference);
                correction = difference[0];
                accumulator->maximum = maximum;
                accumulator->weight *= correction;
        }
        for (uint32_t t = 0; t < BLOCK_TOKENS; t += LANES) {
                floats weights;

                memcpy(&weights, scores + t, sizeof(weights));
                weights -= maximum > -__builtin_inff() ? maximum : 0; /* else nothing has been seen yet */
                exponentiate(&weights);
                memcpy(scores + t, &weights, sizeof(weights));
        }
        for (uint32_t t = 0; t < block->tokens; t++)
                accumulator->weight += scores[t];
        for (uint32_t i = 0; i < block->value_vectors; i++) {
                floats output = accumulator->output[i] * correction;

                for (uint32_t t = 0; t < block->tokens; t++)
                        output += block->values[t][i] * scores[t];
                accumulator->output[i] = output;
        }
}

/* All queries of one head of K and V. */
INLINE void attend_head(const struct attention *attention, enum attention_type type, uint32_t head, float *ret_output)
{
        const struct attention_tensor *keys = &attention->keys, *values = &attention->values;
        size_t element = type == ATTENTION_FP32 ? 4 : 2;
        const char *key = (const char *)keys->data + head * keys->head_stride * element;
        const char *value = (const char *)values->data + head * values->head_stride * element;
        uint32_t n_queries = attention->queries_per_head;
        struct accumulator accumulators[ATTENTION_QUERIES_PER_HEAD_MAX];
        floats queries[VECTORS_MAX];
        struct block block; /* too large to be cleared for nothing */

        block.key_vectors = (keys->dim + LANES - 1) / LANES;
        block.value_vectors = (values->dim + LANES - 1) / LANES;
        for (uint32_t q = 0; q < n_queries; q++) {
                accumulators[q].maximum = -__builtin_inff();
                accumulators[q].weight = 0;
                memset(accumulators[q].output, 0, block.value_vectors * sizeof(floats));
        }

        for (uint64_t token = 0; token < attention->tokens; token += block.tokens) {
                uint64_t left = attention->tokens - token;

                block.tokens = left < BLOCK_TOKENS ? (uint32_t)left : BLOCK_TOKENS;
                for (uint32_t t = 0; t < block.tokens; t++) {
                        const char *k = key + (token + t) * keys->token_stride * element;
                        const char *v = value + (token + t) * values->token_stride * element;

                        __builtin_prefetch(k + PREFETCH_TOKENS * keys->token_stride * element);
                        __builtin_prefetch(v + PREFETCH_TOKENS * values->token_stride * element);
                        convert_head(type, k, keys->dim, block.keys[t]);
                        convert_head(type, v, values->dim, block.values[t]);
                }
                for (uint32_t q = 0; q < n_queries; q++) {
                        const float *query = attention->queries + ((size_t)head * n_queries + q) * keys->dim;

                        convert_head(ATTENTION_FP32, (const char *)query, keys->dim, queries);
                        accumulate(&accumulators[q], &block, queries, attention->scale);
                }
        }

        for (uint32_t q = 0; q < n_queries; q++) {
                struct accumulator *accumulator = &accumulators[q];

                for (uint32_t i = 0; i < block.value_vectors; i++)
                        accumulator->output[i] /= accumulator->weight;
                memcpy(ret_output + ((size_t)head * n_queries + q) * values->dim, accumulator->output,
                       values->dim * sizeof(float));
        }
}

static void attend(const struct attention *attention, float *ret_output)
{
        for (uint32_t head = 0; head < attention->kv_heads; head++)
                switch (attention->type) {
                case ATTENTION_FP16:
                        attend_head(attention, ATTENTION_FP16, head, ret_output);
                        break;
                case ATTENTION_BF16:
                        attend_head(attention, ATTENTION_BF16, head, ret_output);
                        break;
                case ATTENTION_FP32:
                        attend_head(attention, ATTENTION_FP32, head, ret_output);
                        break;
                }
}

#undef convert_fp16
#undef convert_bf16
#undef convert
#undef convert_head
#undef exponentiate
#undef sum
#undef score
#undef accumulate
#undef attend_head
#undef attend
