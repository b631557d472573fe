/* SPDX-License-Identifier: MIT
 *
 * capture.h -- what becomes of a graph that a thread captures while another one calls the driver.
 */
#ifndef TESTS_GPU_CAPTURE_H
#define TESTS_GPU_CAPTURE_H

#include "kit.h"

#define ANSWER_TEXT   64u
#define ANSWER_DETAIL 400u

/* "yes", "no" or "unknown", and the results: the other thread maps and unmaps, or waits for all of the context. It is
 * in that and in the mode that prohibits least, as the library's are. */
void capture_survives(struct kit *kit, bool waits, char text[static ANSWER_TEXT], char detail[static ANSWER_DETAIL]);

#endif
