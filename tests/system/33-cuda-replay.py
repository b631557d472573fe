# SPDX-License-Identifier: MIT
"""kvpager-replay on the stand-in for a GPU: kernels are loaded and launched over mapped memory, in several processes of two tenants
that press each other; attention is that over plain memory bit for bit, and the same as on the host; bugs of a driver are found."""
import json
import os
import subprocess

from box import BIN, Daemon, MIB, TESTS, temporary_folder, until

TENANTS = "[tenant t0]\nmatch = any\n[tenant t1]\nmatch = any\n"
STANDIN = dict(KVP_STANDIN_STATE=os.path.join(temporary_folder(), "state"), KVP_STANDIN_MEMORY=str(256 * MIB),
               LD_LIBRARY_PATH=":".join(filter(None, [TESTS + "/standin", os.environ.get("LD_LIBRARY_PATH")])))


def replay(daemon, *arguments, good=True, **env):
    done = subprocess.run([BIN + "/kvpager-replay", *arguments, "--json"], capture_output=True, text=True, timeout=100,
                          stdin=subprocess.DEVNULL, env=dict(os.environ, KVPAGER_SOCKET=daemon.socket, **env))
    assert (done.returncode == 0) == good, (arguments, done.returncode, done.stderr)
    return json.loads(done.stdout) if good else done.stderr


def gpu(capacity):
    os.environ.update(STANDIN)
    return Daemon("[device gpu]\nbackend = cuda\ncapacity = %s\n%s" % (capacity, TENANTS))


def host(capacity):
    return Daemon("[device memory]\nbackend = host\ncapacity = %s\n%s" % (capacity, TENANTS))


# What is generated does not depend on where memory is short, nor on who computes: the same as on the host.
LOAD = ("--requests", "40", "--max-tokens", "2500", "--tenants", "2", "--workers", "2", "--verify")
for layout, capacity in (("token-major-fused", "10M"), ("token-major", "12M"), ("per-layer", "40M")):
    results = []
    for kind in (host, gpu) if layout == "token-major" else (gpu,):
        daemon = kind(capacity)
        r = replay(daemon, *LOAD, "--layout", layout)
        assert r["requests_completed"] > 12 and r["verify_mismatches"] == 0, r
        assert r["returns"] > 0 or layout == "per-layer", "the device never filled up: nothing was verified under pressure"
        results.append((r["requests_completed"], r["attention_checksum"]))
        until(daemon.empty, "everything came back")
        daemon.stop()
    assert results[0] == results[-1], (layout, results)

daemon = gpu("48M")
# No size divides another, and each type has its kernel.
for kind, layout in (("bf16", "per-layer"), ("fp32", "token-major")):
    r = replay(daemon, "--requests", "8", "--max-tokens", "1000", "--verify", "--layout", layout, "--geometry",
               "layers=3,kv_heads=3,head_dim=33,query_heads=6,type=" + kind)
    assert r["requests_completed"] > 3 and r["verify_mismatches"] == 0, r
r = replay(daemon, "--requests", "60", "--tenants", "2", "--no-compute")
assert r["requests_completed"] == 60, r

# A driver that shows another page, or hands on what was another's, is found out.
for plant in ("page:3",):
    for how in (["--verify"], ["--no-compute", "--workers", "1"]):
        why = replay(daemon, "--requests", "8", "--max-tokens", "2000", "--layout", "per-layer", *how, good=False,
                     KVP_STANDIN_PLANT=plant)
        assert "mismatches" in why and ("attention differs" in why or "page" in why), why
until(daemon.empty, "everything came back")
daemon.check()

# What cannot be computed is said.
for symbol, nth, result, word in (("cuModuleLoadData", 1, 209, "kernels"), ("cuLaunchKernel", 5, 999, "kvp_"),
                                  ("cuMemcpyDtoH_v2", 3, 700, "cuMemcpyDtoH"), ("cuMemAlloc_v2", 9, 2, "verify against")):
    why = replay(daemon, "--requests", "4", "--max-tokens", "600", "--verify", good=False,
                 KVP_STANDIN_FAULT="%s:%d:%d" % (symbol, nth, result))
    assert word in why, (symbol, why)
why = replay(daemon, "--requests", "4", good=False, KVPAGER_KERNELS=daemon.config)
assert "KVPAGER_KERNELS" in why, why
why = replay(daemon, "--requests", "4", good=False, KVP_STANDIN_DEVICES="0")
assert "no GPU" in why, why
until(daemon.empty, "everything came back")
daemon.stop()

os.environ["KVP_STANDIN_PLANT"] = "stale:2"
daemon = gpu("32M")
del os.environ["KVP_STANDIN_PLANT"]
why = replay(daemon, "--requests", "12", "--max-tokens", "2000", "--layout", "per-layer", "--verify", good=False)
assert "stale page" in why, why
daemon.stop()
