# SPDX-License-Identifier: MIT
"""Whole traces at full geometry on a device of 0.7 times what a paged allocator would take: all done, few preemptions, nothing left."""
import os

from replay import LONG, TRACES, leftovers, replay

ARGUMENTS = ("--no-compute", "--geometry", "llama3-8b", "--layout", "token-major-fused")
loads = [["--trace", os.path.join(TRACES, name)] + ([] if LONG else ["--requests", str(n)])
         for name, n in (("azure-llm-2023-code.csv", 3000), ("mooncake-fast25-synthetic.jsonl", 400))]
if not all(os.path.exists(load[1]) for load in loads):
    print("no traces in KVPAGER_TRACES: made-up loads instead")
    loads = [["--requests", "1000", "--seed", "1"], ["--requests", "1000", "--seed", "2"]]

before = leftovers()
for load in loads:
    free = replay(*load, *ARGUMENTS)
    assert free["preemptions"] == 0 and free["requests_completed"] == free["requests"], free
    assert free["extents_per_cold_prompt"] <= 6 or "mooncake" in str(load), free["extents_per_cold_prompt"]
    capacity = str(int(free["paged16_peak_bytes"] * 0.7))
    for crew in (("--tenants", "1"), ("--tenants", "2")):
        tight = replay(*load, *ARGUMENTS, *crew, "--capacity", capacity)
        assert tight["requests_completed"] + tight["requests_rejected"] == tight["requests"], tight
        assert tight["preemptions"] <= 1.1 * tight["preemptions_paged16"], (tight["preemptions"], tight["preemptions_paged16"])
    # The same again, to the page, though the tenants take memory from each other.
    again = replay(*load, *ARGUMENTS, *crew, "--capacity", capacity)
    for peak in ("peak_live_bytes", "peak_idle_bytes", "paged16_peak_bytes", "preemptions", "virtual_seconds"):
        assert again[peak] == tight[peak], (peak, again[peak], tight[peak])

# Planes that end within a page each, and sizes that divide nothing: rows of these take a tenth to a half more than blocks would,
# which admission counts with, so that it costs no preemptions.
for layout, page, geometry, capacity, seed in (("per-layer", "512K", "layers=3,kv_heads=2,head_dim=64", "89500000", "65"),
                                               ("per-layer", "64K", "layers=5,kv_heads=1,head_dim=80", "112500000", "8"),
                                               ("per-layer", "64K", "layers=2,kv_heads=1,head_dim=33", "11100000", "31"),
                                               ("token-major", "128K", "layers=9,kv_heads=1,head_dim=33", "62200000", "3")):
    for tenants in "1", "3":
        r = replay("--no-compute", "--requests", "300", "--seed", seed, "--geometry", geometry, "--layout", layout, "--page-size", page,
                   "--capacity", capacity, "--tenants", tenants)
        assert r["requests_completed"] + r["requests_rejected"] == r["requests"], r
        assert r["preemptions"] <= 1.1 * r["preemptions_paged16"], (layout, geometry, r["preemptions"], r["preemptions_paged16"])
assert leftovers() <= before + 4096, "the kernel holds %d KiB more than before" % (leftovers() - before)
