/* SPDX-License-Identifier: MIT
 *
 * function.h -- where a function of a library begins in its file, and what its first instruction costs a uprobe.
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

/* What stands there. True: the kernel can act it out; else each hit is a single step, which costs ten times as much. */
bool elf_instruction_is_cheap(const struct elf *elf, uint64_t offset, char ret_name[static 16]);

#endif
