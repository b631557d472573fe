/* SPDX-License-Identifier: MIT
 *
 * kvpager.h -- contiguous KV caches in virtual memory, paged by kvpagerd.
 *
 * A worker connects, creates a cache (a reservation of virtual memory: layer groups x rows), takes a row for each
 * sequence and tells kvp_step() once an iteration what length each running sequence reaches. Attention kernels see
 * plain pointers and strides. The method is vAttention's (Prabhu et al., ASPLOS'25, arXiv 2405.04437), across
 * processes.
 *
 * Conventions. Every function that can fail returns 0 or a negative errno; outputs are named ret_* and are untouched on
 * failure. Option structs start with their own size, so that they can grow: set `size` to sizeof the struct and zero
 * the rest. All functions may be called from any thread, on any object that is not being destroyed at the time. After
 * fork() every call of the child returns -ECHILD, and the mappings are not inherited. Nothing here raises a signal or
 * exits: a daemon that is restarted is waited for, within timeouts, where a kvpager-holder keeps its memory; where it
 * is gone, calls that need it return -ENOTCONN, and what is mapped stays readable and writable. A daemon that lives and
 * has lost this worker (its log says why) takes the memory back: on "host" a touch of it is SIGBUS then; what is mapped
 * of a GPU nobody can take, and it stays until the process unmaps it or ends.
 */
#ifndef KVPAGER_H
#define KVPAGER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KVP_VERSION_MAJOR 0
#define KVP_VERSION_MINOR 1

#define KVP_MAX_GROUPS      32u    /* layer groups of a cache */
#define KVP_MAX_LAYERS      1024u  /* layers of a group */
#define KVP_MAX_SEQS        65536u /* rows of a cache */
#define KVP_TENANT_NAME_MAX 64u    /* bytes, NUL included */
#define KVP_DEVICE_NAME_MAX 64u    /* bytes, NUL included */
#define KVP_UUID_MAX        48u    /* bytes, NUL included */

struct kvp_conn;  /* a connection to the daemon; owns the mapper thread */
struct kvp_cache; /* a reservation of virtual memory, backed by pages as its sequences grow */

struct kvp_connect_options {
        size_t size;             /* sizeof(struct kvp_connect_options) */
        const char *socket_path; /* NULL: $KVPAGER_SOCKET, else /run/kvpager/kvpager.sock where it exists, else
                                    $XDG_RUNTIME_DIR/kvpager/kvpager.sock */
        const char *tenant;      /* NULL: the first tenant whose match fits this process */
};

struct kvp_device_info {
        size_t size;        /* set by the caller before the call */
        uint64_t page_size; /* bytes */
        uint64_t capacity;  /* bytes */
        char name[KVP_DEVICE_NAME_MAX];
        char backend[16];        /* "host" or "cuda" */
        char uuid[KVP_UUID_MAX]; /* empty on host */
};

enum kvp_layout {
        KVP_LAYOUT_PER_LAYER = 0,         /* a plane a layer and part: [rows, tokens, heads, dim] */
        KVP_LAYOUT_TOKEN_MAJOR = 1,       /* a plane a part: [rows, tokens, layers, heads, dim] */
        KVP_LAYOUT_TOKEN_MAJOR_FUSED = 2, /* one plane: a token is layer by layer, K then V */
};

enum kvp_parts {
        KVP_PARTS_KV = 0,
        KVP_PARTS_K = 1, /* K alone: a latent cache, an indexer, scales */
};

enum kvp_part { KVP_K = 0, KVP_V = 1 };

/* Layers of one shape. heads * dim * element_bits must be whole bytes for each part. */
struct kvp_layer_group {
        uint32_t layers;
        uint32_t kv_heads;
        uint32_t head_dim;     /* elements of a head of K */
        uint32_t v_head_dim;   /* elements of a head of V; 0: head_dim */
        uint32_t element_bits; /* 4, 8, 16 or 32 */
        uint32_t parts;        /* enum kvp_parts */
};

struct kvp_geometry {
        size_t size;
        uint32_t device; /* index among the daemon's, from 0 */
        uint32_t layout; /* enum kvp_layout */
        uint32_t max_seqs;
        uint32_t n_groups;
        uint64_t max_tokens;      /* a sequence's longest length */
        uint64_t overread_tokens; /* kept mapped beyond each length, for kernels that load whole tiles */
        const struct kvp_layer_group *groups;
};

/* One layer's K or V as every DLPack consumer wants it. Axes are always [rows, tokens, heads, dim]. */
struct kvp_tensor {
        void *data;
        uint32_t n_dims; /* 4 */
        uint32_t device; /* DLPack's device_id: the GPU's number in this process, which may differ from the daemon's; 0
                            on "host" */
        uint64_t shape[4];
        uint64_t stride[4]; /* elements */
        uint32_t element_bits;
        uint32_t reserved;
};

struct kvp_seq_step {
        uint32_t seq;       /* a held row */
        int32_t ret_status; /* 0 or a negative errno, this row's own */
        uint64_t tokens;    /* the length that this iteration reaches */
        uint64_t ret_ready; /* tokens that the row is backed for; those beyond `tokens` may be taken back at any time */
};

struct kvp_cache_stats {
        size_t size;            /* set by the caller before the call */
        uint64_t virtual_bytes; /* reserved address space */
        uint64_t live_bytes;    /* whole extents mapped in held rows */
        uint64_t idle_bytes;    /* the same in released rows */
        uint32_t rows;
        uint32_t held_rows;
        uint64_t steps;               /* kvp_step() calls that succeeded or failed on memory */
        uint64_t steps_waited;        /* of these: had to wait for memory */
        uint64_t steps_with_syscalls; /* of these: made any system call (to ask, to wake the mapper, to wait) */
        uint64_t messages;            /* sent by this connection, all caches */
        uint64_t grants;              /* extents mapped so far */
        uint64_t granted_bytes;       /* bytes of them */
        uint64_t requests;            /* growth requests sent; each is one round trip */
        uint64_t returns;             /* extents given back so far */
        uint64_t refusals;            /* extents that could not be mapped and were undone */
        uint64_t mapper_wakes;
};

/* Asked on the mapper thread (or in kvp_cache_destroy) before anything of `cache` is unmapped: returns 0 once no kernel
 * uses rows that were released or tokens that were trimmed, or a negative errno to leave the memory mapped (where the
 * cache is being destroyed: on a GPU until the process ends, on "host" until it ends or disconnects; a touch is SIGBUS
 * from then on). Neither destroys caches nor disconnects. */
typedef int kvp_fence_fn(struct kvp_cache *cache, void *userdata);

/* Memory is wanted back: `bytes` beyond what idle rows and look-ahead gave, within `deadline_usec` of now. Runs on the
 * mapper thread; may call kvp_seq_release and kvp_seq_trim, on any cache of the connection, or arrange for it and
 * return. It neither steps, acquires, settles nor destroys. */
typedef void kvp_pressure_fn(struct kvp_conn *conn, uint64_t bytes, uint64_t deadline_usec, void *userdata);

/* Connects and starts the mapper thread. -ENOENT: no socket there; -ECONNREFUSED: no daemon behind it; -EACCES: the
 * socket or every tenant refuses this user; -ESRCH: no tenant of that name matches; -EPROTO: not a kvpagerd, or a
 * version it does not speak, or it hung up without a word; -ENAMETOOLONG: a socket path of more than 107 bytes;
 * -EINVAL: bad options; -EUSERS: too many workers; -ETIMEDOUT: no answer; -ENOMEM, -EMFILE, -ENFILE, -EAGAIN: this
 * process has no memory, descriptor or thread left. */
int kvp_connect(const struct kvp_connect_options *options, struct kvp_conn **ret_conn);

/* Gives everything back and ends the mapper thread; caches that still exist are destroyed. NULL is fine. */
void kvp_disconnect(struct kvp_conn *conn);

/* The tenant that this connection is charged to. Valid until kvp_disconnect(). */
const char *kvp_tenant(const struct kvp_conn *conn);

/* -ENODEV: no device of that index. */
int kvp_device_info(struct kvp_conn *conn, uint32_t device, struct kvp_device_info *ret_info);

/* `handler` NULL takes it away. */
int kvp_set_pressure_handler(struct kvp_conn *conn, kvp_pressure_fn *handler, void *userdata);

/* Reserves virtual memory; no page is used yet. -EINVAL: a geometry that makes no sense; -EOVERFLOW: one whose size is
 * not a number of 64 bits; -ENOMEM: more than the address space has, or over a bound of the daemon's; -EXDEV: the
 * calling thread's context is of another GPU (where it has none, the device's primary context is taken); -ENODEV: no
 * such device, or a GPU that this process cannot use; -ENOTCONN. */
int kvp_cache_create(struct kvp_conn *conn, const struct kvp_geometry *geometry, struct kvp_cache **ret_cache);

/* NULL takes the fence away: then the context of a cache on a GPU is synchronised. An engine that captures graphs sets
 * one of its own that waits for its events: while a stream of that context is captured the driver refuses to
 * synchronise, which spoils the capture, and memory stays mapped until it is asked for again. */
int kvp_cache_set_fence(struct kvp_cache *cache, kvp_fence_fn *fence, void *userdata);

/* Unmaps, returns the memory and frees the cache; what the fence or the driver does not let go of stays mapped, and is
 * charged until the process disconnects. NULL is fine. No other call on it may be under way. */
void kvp_cache_destroy(struct kvp_cache *cache);

/* -ENOENT: no such group, layer or part. */
int kvp_cache_tensor(const struct kvp_cache *cache, uint32_t group, uint32_t layer, enum kvp_part part,
                     struct kvp_tensor *ret_tensor);

int kvp_cache_stats(const struct kvp_cache *cache, struct kvp_cache_stats *ret_stats);

/* Waits until the mapper has nothing left to do for this connection: look-ahead mapped, returns sent, and the
 * daemon has nothing under way for anybody: while other workers are busy it may time out. For benchmarks, tests and
 * replays on a virtual clock; an engine has no need of it. -ETIMEDOUT, -ENOTCONN. */
int kvp_cache_settle(struct kvp_cache *cache, uint64_t timeout_usec);

/* Takes the free row that fits `expected_tokens` best: the least mapped of those that have enough, else the most
 * mapped. Its contents are what the last holder left, or zero. Maps nothing; where memory is short, what the row has
 * far beyond expected_tokens is given back first, for which it waits up to 0.1 s, whatever timeout_usec says. -EAGAIN:
 * no free row (waited up to timeout_usec for one); -EINVAL: expected_tokens over max_tokens. */
int kvp_seq_acquire(struct kvp_cache *cache, uint64_t expected_tokens, uint64_t timeout_usec, uint32_t *ret_seq);

/* Gives the row back; its pages stay mapped for the next holder until memory is short. -EINVAL: not held. */
int kvp_seq_release(struct kvp_cache *cache, uint32_t seq);

/* Gives back whole extents beyond `tokens` and makes that the row's length. -EINVAL: not held or beyond max_tokens. */
int kvp_seq_trim(struct kvp_cache *cache, uint32_t seq, uint64_t tokens);

/* Tells what length each running sequence reaches in this iteration and returns when all are backed, at once where no
 * row crosses its look-ahead mark. A held row that is not named is paused and keeps its pages; fewer tokens than before
 * (speculation rolled back) unmap nothing. A row twice, not held, or beyond max_tokens: -EINVAL, and nothing changes.
 * Timeout 0 does not wait: a row that is not backed is left to the mapper, and its status is -ETIMEDOUT or what the
 * mapper's last attempt met. Else 0 or the first failing row's error: -ENOMEM (the device is full, this process has no
 * mappings left (vm.max_map_count), or the driver has not let go of what the row had beyond), -EDQUOT (the tenant's
 * memory.max), -ETIMEDOUT, -ENOTCONN; -EMFILE: this process is at its fd limit (a few are needed for a moment);
 * -ECANCELED: the row was released while the call waited; -EPROTO: the daemon does not make sense. What was mapped
 * stays mapped, each row's ret_ready says how far it is backed, and the call can be repeated. */
int kvp_step(struct kvp_cache *cache, struct kvp_seq_step *steps, size_t n, uint64_t timeout_usec);

#ifdef __cplusplus
}
#endif
#endif
