/* SPDX-License-Identifier: MIT
 *
 * utf8.h -- names of files are bytes; JSON and SVG want UTF-8.
 */
#ifndef KVPAGER_REPLAY_UTF8_H
#define KVPAGER_REPLAY_UTF8_H

/* A copy, for the caller to free(), in which U+FFFD stands for each byte that is part of no character (surrogates,
 * overlong forms and the non-characters that XML refuses are none). NULL: no memory. */
char *utf8_repair(const char *text);

#endif
