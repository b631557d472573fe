/* SPDX-License-Identifier: MIT
 *
 * complaint.h -- one sentence for the person who gave the input.
 *
 * Readers and parsers return a negative errno and leave the sentence here; only main() prints. So a test can see both.
 */
#ifndef KVPAGER_REPLAY_COMPLAINT_H
#define KVPAGER_REPLAY_COMPLAINT_H

struct complaint {
        char text[512]; /* empty: nothing to say */
};

/* Keeps the sentence (cut to fit) and returns `error`, so that a caller can write `return complain(...)`. */
int complain(struct complaint *complaint, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
