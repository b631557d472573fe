# SPDX-License-Identifier: MIT
"""Whole traces at full geometry on a device of 0.7 times what a paged allocator would take: all done, few preemptions, nothing left."""
import os
import shutil
import xml.etree.ElementTree

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
    for crew, pages in ((("--tenants", "1"), 0), (("--tenants", "2"), 4)):
        tight = replay(*load, *ARGUMENTS, *crew, "--capacity", capacity)
        assert tight["requests_completed"] + tight["requests_rejected"] == tight["requests"], tight
        assert tight["preemptions"] <= 1.1 * tight["preemptions_paged16"], (tight["preemptions"], tight["preemptions_paged16"])
        # The same again, to the page; where tenants take memory from each other and one answers late, to a few pages of what is idle.
        again = replay(*load, *ARGUMENTS, *crew, "--capacity", capacity)
        for peak in ("peak_live_bytes", "paged16_peak_bytes", "preemptions", "virtual_seconds"):
            assert again[peak] == tight[peak], (peak, again[peak], tight[peak])
        assert abs(again["peak_idle_bytes"] - tight["peak_idle_bytes"]) <= pages << 21, (again, tight)

# A request that comes ever so late is not done before it comes.
with open("far.jsonl", "w") as f:
    for usec in (0, 10**15):
        f.write('{"timestamp": %d, "input_length": 10, "output_length": 1}\n' % usec)
far = replay("--trace", "far.jsonl", "--no-compute", "--speed", "0.001")
assert far["requests_completed"] == 2 and far["virtual_seconds"] >= 1e12, far

# What is compared with has the same load, whichever clock counts.
with open("sped.jsonl", "w") as f:
    for i in range(20):
        f.write('{"timestamp": %d, "input_length": 400, "output_length": 100}\n' % (i * 60000))
sped = [replay("--trace", "sped.jsonl", "--speed", "100000", "--capacity", "256M", *clock) for clock in ((), ("--no-compute",))]
assert sped[0]["paged16_peak_bytes"] == sped[1]["paged16_peak_bytes"] > 10 * 500 * 2048, sped
assert sped[0]["virtual_seconds"] >= 19 * 60, "by the trace's clock"

# A name that is no UTF-8 spoils neither the JSON nor the picture.
name = os.fsencode("t") + b"\xff\xe4\xc3\xa4&\x01.jsonl"
shutil.copy("far.jsonl", name)
named = replay("--trace", name, "--no-compute", "--plot", "t.svg")
assert named["trace"] == "t\ufffd\ufffd\u00e4&\x01.jsonl", named["trace"]
texts = [text.text for text in xml.etree.ElementTree.parse("t.svg").iter("{http://www.w3.org/2000/svg}text")]
assert any(text.startswith("t\ufffd\ufffd\u00e4__.jsonl, tiny") for text in texts), texts
assert leftovers() <= before + 4096, "the kernel holds %d KiB more than before" % (leftovers() - before)
