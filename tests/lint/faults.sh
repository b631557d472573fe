#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Whatever the daemon and the library take from libc and could fail is made to fail (tests/faults): each name that they
# import is wrapped, or stands below with the reason why not. So a system call that is added later cannot be forgotten.
set -euo pipefail
bad=0

exempt() { # REASON NAME...
        shift
        printf '%s\n' "$@"
}
{
        exempt 'enter no kernel and allocate nothing' \
                memchr memcmp memcpy memmove memset snprintf strcasecmp strchr strcmp strcspn strerror strlen strncmp strnlen \
                strpbrk strrchr strsignal strspn strstr strtok_r strtol strtoll strtoul strtoull \
                fnmatch getenv getopt_long feof \
                sigaddset sigemptyset sigfillset \
                __ctype_b_loc __errno_location __memcpy_chk __memset_chk __snprintf_chk __vsnprintf_chk
        exempt 'are no functions' optarg optind stderr stdout
        exempt 'belong to the compiler and the loader' \
                __cxa_finalize __gmon_start__ __libc_start_main __stack_chk_fail __assert_fail \
                _ITM_deregisterTMCloneTable _ITM_registerTMCloneTable
        exempt 'cannot fail with arguments that are valid' \
                clock_gettime getpid geteuid umask isatty signal sigprocmask sysconf pthread_sigmask pthread_self prctl \
                pthread_mutex_init pthread_mutex_lock pthread_mutex_unlock pthread_mutex_destroy \
                pthread_mutexattr_init pthread_mutexattr_settype pthread_mutexattr_destroy \
                pthread_cond_init pthread_cond_signal pthread_cond_broadcast pthread_cond_destroy \
                pthread_condattr_init pthread_condattr_setclock pthread_condattr_destroy pthread_join pthread_once
        exempt 'load a driver that this machine has not: that fails already' dlopen dlsym dlclose dlerror
        exempt 'say something that nobody depends on: help, complaints, the pid in the lock' \
                puts fwrite __fprintf_chk __dprintf_chk
        exempt 'ask for a kind of scheduling: without it things go on as before' sched_getscheduler sched_setscheduler sched_yield
        exempt 'give back' free
} | sort -u >"$TMPDIR/exempt"

nm -D --defined-only "$KVP_TESTS/faults.so" | awk '$2 == "T" { print $3 }' | sort -u >"$TMPDIR/wrapped"
for file in "$KVP_BIN/kvpagerd" "$KVP_LIB/libkvpager.so.0"; do
        nm -D --undefined-only "$file" | awk '{ sub(/@.*/, "", $2); print $2 }'
done | sort -u >"$TMPDIR/imported"
# libsystemd and libinih reach the kernel by libc too, and their calls fail with the daemon's.
grep -vE '^(sd_|ini_parse_stream$)' "$TMPDIR/imported" >"$TMPDIR/names"

[ "$(wc -l <"$TMPDIR/wrapped")" -gt 50 ] || { echo "faults.so wraps next to nothing"; bad=1; }
if comm -23 "$TMPDIR/names" "$TMPDIR/exempt" | comm -23 - "$TMPDIR/wrapped" | grep .; then
        echo "daemon or library import these: wrap them in tests/faults, or say in tests/lint/faults.sh why not"
        bad=1
fi
if comm -12 "$TMPDIR/exempt" "$TMPDIR/wrapped" | grep -vx free; then
        echo "these are wrapped and exempt"
        bad=1
fi
exit $bad
