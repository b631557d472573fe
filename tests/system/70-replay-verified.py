# SPDX-License-Identifier: MIT
"""Attention over paged memory equals attention over plain memory, bit for bit: layouts x page sizes, two tenants, a
device that fills up."""
import os

from replay import LONG, TRACES, leftovers, replay

AZURE = os.path.join(TRACES, "azure-llm-2023-code.csv")
LOAD = ["--trace", AZURE] if os.path.exists(AZURE) else []
if not LOAD:
    print("no azure-llm-2023-code.csv in KVPAGER_TRACES: a made-up load of its kind instead")
REQUESTS = 500 if LONG else 100

before = leftovers()
for layout in ("per-layer", "token-major", "token-major-fused"):
    for page_size in ("64K", "2M"):
        r = replay(*LOAD, "--requests", str(REQUESTS), "--tenants", "2", "--verify", "--geometry", "tiny", "--layout", layout,
                   "--page-size", page_size)
        assert r["requests_completed"] == REQUESTS and r["requests_rejected"] == 0, r
        assert r["verify_mismatches"] == 0, r
        assert r["returns"] > 0, "the device never filled up: nothing was verified under pressure"
        assert r["peak_live_bytes"] <= r["capacity_bytes"], r
        if page_size == "64K":
            assert r["grants_after_prefill"] >= r["requests_completed"] / 2, r["grants_after_prefill"]
# No size divides another: a head's vector lies across two pages, of which one may be an old one and the other fresh.
for layout in ("per-layer", "token-major", "token-major-fused"):
    r = replay("--requests", "40", "--max-tokens", "3000", "--verify", "--geometry", "layers=3,kv_heads=3,head_dim=33,query_heads=6",
               "--layout", layout, "--page-size", "64K")
    assert r["requests_completed"] + r["requests_rejected"] == 40 and r["verify_mismatches"] == 0, r
    assert r["returns"] > 0, r
assert leftovers() <= before + 4096, "the kernel holds %d KiB more than before" % (leftovers() - before)
