# SPDX-License-Identifier: MIT
"""Unchanged kernels of PyTorch and Triton on views of a kvpager cache that grows between launches: do they give the same bits as on
torch's own memory, and does any of them read beyond its length?

    torch_kernels.py LIBKVPAGER kernels          one JSON object a line: a kernel, a layout, whether all lengths were equal
    torch_kernels.py LIBKVPAGER overread NAME    the same at a length after which no memory is mapped; a fault is the answer
"""
import json
import sys

import kvpager
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

HEADS, DIM, MAX_TOKENS, ROWS = 8, 128, 8192, 2
LENGTHS = (1, 100, 1000, 1024, 1025, 2049, 4000, 4096, 8192)
LAYOUTS = {"per-layer": kvpager.PER_LAYER, "token-major": kvpager.TOKEN_MAJOR, "token-major-fused": kvpager.TOKEN_MAJOR_FUSED}


def say(**fields):
    print(json.dumps(fields), flush=True)


def sdpa(backend):
    def run(q, k, v):
        with sdpa_kernel(backend):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)
    return run


def triton_decode():
    import triton
    import triton.language as tl

    @triton.jit
    def kernel(q, k, v, out, length, k_head, k_token, v_head, v_token, DIM: tl.constexpr, BLOCK: tl.constexpr):
        head, query = tl.program_id(0), tl.program_id(1)
        columns, tokens = tl.arange(0, DIM), tl.arange(0, BLOCK)
        at = (head * tl.num_programs(1) + query) * DIM + columns
        queries = tl.load(q + at).to(tl.float32)
        most, weight, total = -float("inf"), 0.0, tl.zeros([DIM], tl.float32)
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

    def run(q, k, v):
        out = torch.empty_like(q)
        kernel[(q.shape[1], q.shape[2])](q, k, v, out, k.shape[2], k.stride(1), k.stride(2), v.stride(1), v.stride(2), DIM, 64)
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

    def __init__(self, conn, layout, max_tokens):
        self.cache = kvpager.Cache(conn, 2, HEADS, DIM, ROWS, max_tokens, LAYOUTS[layout])
        self.row = self.cache.acquire(1)
        self.length = 0
        self.theirs = [torch.from_dlpack(self.cache.tensor(1, part)) for part in (kvpager.K, kvpager.V)]
        t = self.theirs[0]
        extra = (ROWS - 1) * t.stride(0) + (max_tokens - 1) * t.stride(1) + HEADS * DIM
        self.own = [torch.zeros(extra, dtype=torch.float16, device="cuda").as_strided(t.shape, t.stride()) for _ in range(2)]
        assert t.dtype == torch.float16 and t.is_cuda, t

    def grow(self, length):
        self.cache.step({self.row: length})
        for theirs, own in zip(self.theirs, self.own):
            fresh = torch.randn(length - self.length, HEADS, DIM, dtype=torch.float16, device="cuda")
            own[self.row, self.length:length].copy_(fresh)
            theirs[self.row, self.length:length].copy_(fresh)
        self.length = length

    def views(self, tensors):
        return [t[self.row:self.row + 1, :self.length].transpose(1, 2) for t in tensors]

    def same(self, run, queries):
        q = torch.randn(1, HEADS, queries, DIM, dtype=torch.float16, device="cuda")
        theirs, own = run(q, *self.views(self.theirs)), run(q, *self.views(self.own))
        torch.cuda.synchronize()
        assert not torch.isnan(own).any()
        return torch.equal(theirs, own)

    def close(self):
        torch.cuda.synchronize()
        self.cache.release(self.row)
        self.cache.destroy()


def kernels(conn):
    for layout in LAYOUTS:
        for name, make in KERNELS.items():
            scene, lengths, equal = Scene(conn, layout, MAX_TOKENS), 0, True
            try:
                run = make()
                for length in LENGTHS:
                    scene.grow(length)
                    for queries in (1, 16):
                        equal = scene.same(run, queries) and equal
                    lengths += 1
                say(name="kernel", kernel=name, layout=layout, equal=equal, lengths=lengths)
            except Exception as e:  # a kernel that this GPU or this torch has not: said, and on with the others
                say(name="kernel", kernel=name, layout=layout, equal=None, why=str(e).splitlines()[0][:200] if str(e) else repr(e))
            scene.close()


def overread(conn, name):
    """Row 0 of full length: what follows is row 1, of which nothing is mapped."""
    page = conn.device().page_size
    tokens = page // (HEADS * DIM * 2) * 4
    scene = Scene(conn, "per-layer", tokens)
    assert scene.row == 0
    scene.grow(tokens)
    run = KERNELS[name]()
    for queries in (1, 16, 128):
        assert scene.same(run, queries)
    say(name="overread", kernel=name, overread=False, tokens=tokens)


def main():
    torch.manual_seed(1)
    torch.zeros(1, device="cuda")  # makes the primary context, which the library then takes
    conn = kvpager.Connection(sys.argv[1])
    if sys.argv[2] == "kernels":
        say(name="torch", version=torch.__version__, device=torch.cuda.get_device_name())
        kernels(conn)
        return
    try:
        overread(conn, sys.argv[3])
    except Exception as e:
        fault = "illegal memory access" in str(e)
        say(name="overread", kernel=sys.argv[3], overread=True if fault else None, why=str(e).splitlines()[0][:200] if str(e) else repr(e))


if __name__ == "__main__":
    main()
