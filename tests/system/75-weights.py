# SPDX-License-Identifier: MIT
"""Tenants that all want more than they can have get what their weights say, above what they are guaranteed, within 5 %: by the daemon's own
list of tenants."""
from replay import LONG, replay

MIB = 1 << 20
GEOMETRIES = [["--page-size", "64K", "--layout", "token-major-fused"]]
if LONG:
    GEOMETRIES += [["--geometry", "llama3-8b", "--layout", "token-major-fused"], GEOMETRIES[0] + ["--workers", "2"]]


def shares(weights, mins, *arguments, requests=4000 if LONG else 750):
    r = replay("--scenario", "hungry", "--no-compute", "--requests", str(requests), "--weights", ",".join(map(str, weights)),
               *(["--mins", ",".join(map(str, mins))] if any(mins) else []), *arguments)
    assert r["requests_completed"] == r["requests"] and r["verify_mismatches"] == 0, r
    assert r["hungry_seconds"] > 3, r
    held = [tenant["hungry_bytes"] for tenant in r["by_tenant"]]
    assert sum(held) > 0.95 * r["capacity_bytes"], "the device was not full: %s of %s" % (held, r["capacity_bytes"])
    above = [h - m for h, m in zip(held, mins)]
    found = [a / sum(above) * sum(weights) / w for a, w in zip(above, weights)]
    print("weights %s, guaranteed %s: held %s, above that %s times their due, over %.0f virtual seconds" % (
        weights, mins, held, ["%.3f" % f for f in found], r["hungry_seconds"]))
    assert all(0.95 <= f <= 1.05 for f in found), found
    return r


for geometry in GEOMETRIES:
    shares([1, 2, 4], [0, 0, 0], *geometry)
    if "--geometry" not in geometry:
        shares([4, 2, 1], [0, 20 * MIB, 40 * MIB], *geometry)
