/* SPDX-License-Identifier: MIT
 *
 * fuzz-trace.c -- bytes as a trace file. The first byte says how many requests are wanted at most (0: all). Either
 * there is a trace that keeps what trace.h promises, or a complaint in one line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "trace.h"

static void check(const struct trace *trace, uint64_t most)
{
        if (trace->n == 0 || !trace->format || (most > 0 && trace->n > most) || trace->requests[0].arrival_usec != 0)
                abort();
        for (size_t i = 0; i < trace->n; i++) {
                const struct request *request = &trace->requests[i];

                if (request->id != i || request->prompt_tokens == 0 || request->prompt_tokens > TRACE_TOKENS_MAX ||
                    request->generated_tokens > TRACE_TOKENS_MAX ||
                    (i > 0 && request->arrival_usec < trace->requests[i - 1].arrival_usec))
                        abort();
        }
        if (trace_longest_tokens(trace) == 0)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct complaint complaint = { 0 };
        struct trace trace = { 0 };
        FILE *file;
        int r;

        if (size < 2)
                return 0;
        file = fmemopen((void *)(uintptr_t)(data + 1), size - 1, "r");
        if (!file)
                return 0;
        r = trace_read_file(file, "fuzz", data[0], &trace, &complaint);
        (void)fclose(file);
        if (r == 0)
                check(&trace, data[0]);
        else if (trace.requests || !complaint.text[0] || strchr(complaint.text, '\n'))
                abort();
        trace_clear(&trace);
        return 0;
}
