/* SPDX-License-Identifier: MIT
 *
 * returners.h -- whose memory was destroyed, and whether it came free: who keeps what he gave back is suspect.
 *
 *      destroyed ---> looked at: no more is missing than before -------> forgotten
 *                 '-> more is: doubted ---> it came free after all ----> forgotten
 *                                      |-> more is missing by then than was given back: others take it ---> forgotten
 *                                      '-> not within two seconds -----> suspect
 *
 * The delay is for memory that nobody keeps: that of a process which was killed comes free a little later, and what was
 * destroyed at the same moment is looked at together with it. What is missing does not say who has it: whoever only
 * gives something back while another process loads its weights must not be taken for a liar. So a suspect is denied,
 * and never killed for that.
 */
#ifndef SHELL_RETURNERS_H
#define SHELL_RETURNERS_H

#include <stdint.h>
#include <systemd/sd-event.h>

#define RETURNERS_MAX 64u /* at a time, of a device; who else gives something back then is not looked at */

struct daemon;
struct store_result;

struct doubt {
        uint32_t worker;
        uint64_t before; /* bytes that were missing before his were destroyed */
        uint64_t given;  /* bytes that living workers gave back since: no more can be missing for their sake */
        uint64_t until_usec;
};

struct returners {
        uint32_t workers[RETURNERS_MAX]; /* whose extents were destroyed since the last look */
        uint32_t n_workers;
        uint64_t given; /* bytes of them */
        struct doubt doubts[RETURNERS_MAX];
        uint32_t n_doubts;
};

int returners_open(struct daemon *daemon);
void returners_close(struct daemon *daemon);

/* A job of a device is done. */
void returners_note(struct daemon *daemon, uint32_t device, const struct store_result *result);

/* The device was looked at after all that is noted: so much is missing, so much was before (UINT64_MAX: no less). */
void returners_looked(struct daemon *daemon, uint32_t device, uint64_t missing, uint64_t before);

#endif
