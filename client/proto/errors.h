/* SPDX-License-Identifier: MIT
 *
 * errors.h -- every reason for which the daemon refuses a message or a request: name, errno for the caller, sentence.
 * The daemon sends number, errno and sentence; the numbers are part of the protocol, so new ones go at the end.
 */
#ifndef KVP_PROTO_ERRORS_H
#define KVP_PROTO_ERRORS_H

/* X(NAME, errno, sentence) */
#define WIRE_ERRORS(X)                                                                                                 \
        X(NONE, 0, "no error")                                                                                         \
        X(TOO_SHORT, EBADMSG, "the packet is shorter than its message")                                                \
        X(TOO_LONG, EBADMSG, "the packet is longer than its message")                                                  \
        X(BAD_OPCODE, EBADMSG, "there is no message of this opcode in this direction")                                 \
        X(BAD_RESERVED, EBADMSG, "a reserved field or flag is not zero")                                               \
        X(BAD_VALUE, EBADMSG, "a field has a value outside its range")                                                 \
        X(BAD_TEXT, EBADMSG, "a text field is not terminated, not followed by zeroes, or has control characters")      \
        X(BAD_COUNT, EBADMSG, "the number of items is zero or over the message's bound")                               \
        X(BAD_FDS, EBADMSG, "the packet does not carry the number of file descriptors that its message has")           \
        X(TRUNCATED, EBADMSG, "the packet or its file descriptors were cut off")                                       \
        X(BAD_VERSION, EPROTO, "the daemon does not speak this version of the protocol")                               \
        X(NOT_GREETED, EPROTO, "the first message must be HELLO, and only the first")                                  \
        X(NO_PRIVILEGE, EACCES, "this message needs a role that the connection does not have")                         \
        X(NO_TENANT, EACCES, "no [tenant] of the configuration matches this process")                                  \
        X(WRONG_TENANT, ESRCH, "no [tenant] of that name matches this process")                                        \
        X(TOO_MANY_WORKERS, EUSERS, "the daemon serves as many workers as it can")                                     \
        X(NO_DEVICE, ENODEV, "there is no such device")                                                                \
        X(NO_CACHE, ENOENT, "there is no such cache of this worker")                                                   \
        X(TOO_MANY_CACHES, ENOMEM, "the daemon holds as many caches as it can")                                        \
        X(BAD_GEOMETRY, EINVAL, "the cache has no rows, no classes, or a size over the daemon's bounds")               \
        X(BAD_RANGE, EINVAL, "the pages lie outside the row, or the row outside the cache")                            \
        X(ALREADY_MAPPED, EEXIST, "some of these pages are granted already")                                           \
        X(BAD_EXTENT, ESTALE, "the extent is stale, or not this worker's")                                             \
        X(BAD_ACK, EPROTO, "the acknowledgement is ahead of what was granted")                                         \
        X(BAD_REVOKE, ESTALE, "there is no such revoke of this worker")                                                \
        X(TOO_MANY_REQUESTS, EAGAIN, "the worker has too many requests waiting")                                       \
        X(BUSY, EAGAIN, "nothing is free for look-ahead at the moment")                                                \
        X(DEVICE_FULL, ENOMEM, "the device has no memory left that may be given to this tenant")                       \
        X(TENANT_FULL, EDQUOT, "the tenant is at its memory.max")                                                      \
        X(TIMED_OUT, ETIMEDOUT, "the memory did not come free within the timeout")                                     \
        X(DEVICE_FAILED, ENOMEM, "the device could not create memory")                                                 \
        X(OVERDUE, ENOTCONN, "the worker did not acknowledge grants within the deadline")                              \
        X(SLOW_READER, ENOTCONN, "the worker does not read what it is sent")                                           \
        X(SHUTTING_DOWN, ENOTCONN, "the daemon is stopping")                                                           \
        X(TAMPERED, EPERM, "the worker sealed memory that it was lent, so that it cannot be taken back")               \
        X(UNSETTLED, EAGAIN, "something is still under way")                                                           \
        X(DENIED, ENOMEM, "the worker was asked for memory and has not answered: it gets none until it does")          \
        X(UNKNOWN_TENANT, ENOENT, "the configuration has no tenant of that name")                                      \
        X(BAD_SETTING, EINVAL, "nothing was changed")                                                                  \
        X(BAD_CONFIG, EINVAL, "the configuration stays as it was")                                                     \
        X(TOO_MANY_FOLLOWERS, EUSERS, "as many follow the events as can")                                              \
        X(NOT_KNOWN, ENOTCONN, "the daemon does not know this worker, or not any more")

/* Those that end the connection: what was sent is not this protocol, or the peer has no place here (any longer). The
 * others answer one request, and the connection goes on. */
/* clang-format off */
#define WIRE_FATAL_ERRORS(X)                                                                                           \
        X(TOO_SHORT) X(TOO_LONG) X(BAD_OPCODE) X(BAD_RESERVED) X(BAD_VALUE) X(BAD_TEXT) X(BAD_COUNT) X(BAD_FDS)        \
        X(TRUNCATED) X(BAD_VERSION) X(NOT_GREETED) X(NO_TENANT) X(WRONG_TENANT) X(TOO_MANY_WORKERS) X(BAD_ACK)         \
        X(BAD_REVOKE) X(OVERDUE) X(SLOW_READER) X(SHUTTING_DOWN) X(TAMPERED)         \
        X(NOT_KNOWN)
/* clang-format on */

#endif
