/* SPDX-License-Identifier: MIT
 *
 * real-daemon.h -- kvpagerd in the fuzzer's own process: two tenants, a device of 64 pages of 64 KiB (inline-device.h),
 * a socket in a temporary folder, and a loop that is turned by hand. What goes wrong aborts.
 */
#ifndef FUZZ_REAL_DAEMON_H
#define FUZZ_REAL_DAEMON_H

#include <sys/un.h>

#include "daemon.h"

#define REAL_DAEMON_PAGE UINT64_C(65536)

/* Starts it; it is taken apart when the process exits. One at a time. */
struct daemon *real_daemon_start(struct sockaddr_un *ret_address);

/* Turns the loop until nothing is ready any more. Unless inline_device.lazy, the device does all its work meanwhile. */
void real_daemon_run(struct daemon *daemon);

/* Waits until nothing remains of connections that ended at both ends. */
void real_daemon_bury(struct daemon *daemon);

/* Its tenants become as they were at the start. */
void real_daemon_restore(struct daemon *daemon);

#endif
