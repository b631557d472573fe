/* SPDX-License-Identifier: MIT
 *
 * function.h -- where a function of a library begins in its file, what its first instruction costs a uprobe, and where
 * the probes are that it brings along (USDT).
 *
 * A library is whoever's: nothing in it is trusted, and one that is cut short or stripped is an error.
 */
#ifndef BPF_FUNCTION_H
#define BPF_FUNCTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct elf {
        const unsigned char *bytes; /* the whole file, mapped */
        size_t size;
};

/* -ENOEXEC: no ELF file of this machine's kind. */
int elf_open(const char *path, struct elf *ret);
void elf_close(struct elf *elf);

/* The place in the file of an exported function. -ENOENT: there is none of that name; -ENOEXEC: the file has no table
 * of them. */
int elf_function(const struct elf *elf, const char *name, uint64_t *ret_offset);

/* What stands there. True: the kernel can act it out; else each hit is a single step, which costs twenty times as much.
 */
bool elf_instruction_is_cheap(const struct elf *elf, uint64_t offset, char ret_name[static 16]);

/* A probe of the binary's own: where it is, and in what registers its arguments are. */
struct elf_probe {
        uint64_t offset;
        uint32_t n_arguments;
        uint32_t registers[3]; /* as offsets into struct pt_regs */
};

/* The places of a probe by its provider's name and its own, up to `max`. Returns how many there are. */
unsigned elf_probes(const struct elf *elf, const char *provider, const char *name, struct elf_probe *ret, unsigned max);

#endif
