/* SPDX-License-Identifier: MIT
 *
 * emulate.cc -- see emulate.h: each thread of a block is a context of its own, which gives way at barriers and shuffles alone.
 */
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>

#include "emulate.h"

#define KERNEL_EMULATED
#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(n)
#define KERNEL_SHARED(name) char *name = (char *)shared_memory

struct alignas(16) uint4 {
        unsigned x, y, z, w;
};

struct __half {
        unsigned short bits;
};

/* Not static: whoever gives way finds that other threads have changed them, and the compiler has to know. */
struct emulated_index {
        unsigned x, y, z;
} threadIdx, blockIdx, gridDim;
uint4 shared_memory[KERNEL_SHARED_MAX / sizeof(uint4)];

static float __uint_as_float(unsigned bits)
{
        float value;

        memcpy(&value, &bits, sizeof(value));
        return value;
}

static float __half2float(__half half)
{
        const unsigned exponent = half.bits >> 10 & 31, mantissa = half.bits & 1023;
        const float value = exponent == 0    ? ldexpf((float)mantissa, -24)
                            : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                             : ldexpf((float)(mantissa | 1024), (int)exponent - 25);

        return half.bits & 0x8000 ? -value : value;
}

static unsigned long long atomicAdd(unsigned long long *at, unsigned long long value)
{
        const unsigned long long old = *at;

        *at += value;
        return old;
}

static unsigned long long atomicMin(unsigned long long *at, unsigned long long value)
{
        const unsigned long long old = *at;

        *at = value < old ? value : old;
        return old;
}

/* ---- threads ---- */

enum state { READY, AT_BARRIER, AT_SHUFFLE, DONE };

struct thread {
        ucontext_t context;
        enum state state;
        float given, taken;
        alignas(16) char stack[65536];
};

struct thread threads[KERNEL_THREADS];
static ucontext_t scheduler;
static void (*body)(const void *parameters);
static const void *body_parameters;

static void give_way(enum state state)
{
        struct thread *self = &threads[threadIdx.x];

        self->state = state;
        (void)swapcontext(&self->context, &scheduler);
}

static void __syncthreads(void)
{
        give_way(AT_BARRIER);
}

static float __shfl_xor_sync(unsigned mask, float value, unsigned distance)
{
        const unsigned self = threadIdx.x, other = self ^ distance;

        (void)mask;
        threads[self].given = value;
        give_way(AT_SHUFFLE);
        return threads[other].taken;
}

static void thread_main(void)
{
        body(body_parameters);
        threads[threadIdx.x].state = DONE;
}

static void thread_begin(struct thread *thread)
{
        (void)getcontext(&thread->context);
        thread->context.uc_stack.ss_sp = thread->stack;
        thread->context.uc_stack.ss_size = sizeof(thread->stack);
        thread->context.uc_link = &scheduler;
        thread->state = READY;
        makecontext(&thread->context, thread_main, 0);
}

/* All threads [from, to) that are not done wait for the same: then they go on. */
static bool release(unsigned from, unsigned to, enum state state)
{
        bool any = false;

        for (unsigned i = from; i < to; i++) {
                if (threads[i].state != DONE && threads[i].state != state)
                        return false;
                any |= threads[i].state == state;
        }
        for (unsigned i = from; i < to && any; i++) {
                threads[i].taken = threads[i].given;
                threads[i].state = threads[i].state == state ? READY : DONE;
        }
        return any;
}

static void run_block(bool backwards)
{
        bool going = true;

        memset(shared_memory, 0xff, sizeof(shared_memory)); /* NaN: whoever reads what he did not write */
        for (struct thread &thread : threads)
                thread_begin(&thread);
        while (going) {
                bool done = true;

                for (unsigned k = 0; k < KERNEL_THREADS; k++) {
                        threadIdx.x = backwards ? KERNEL_THREADS - 1 - k : k;
                        if (threads[threadIdx.x].state == READY)
                                (void)swapcontext(&scheduler, &threads[threadIdx.x].context);
                        done &= threads[threadIdx.x].state == DONE;
                }
                if (done)
                        return;
                going = false;
                for (unsigned warp = 0; warp < KERNEL_THREADS; warp += 32)
                        going |= release(warp, warp + 32, AT_SHUFFLE);
                going = going || release(0, KERNEL_THREADS, AT_BARRIER);
        }
        fprintf(stderr, "threads of a block wait for each other forever\n");
        abort();
}

/* ---- the kernels ---- */

#include "../../kernels/attention.cu"
#include "../../kernels/contents.cu"

#define RUN(name, type)                                                                                                \
        { #name, [](const void *parameters) { name(*(const struct type *)parameters); } }

static const struct {
        const char *name;
        void (*run)(const void *parameters);
} kernels[] = {
        RUN(kvp_attention_fp16, kernel_attention),
        RUN(kvp_attention_bf16, kernel_attention),
        RUN(kvp_attention_fp32, kernel_attention),
        RUN(kvp_attention_paged_fp16, kernel_attention),
        RUN(kvp_attention_paged_bf16, kernel_attention),
        RUN(kvp_attention_paged_fp32, kernel_attention),
        RUN(kvp_combine, kernel_attention),
        RUN(kvp_fill, kernel_contents),
        RUN(kvp_check, kernel_contents),
        RUN(kvp_compare, kernel_compare),
};

extern "C" bool emulate_kernel(const char *name, const void *parameters, const struct kernel_shape *shape, bool backwards)
{
        body = nullptr;
        for (const auto &kernel : kernels)
                if (strcmp(kernel.name, name) == 0)
                        body = kernel.run;
        if (!body)
                return false;
        if (shape->shared_bytes > KERNEL_SHARED_MAX)
                abort();
        body_parameters = parameters;
        gridDim.x = shape->grid[0];
        for (blockIdx.z = 0; blockIdx.z < shape->grid[2]; blockIdx.z++)
                for (blockIdx.y = 0; blockIdx.y < shape->grid[1]; blockIdx.y++)
                        for (blockIdx.x = 0; blockIdx.x < shape->grid[0]; blockIdx.x++)
                                run_block(backwards);
        return true;
}
