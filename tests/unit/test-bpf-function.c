/* SPDX-License-Identifier: MIT
 *
 * test-bpf-function.c -- functions and probes are found in libraries, and libraries that lie are harmless: whoever has
 * a container has one of his own, and kvpager-observe looks into it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bpf/function.h"

static char library[4096], copy[4096];
static unsigned char *bytes;
static size_t size;

static void open_library(void)
{
        const char *folder = getenv("KVP_LIB"), *scratch = getenv("TMPDIR");
        FILE *file;

        (void)snprintf(library, sizeof(library), "%s/libkvpager.so.0", folder ? folder : "build/release/lib");
        (void)snprintf(copy, sizeof(copy), "%s/function-%d", scratch ? scratch : "/tmp", (int)getpid());
        file = fopen(library, "re");
        cr_assert(file, "%s", library);
        (void)fseek(file, 0, SEEK_END);
        size = (size_t)ftell(file);
        rewind(file);
        bytes = malloc(size);
        cr_assert(bytes && fread(bytes, 1, size, file) == size);
        (void)fclose(file);
}

static void close_library(void)
{
        (void)unlink(copy);
        free(bytes);
}

static void write_copy(size_t n)
{
        FILE *file = fopen(copy, "we");

        cr_assert(file && fwrite(bytes, 1, n, file) == n && fclose(file) == 0);
}

TestSuite(function, .init = open_library, .fini = close_library);

Test(function, is_found)
{
        struct elf elf = { 0 };
        struct elf_probe places[8];
        uint64_t offset = 0, other = 0;
        char name[16] = "";

        cr_assert_eq(elf_open(library, &elf), 0);
        cr_assert_eq(elf_function(&elf, "kvp_step", &offset), 0);
        cr_assert_eq(elf_function(&elf, "kvp_connect", &other), 0);
        cr_expect(offset > 0 && offset < elf.size && other != offset);
        (void)elf_instruction_is_cheap(&elf, offset, name);
        cr_expect(name[0]);
        cr_expect_eq(elf_function(&elf, "kvp_ste", &offset), -ENOENT, "no prefix of a name");
        cr_expect_eq(elf_function(&elf, "", &offset), -ENOENT);
        cr_expect_eq(elf_function(&elf, "malloc", &offset), -ENOENT, "it is another library's");
#if defined(__x86_64__) || defined(__aarch64__)
        cr_expect_geq(elf_probes(&elf, "kvpager", "map_done", places, 8), 1);
        cr_expect_eq(places[0].n_arguments, 3);
        cr_expect(places[0].offset > 0 && places[0].offset < elf.size);
#ifdef __x86_64__
        cr_expect_eq(elf.bytes[places[0].offset], 0x90, "a nop");
#endif
        cr_expect_eq(elf_probes(&elf, "kvpager", "map_done", places, 0), 0);
        cr_expect_eq(elf_probes(&elf, "other", "map_done", places, 8), 0);
#endif
        elf_close(&elf);
        elf_close(&elf);
}

Test(function, is_no_library)
{
        struct elf elf = { 0 };

        cr_expect_eq(elf_open("/nonexistent", &elf), -ENOENT);
        cr_expect_eq(elf_open("/", &elf), -ENOEXEC);
        cr_expect_eq(elf_open("/etc/passwd", &elf), -ENOEXEC);
        write_copy(0);
        cr_expect_eq(elf_open(copy, &elf), -ENOEXEC);
        write_copy(60);
        cr_expect_eq(elf_open(copy, &elf), -ENOEXEC);
        cr_expect_null(elf.bytes);
}

/* Looks for everything; what comes of it is the file's business, as long as it stays within the file. */
static void look(void)
{
        struct elf_probe places[4];
        struct elf elf = { 0 };
        uint64_t offset = 0;
        char name[16];

        if (elf_open(copy, &elf) < 0)
                return;
        if (elf_function(&elf, "kvp_step", &offset) == 0) {
                cr_assert(offset < elf.size);
                (void)elf_instruction_is_cheap(&elf, offset, name);
        }
        cr_assert_leq(elf_probes(&elf, "kvpager", "map_done", places, 1), 1);
        cr_assert_leq(elf_probes(&elf, "kvpager", "ended", places, 4), 4);
        elf_close(&elf);
}

Test(function, may_lie)
{
        uint64_t state = 1, offsets[2];
        int fd;

        write_copy(size);
        fd = open(copy, O_WRONLY | O_CLOEXEC);
        cr_assert_geq(fd, 0);
        memcpy(&offsets[0], bytes + 0x20, 8); /* program headers */
        memcpy(&offsets[1], bytes + 0x28, 8); /* sections */
        for (unsigned i = 0; i < 1500; i++) {
                uint64_t lie = UINT64_MAX;
                size_t at;

                state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
                at = i % 3 == 0 ? 16 : (size_t)offsets[i % 3 - 1];
                at += (state >> 40) % (i % 3 == 0 ? 40 : 2000);
                if (at + 8 > size)
                        continue;
                if (state >> 33 & 1)
                        lie = state;
                cr_assert_eq(pwrite(fd, &lie, 8, (off_t)at), 8);
                look();
                cr_assert_eq(pwrite(fd, bytes + at, 8, (off_t)at), 8);
        }
        (void)close(fd);
        for (size_t n = 64; n < size; n += size / 23) { /* cut short */
                write_copy(n);
                look();
        }
}
