# SPDX-License-Identifier: MIT
"""On a daemon that is not its own the replay rejects at once what a tenant could never hold, and completes the rest."""
import os
import resource
import subprocess

from box import BIN, Daemon, until
from replay import replay

PAGE = 65536
REQUESTS = 40
CSV = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
LOAD = ["--requests", str(REQUESTS), "--max-seqs", "4", "--geometry", "tiny", "--layout", "token-major-fused"]
DEVICE = "[device d]\ncapacity = %s\npage-size = 64K\n"
TENANT = "[tenant %s]\nmatch = any\nmemory.max = %s\n"


def fitting(pages):
    """How many requests of the load fit into so many pages, by a daemon of the replay's own that has no more."""
    return replay(*LOAD, "--no-compute", "--page-size", "64K", "--capacity", str(pages * PAGE))["requests_completed"]


expected = {0: 0, 32: fitting(32), 1024: REQUESTS}
assert 0 < expected[32] < REQUESTS, expected
BOTH = (["--no-compute"], ["--verify"])
VIRTUAL = BOTH[:1]
for config, arguments, modes, pages in (
        (DEVICE % "64M" + TENANT % ("t0", "2M"), [], BOTH, 32),
        (DEVICE % "2M" + TENANT % ("t0", "64M"), [], BOTH, 32),
        (DEVICE % "64M" + TENANT % ("default", "2M"), ["--tenants", "2"], BOTH, 32),
        (DEVICE % "64M" + TENANT % ("t0", "2M"), ["--tenants", "2"], VIRTUAL, 32),
        (DEVICE % "64M" + TENANT % ("t0", "32K"), [], BOTH, 0),
        (DEVICE % "64M" + TENANT % ("t0", "max"), [], VIRTUAL, 1024)):
    daemon = Daemon(config=config)
    os.environ["KVPAGER_SOCKET"] = daemon.socket
    for mode in modes:
        r = replay(*LOAD, *arguments, *mode)
        found = r["requests_completed"], r["requests_rejected"]
        assert found == (expected[pages], REQUESTS - expected[pages]), (config, arguments, mode, r)
        assert r["verify_mismatches"] == 0 and not r["private_daemon"], r
        assert r["peak_live_bytes"] <= r["capacity_bytes"] == pages * PAGE, r
    until(daemon.empty, "everything came back")
    assert "no [tenant]" not in daemon.text(), daemon.text()
    daemon.stop()

# Each tenant by its own limit: t1 takes what t0 cannot.
daemon = Daemon(config=DEVICE % "64M" + TENANT % ("t0", "2M") + TENANT % ("t1", "max"))
os.environ["KVPAGER_SOCKET"] = daemon.socket
for mode in BOTH:
    r = replay(*LOAD, "--tenants", "2", *mode)
    assert 0 < r["requests_rejected"] < REQUESTS - expected[32], r
    assert r["requests_completed"] + r["requests_rejected"] == REQUESTS, r
daemon.check()
daemon.stop()

# What fits is not given up because it had to wait long: a device of one page, which another worker held all the while.
del os.environ["KVPAGER_SOCKET"]
ONE_PAGE = ["--geometry", "layers=1,kv_heads=1,head_dim=8", "--layout", "token-major-fused", "--page-size", "64K", "--capacity", "64K",
            "--no-compute"]
with open("one-page.csv", "w") as f:
    f.write(CSV + "2023-11-16 18:15:46,10,200\n2023-11-16 18:15:46,10,10\n")
for load, n in ((["--trace", "one-page.csv", "--workers", "2"], 2), (["--trace", "one-page.csv", "--tenants", "2"], 2),
                (["--scenario", "hungry", "--requests", "20", "--tenants", "2"], 20)):
    r = replay(*load, *ONE_PAGE)
    assert (r["requests_completed"], r["requests_rejected"]) == (n, 0), (load, r)

# A guarantee is of whole pages: what those of the others leave is two pages, not three.
with open("three-pages.csv", "w") as f:
    f.write(CSV + "2023-11-16 18:15:46,90,5\n2023-11-16 18:15:46,60,3\n")
r = replay("--trace", "three-pages.csv", "--tenants", "3", "--mins", "4K,4K,4K", "--layout", "token-major-fused", "--page-size", "64K",
           "--capacity", "256K", "--no-compute")
assert (r["requests_completed"], r["requests_rejected"]) == (1, 1), r


def fails(*arguments, **options):
    """What would fit and gets no memory is no success: the last words of a replay that failed."""
    done = subprocess.run([BIN + "/kvpager-replay", *arguments, "--no-compute"], capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 1 and "no memory for a request that would fit" in done.stderr, (done.returncode, done.stderr, done.stdout)
    return done.stderr


# A daemon that may not open enough files for one sequence; and one whose memory another worker holds.
assert "ulimit -n" in fails("--requests", "20", "--geometry", "llama3-405b",
                            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)))
daemon = Daemon(config=DEVICE % "4M" + TENANT % ("t0", "max"))
worker = daemon.worker("t0")
worker.create()
worker.grow(worker.acquire(1920), 1920)
os.environ["KVPAGER_SOCKET"] = daemon.socket
fails(*LOAD)
worker.quit()
r = replay(*LOAD, "--no-compute")
assert r["requests_completed"] > REQUESTS / 2 and r["requests_completed"] + r["requests_rejected"] == REQUESTS, r
daemon.stop()

# One request that can never fit is rejected, however long it is; an address space that is too small is named.
del os.environ["KVPAGER_SOCKET"]
with open("huge.jsonl", "w") as f:
    f.write('{"timestamp": 0, "input_length": 10, "output_length": 1}\n'
            '{"timestamp": 0, "input_length": 268435456, "output_length": 268435456}\n')
r = replay("--trace", "huge.jsonl", "--verify", "--capacity", "64M", "--layout", "token-major-fused")
assert (r["requests_completed"], r["requests_rejected"], r["max_tokens"]) == (1, 1, 11), r
done = subprocess.run([BIN + "/kvpager-replay", "--trace", "huge.jsonl", "--capacity", "64M", "--max-tokens", "536870912"],
                      capture_output=True, text=True, timeout=60)
assert done.returncode == 1 and "128 rows (--max-seqs) of 536870912 tokens (--max-tokens)" in done.stderr, done.stderr

# A page of less than 16 tokens is no block, but has room for some: the yardstick has one block for them.
with open("short.csv", "w") as f:
    f.write(CSV + "2023-11-16 18:15:46,5,3\n" * 4 + "2023-11-16 18:15:46,5,4\n")
r = replay("--trace", "short.csv", "--geometry", "layers=16,kv_heads=2,head_dim=64", "--layout", "token-major-fused", "--page-size", "64K",
           "--capacity", "64K", "--no-compute")
assert (r["requests_completed"], r["requests_rejected"], r["paged16_peak_bytes"]) == (4, 1, 16 * 8192), r

# A device of one sequence, whose planes are of two classes: nobody is pressed for the smaller one alone, so tenants take turns.
r = replay("--scenario", "hungry", "--requests", "16", "--no-compute", "--geometry", "layers=33,kv_heads=1,head_dim=16",
           "--page-size", "64K", "--capacity", "4224K")
assert r["requests_completed"] == 16, r
