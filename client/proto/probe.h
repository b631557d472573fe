/* SPDX-License-Identifier: MIT
 *
 * probe.h -- places that a tracer can attach to: a nop each, and a note of the binary that says where it is and where
 * its arguments are, in the form that SystemTap defined and perf, bpftrace and libbpf read (USDT). kvpager-observe(8)
 * lists them.
 *
 * The form is written out here so that building needs nothing for it. Each argument is a 64-bit number in a register,
 * so a probe costs its nop and what brings the arguments there; none has a semaphore.
 */
#ifndef KVP_PROTO_PROBE_H
#define KVP_PROTO_PROBE_H

#include <stdint.h>

#if defined(__x86_64__) || defined(__aarch64__)

/* PROBE_NOTE: label 1 is the nop, 2 to 5 bound the parts of the note. The base tells a tracer by how much a linker that
 * came later (prelink) has moved the program. */
#define PROBE_NOTE(name, arguments)                                                                                    \
        "1:\tnop\n"                                                                                                    \
        "\t.pushsection .note.stapsdt,\"\",\"note\"\n"                                                                 \
        "\t.balign 4\n"                                                                                                \
        "\t.4byte 3f-2f, 5f-4f, 3\n"                                                                                   \
        "2:\t.asciz \"stapsdt\"\n"                                                                                     \
        "3:\t.balign 4\n"                                                                                              \
        "4:\t.8byte 1b\n"                                                                                              \
        "\t.8byte _.stapsdt.base\n"                                                                                    \
        "\t.8byte 0\n"                                                                                                 \
        "\t.asciz \"kvpager\"\n"                                                                                       \
        "\t.asciz \"" #name "\"\n"                                                                                     \
        "\t.asciz \"" arguments "\"\n"                                                                                 \
        "5:\t.balign 4\n"                                                                                              \
        "\t.popsection\n"                                                                                              \
        "\t.ifndef _.stapsdt.base\n"                                                                                   \
        "\t.pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"                                      \
        "\t.weak _.stapsdt.base\n"                                                                                     \
        "\t.hidden _.stapsdt.base\n"                                                                                   \
        "_.stapsdt.base:\t.space 1\n"                                                                                  \
        "\t.size _.stapsdt.base, 1\n"                                                                                  \
        "\t.popsection\n"                                                                                              \
        "\t.endif\n"

#define PROBE1(name, a)    __asm__ volatile(PROBE_NOTE(name, "8@%0")::"r"((uint64_t)(a)))
#define PROBE2(name, a, b) __asm__ volatile(PROBE_NOTE(name, "8@%0 8@%1")::"r"((uint64_t)(a)), "r"((uint64_t)(b)))
#define PROBE3(name, a, b, c)                                                                                          \
        __asm__ volatile(PROBE_NOTE(name, "8@%0 8@%1 8@%2")::"r"((uint64_t)(a)), "r"((uint64_t)(b)), "r"((uint64_t)(c)))

#else
#define PROBE1(name, a)       ((void)(a))
#define PROBE2(name, a, b)    ((void)(a), (void)(b))
#define PROBE3(name, a, b, c) ((void)(a), (void)(b), (void)(c))
#endif

#endif
