/* SPDX-License-Identifier: MIT
 *
 * function.c -- see function.h.
 */
#include "function.h"

#include <asm/ptrace.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __x86_64__
#define MACHINE EM_X86_64
#else
#define MACHINE EM_AARCH64
#endif

/* `n` structs of `size` bytes at `offset`, where they lie within the file and are aligned. */
static const void *part(const struct elf *elf, uint64_t offset, uint64_t n, uint64_t size)
{
        if (offset > elf->size || n > elf->size / size || n * size > elf->size - offset || offset % 8 != 0)
                return NULL;
        return elf->bytes + offset;
}

int elf_open(const char *path, struct elf *ret)
{
        const int fd = open(path, O_RDONLY | O_CLOEXEC);
        const Elf64_Ehdr *header;
        struct stat st;
        void *bytes;

        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (size_t)st.st_size < sizeof(*header)) {
                (void)close(fd);
                return -ENOEXEC;
        }
        bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        (void)close(fd);
        if (bytes == MAP_FAILED)
                return -errno;
        *ret = (struct elf){ .bytes = bytes, .size = (size_t)st.st_size };
        header = bytes;
        if (memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 && header->e_ident[EI_CLASS] == ELFCLASS64 &&
            header->e_machine == MACHINE && header->e_phentsize == sizeof(Elf64_Phdr) &&
            (header->e_shentsize == sizeof(Elf64_Shdr) || header->e_shnum == 0))
                return 0;
        elf_close(ret);
        return -ENOEXEC;
}

void elf_close(struct elf *elf)
{
        if (elf->bytes)
                (void)munmap((void *)(uintptr_t)elf->bytes, elf->size);
        *elf = (struct elf){ 0 };
}

/* Where in the file that address of the program lies; 0: nowhere. */
static uint64_t offset_of(const struct elf *elf, uint64_t address)
{
        const Elf64_Ehdr *header = (const void *)elf->bytes;
        const Elf64_Phdr *segments = part(elf, header->e_phoff, header->e_phnum, sizeof(*segments));

        for (unsigned i = 0; segments && i < header->e_phnum; i++) {
                const Elf64_Phdr *segment = &segments[i];

                if (segment->p_type == PT_LOAD && segment->p_flags & PF_X && segment->p_offset < elf->size &&
                    segment->p_filesz <= elf->size - segment->p_offset && address >= segment->p_vaddr &&
                    address - segment->p_vaddr < segment->p_filesz)
                        return address - segment->p_vaddr + segment->p_offset;
        }
        return 0;
}

int elf_function(const struct elf *elf, const char *name, uint64_t *ret)
{
        const Elf64_Ehdr *header = (const void *)elf->bytes;
        const Elf64_Shdr *sections = part(elf, header->e_shoff, header->e_shnum, sizeof(*sections));
        const size_t length = strlen(name) + 1;
        bool any = false;

        for (unsigned i = 0; sections && i < header->e_shnum; i++) {
                const Elf64_Shdr *section = &sections[i], *texts;
                const Elf64_Sym *symbols = part(elf, section->sh_offset, section->sh_size / sizeof(*symbols),
                                                sizeof(*symbols));

                if (section->sh_type != SHT_DYNSYM || section->sh_link >= header->e_shnum || !symbols)
                        continue;
                texts = &sections[section->sh_link];
                if (texts->sh_offset > elf->size || texts->sh_size > elf->size - texts->sh_offset)
                        continue;
                any = true;
                for (size_t k = 0; k < section->sh_size / sizeof(*symbols); k++) {
                        const Elf64_Sym *s = &symbols[k];

                        if (ELF64_ST_TYPE(s->st_info) != STT_FUNC || s->st_shndx == SHN_UNDEF ||
                            s->st_name >= texts->sh_size || length > texts->sh_size - s->st_name ||
                            memcmp(elf->bytes + texts->sh_offset + s->st_name, name, length) != 0)
                                continue;
                        *ret = offset_of(elf, s->st_value);
                        return *ret ? 0 : -ENOEXEC;
                }
        }
        return any ? -ENOENT : -ENOEXEC;
}

bool elf_instruction_is_cheap(const struct elf *elf, uint64_t offset, char ret_name[static 16])
{
        static const struct {
                unsigned char bytes[4], mask[4];
                const char *name;
                bool cheap;
        } known[] = {
                { { 0xf3, 0x0f, 0x1e, 0xfa }, { 0xff, 0xff, 0xff, 0xff }, "endbr64", false },
                { { 0x90 }, { 0xff }, "nop", true },
                { { 0x50 }, { 0xf8 }, "push", true },
                { { 0x41, 0x50 }, { 0xff, 0xf8 }, "push", true },
                { { 0xe9 }, { 0xff }, "jmp", true },
                { { 0xeb }, { 0xff }, "jmp", true },
                { { 0xe8 }, { 0xff }, "call", true },
                { { 0x48, 0x83, 0xec }, { 0xff, 0xff, 0xff }, "sub rsp", false },
                { { 0x48, 0x81, 0xec }, { 0xff, 0xff, 0xff }, "sub rsp", false },
        };
        const unsigned char *code = elf->bytes + offset;

        (void)snprintf(ret_name, 16, "other");
        if (MACHINE != EM_X86_64 || offset + 4 > elf->size)
                return MACHINE != EM_X86_64; /* elsewhere all cost the same, or nearly */
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
                bool same = true;

                for (unsigned k = 0; k < 4; k++)
                        same &= (code[k] & known[i].mask[k]) == known[i].bytes[k];
                if (!same)
                        continue;
                (void)snprintf(ret_name, 16, "%s", known[i].name);
                return known[i].cheap;
        }
        return false;
}

/* ---- probes ---- */

static bool register_offset(const char *name, uint32_t *ret)
{
#ifdef __x86_64__
        static const struct {
                const char *name;
                size_t offset;
        } known[] = {
#define R(name) { #name, offsetof(struct pt_regs, name) }
                R(rax), R(rbx), R(rcx), R(rdx), R(rsi), R(rdi), R(rbp), R(rsp),
                R(r8),  R(r9),  R(r10), R(r11), R(r12), R(r13), R(r14), R(r15),
#undef R
        };
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
                if (name[0] == '%' && strcmp(name + 1, known[i].name) == 0) {
                        *ret = (uint32_t)known[i].offset;
                        return true;
                }
        return false;
#else
        unsigned number;
        char rest;

        if (sscanf(name, "x%u%c", &number, &rest) != 1 || number > 30)
                return false;
        *ret = number * 8;
        return true;
#endif
}

/* "8@%rax 8@%rdx": ours are all so. */
static bool parse_arguments(const char *text, struct elf_probe *ret)
{
        char copy[128], *rest = NULL;

        if (strlen(text) >= sizeof(copy))
                return false;
        memcpy(copy, text, strlen(text) + 1);
        for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
                if (ret->n_arguments == 3 || strncmp(word, "8@", 2) != 0 ||
                    !register_offset(word + 2, &ret->registers[ret->n_arguments++]))
                        return false;
        return true;
}

/* One note: three addresses, then three texts. `base`: where the base of probes lies, 0: nowhere. */
static bool parse_note(const struct elf *elf, const unsigned char *note, size_t size, uint64_t base,
                       const char *provider, const char *name, struct elf_probe *ret)
{
        uint64_t addresses[3];
        const char *texts[3], *end = (const char *)note + size, *at = (const char *)note + sizeof(addresses);

        if (size < sizeof(addresses))
                return false;
        memcpy(addresses, note, sizeof(addresses));
        for (unsigned i = 0; i < 3; i++) {
                const char *nul = at < end ? memchr(at, 0, (size_t)(end - at)) : NULL;

                if (!nul)
                        return false;
                texts[i] = at;
                at = nul + 1;
        }
        if (strcmp(texts[0], provider) != 0 || strcmp(texts[1], name) != 0)
                return false;
        *ret = (struct elf_probe){ .offset = offset_of(elf, addresses[0] + (base ? base - addresses[1] : 0)) };
        return ret->offset && parse_arguments(texts[2], ret);
}

static const char *section_name(const struct elf *elf, const Elf64_Ehdr *header, const Elf64_Shdr *sections, unsigned i)
{
        const Elf64_Shdr *texts = &sections[header->e_shstrndx < header->e_shnum ? header->e_shstrndx : 0];
        const uint64_t at = texts->sh_offset + sections[i].sh_name;

        return at < elf->size && memchr(elf->bytes + at, 0, elf->size - at) ? (const char *)elf->bytes + at : "";
}

unsigned elf_probes(const struct elf *elf, const char *provider, const char *name, struct elf_probe *ret, unsigned max)
{
        const Elf64_Ehdr *header = (const void *)elf->bytes;
        const Elf64_Shdr *sections = part(elf, header->e_shoff, header->e_shnum, sizeof(*sections));
        uint64_t base = 0;
        unsigned n = 0;

        for (unsigned i = 0; sections && i < header->e_shnum; i++)
                if (strcmp(section_name(elf, header, sections, i), ".stapsdt.base") == 0)
                        base = sections[i].sh_addr;
        for (unsigned i = 0; sections && i < header->e_shnum; i++) {
                const Elf64_Shdr *s = &sections[i];
                uint64_t at = s->sh_offset;

                if (s->sh_type != SHT_NOTE || at > elf->size || s->sh_size > elf->size - at ||
                    strcmp(section_name(elf, header, sections, i), ".note.stapsdt") != 0)
                        continue;
                for (const uint64_t end = at + s->sh_size; end - at >= sizeof(Elf64_Nhdr);) {
                        Elf64_Nhdr note;
                        uint64_t text, next;

                        memcpy(&note, elf->bytes + at, sizeof(note));
                        text = at + sizeof(note) + ((note.n_namesz + UINT64_C(3)) & ~UINT64_C(3));
                        next = text + ((note.n_descsz + UINT64_C(3)) & ~UINT64_C(3));
                        if (next > end || next <= at)
                                break;
                        if (n < max && parse_note(elf, elf->bytes + text, note.n_descsz, base, provider, name, &ret[n]))
                                n++;
                        at = next;
                }
        }
        return n;
}
