# SPDX-License-Identifier: MIT
"""An unchanged kernel of PyTorch or Triton on views of a kvpager cache that grows between launches: does it give the same bits as on
torch's own memory, and does it read beyond its length?

    torch_kernels.py LIBKVPAGER NAME         one JSON object a line: the kernel in each layout, then whether it reads beyond

One kernel a process, for a fault ends all that a process computes on a GPU.
"""
import json
import sys

import kvpager
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

HEADS, DIM, MAX_TOKENS, ROWS = 8, 128, 8192, 2
LENGTHS = (1, 100, 1000, 1024, 1025, 2049, 4000, 4096, 8192)
LAYOUTS = {"per-layer": kvpager.PER_LAYER, "token-major": kvpager.TOKEN_MAJOR, "token-major-fused": kvpager.TOKEN_MAJOR_FUSED}
# Kernels take tokens by tiles of 16 to 256: with these heads mapped memory ends within a tile, less than a token behind the last.
OVERREAD_HEADS, OVERREAD_PAGES, OVERREAD_QUERIES = 7, (1, 2, 3, 5), (1, 16, 128)


def say(**fields):
    print(json.dumps(fields), flush=True)


def sdpa(backend):
    def run(q, k, v):
        with sdpa_kernel(backend):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)
    return run


if triton:
    @triton.jit
    def triton_kernel(q, k, v, out, length, k_head, k_token, v_head, v_token, D: tl.constexpr, BLOCK: tl.constexpr):
        head, query = tl.program_id(0), tl.program_id(1)
        columns, tokens = tl.arange(0, D), tl.arange(0, BLOCK)
        at = (head * tl.num_programs(1) + query) * D + columns
        queries = tl.load(q + at).to(tl.float32)
        most, weight, total = -float("inf"), 0.0, tl.zeros([D], tl.float32)
        for start in range(0, length, BLOCK):
            inside = start + tokens < length
            keys = tl.load(k + head * k_head + (start + tokens)[:, None] * k_token + columns[None, :], mask=inside[:, None], other=0.0)
            score = tl.sum(keys.to(tl.float32) * queries[None, :], 1) * 0.08838834764
            score = tl.where(inside, score, -float("inf"))
            new = tl.maximum(most, tl.max(score, 0))
            weights, scale = tl.exp(score - new), tl.exp(most - new)
            values = tl.load(v + head * v_head + (start + tokens)[:, None] * v_token + columns[None, :], mask=inside[:, None], other=0.0)
            total = total * scale + tl.sum(values.to(tl.float32) * weights[:, None], 0)
            weight = weight * scale + tl.sum(weights, 0)
            most = new
        tl.store(out + at, (total / weight).to(tl.float16))


def triton_decode():
    if not triton:
        raise RuntimeError("there is no Triton")

    def run(q, k, v):
        out = torch.empty_like(q)
        triton_kernel[(q.shape[1], q.shape[2])](q, k, v, out, k.shape[2], k.stride(1), k.stride(2), v.stride(1), v.stride(2), DIM, 64)
        return out
    return run


KERNELS = {
    "FlashAttention": lambda: sdpa(SDPBackend.FLASH_ATTENTION),
    "memory-efficient": lambda: sdpa(SDPBackend.EFFICIENT_ATTENTION),
    "cuDNN": lambda: sdpa(SDPBackend.CUDNN_ATTENTION),
    "math": lambda: sdpa(SDPBackend.MATH),
    "Triton": triton_decode,
}


class Scene:
    """A cache of two layers, and torch's own memory with the same contents and strides."""

    def __init__(self, conn, layout, max_tokens, heads):
        self.cache = kvpager.Cache(conn, 2, heads, DIM, ROWS, max_tokens, LAYOUTS[layout])
        self.row = self.cache.acquire(1)
        self.length, self.heads = 0, heads
        self.theirs = [torch.from_dlpack(self.cache.tensor(1, part)) for part in (kvpager.K, kvpager.V)]
        t = self.theirs[0]
        extra = (ROWS - 1) * t.stride(0) + (max_tokens - 1) * t.stride(1) + heads * DIM
        self.own = [torch.zeros(extra, dtype=torch.float16, device="cuda").as_strided(t.shape, t.stride()) for _ in range(2)]
        assert t.dtype == torch.float16 and t.is_cuda, t

    def grow(self, length):
        self.cache.step({self.row: length})
        for theirs, own in zip(self.theirs, self.own):
            fresh = torch.randn(length - self.length, self.heads, DIM, dtype=torch.float16, device="cuda")
            own[self.row, self.length:length].copy_(fresh)
            theirs[self.row, self.length:length].copy_(fresh)
        self.length = length

    def views(self, tensors):
        return [t[self.row:self.row + 1, :self.length].transpose(1, 2) for t in tensors]

    def same(self, run, queries):
        q = torch.randn(1, self.heads, queries, DIM, dtype=torch.float16, device="cuda")
        theirs, own = run(q, *self.views(self.theirs)), run(q, *self.views(self.own))
        torch.cuda.synchronize()
        assert not torch.isnan(own).any()
        return torch.equal(theirs, own)

    def close(self):
        torch.cuda.synchronize()
        self.cache.release(self.row)
        self.cache.destroy()


def reason(e):
    return str(e).splitlines()[0][:200] if str(e) else repr(e)


def faulted():
    """Whether nothing can be computed in this process any more."""
    try:
        torch.cuda.synchronize()
        return False
    except Exception:
        return True


def equality(conn, name):
    """In each layout; False: it ended in a fault. What a kernel does not take, as cuDNN takes no keys of one token, is said, and the
    other lengths are tried all the same."""
    for layout in LAYOUTS:
        scene, done, refused, equal, why = Scene(conn, layout, MAX_TOKENS, HEADS), 0, [], True, None
        for length in LENGTHS:
            scene.grow(length)
            for queries in (1, 16):
                try:
                    equal = scene.same(KERNELS[name](), queries) and equal
                    done += 1
                except Exception as e:
                    refused.append([length, queries])
                    why = why or reason(e)
                    if faulted():
                        say(name="kernel", kernel=name, layout=layout, equal=False, done=done, why="a fault: " + why)
                        return False
        fields = {"refused": refused, "why": "%d of %d shapes refused: %s" % (len(refused), done + len(refused), why)} if refused else {}
        say(name="kernel", kernel=name, layout=layout, equal=equal if done else None, done=done, **fields)
        scene.close()
    return True


def overread(conn, name):
    """Row 0 of full length: what follows is row 1, of which nothing is mapped."""
    lengths = []
    try:
        run = KERNELS[name]()
        for pages in OVERREAD_PAGES:
            length = conn.device().page_size * pages // (OVERREAD_HEADS * DIM * 2)
            scene = Scene(conn, "per-layer", length, OVERREAD_HEADS)
            assert scene.row == 0
            scene.grow(length)
            lengths.append(length)
            for queries in OVERREAD_QUERIES:
                assert scene.same(run, queries), "other bits"
            scene.close()
        say(name="overread", kernel=name, overread=False, lengths=lengths)
    except Exception as e:
        fault = "illegal memory access" in str(e)
        say(name="overread", kernel=name, overread=True if fault else None, lengths=lengths, why=reason(e))


def main():
    torch.manual_seed(1)
    torch.zeros(1, device="cuda")  # makes the primary context, which the library then takes
    conn = kvpager.Connection(sys.argv[1])
    if equality(conn, sys.argv[2]):
        overread(conn, sys.argv[2])


if __name__ == "__main__":
    main()
