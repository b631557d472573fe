# SPDX-License-Identifier: MIT
"""Two tenants that peak by turns get 1.5 times as much done as behind a wall between them, the same way each time, and what they compute
stays right while they take memory from each other."""
from replay import LONG, replay

SMALL = ["--page-size", "64K", "--layout", "token-major-fused"]
LARGE = ["--geometry", "llama3-8b", "--layout", "token-major-fused"]


def done(r):
    assert r["requests_completed"] == r["requests"] and r["verify_mismatches"] == 0, r
    assert r["peak_live_bytes"] <= r["capacity_bytes"], r
    return r


for seed, geometry, requests in [(1, SMALL, 400)] + [(s, g, 512) for s in range(2, 7) for g in (SMALL, LARGE)] * LONG:
    load = ["--scenario", "bursts", "--no-compute", "--seed", str(seed), "--requests", str(requests), *geometry]
    elastic, split = done(replay(*load)), done(replay(*load, "--fixed-split"))
    ratio = elastic["tokens_per_virtual_second"] / split["tokens_per_virtual_second"]
    print("seed %d: %.0f tokens a virtual second, %.0f behind a wall: %.2f times" % (
        seed, elastic["tokens_per_virtual_second"], split["tokens_per_virtual_second"], ratio))
    assert ratio >= 1.5, ratio
    half = elastic["capacity_bytes"] / 2
    for tenant, walled in zip(elastic["by_tenant"], split["by_tenant"]):
        assert tenant["peak_live_bytes"] > 1.8 * half, "each tenant's peak fills the device alone: %s" % tenant
        assert walled["peak_live_bytes"] <= half, walled
    assert 0 <= elastic["capacity_bytes"] - split["capacity_bytes"] < 2 * split["page_size"], "parts are whole pages"

# Two workers of each tenant, pressed by the other tenant's: the same again. Only look-ahead that meets memory on its way back is a matter
# of timing, a page at a time, and what follows from it.
load = ["--scenario", "bursts", "--no-compute", "--workers", "2", "--seed", "2", "--requests", "512" if LONG else "240", *SMALL]
first, second = done(replay(*load)), done(replay(*load))
assert first["preemptions_pressure"] > 0, "nobody was pressed"
for figure, tolerance in (("tokens", 0), ("virtual_seconds", first["virtual_seconds"] / 200), ("preemptions", 3),
                          ("peak_live_bytes", 8 * 65536), ("peak_idle_bytes", 8 * 65536)):
    assert abs(first[figure] - second[figure]) <= tolerance, (figure, first[figure], second[figure])

# Sequences that are preempted because others need the memory are computed anew, and every result is right.
r = done(replay("--scenario", "hungry", "--weights", "1,3", "--verify", "--requests", "400" if LONG else "60", "--capacity", "3M",
                "--page-size", "64K", "--geometry", "layers=2,kv_heads=1,head_dim=64", "--layout", "token-major"))
assert r["preemptions_pressure"] > 10, r
