# SPDX-License-Identifier: MIT
"""The unit under a real systemd: two capabilities do, it is an operator of kvpagerd, and the journal says how a worker ended."""
import json
import os
import signal

import observer  # noqa: F401: finds the modules of tests/system
from booted import Box, installed_tree
from box import until

with Box() as box:
    box.install_tree(installed_tree())
    box.systemctl("start", "kvpagerd.socket", "kvpager-observe.service")
    assert box.show("kvpager-observe.service", "ActiveState") == "active"
    with open(box.path("/proc/%s/status" % box.show("kvpager-observe.service", "MainPID"))) as f:
        facts = dict(line.rstrip().split(":\t", 1) for line in f if ":\t" in line)
    for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(facts[name], 16) == 1 << 38 | 1 << 39, (name, facts[name])
    assert facts["Uid"].split()[0] != "0" and facts["NoNewPrivs"] == "1" and facts["Seccomp"] == "2"

    worker = box.worker(user="nobody")

    def snapshot():
        return json.loads(box.run("kvpager-observe", "--json").stdout)

    until(lambda: snapshot()["kvpagerd"]["connected"], "it is connected", 20)
    probes = snapshot()["probes"]
    assert all(p["attached"] for p in probes if p["kind"] == "tp_btf"), probes
    until(lambda: any(p["attached"] for p in snapshot()["probes"] if p["name"] == "grant"), lambda: str(snapshot()["probes"]), 20)
    worker.create(rows=4, tokens=4096)
    worker.grow(worker.acquire(100), 100)
    worker.send("quit")
    worker.process.wait(20)

    def said():
        return [e for e in box.journal("-u", "kvpagerd") if e.get("KVPAGER_EVENT") == "worker_ended"]

    until(said, lambda: str(snapshot()["exits"]), 20)
    assert said()[0]["MESSAGE"].endswith("of tenant default exited with status 0"), said()
    assert sum(p["hits"] for p in snapshot()["probes"] if p["name"] == "grant" and p["attached"]) > 0
    box.systemctl("stop", "kvpager-observe.service")
    assert box.show("kvpager-observe.service", "Result") == "success"
