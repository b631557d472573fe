# SPDX-License-Identifier: MIT
"""What is to run on a GPU, on the stand-in for one: each program answers, nothing is left behind, and no figure is taken for a result."""
import argparse
import importlib.machinery
import importlib.util
import json
import os
import shutil
import subprocess
import sys

from box import BIN, MIB, TESTS, temporary_folder
from standin import FOLDER, setup

GPU = os.path.join(os.environ["KVP_TOP"], "tests/gpu")
setup(memory=4096 * MIB)

# A bundle as `make gpu-bundle` lays it out.
bundle = temporary_folder()
os.makedirs(bundle + "/bin")
os.symlink(os.environ["KVP_LIB"], bundle + "/lib")
for path in [BIN + "/" + name for name in ("kvpagerd", "kvpagerctl", "kvpager-replay")] + [
        TESTS + "/" + name for name in ("gpu-probe", "gpu-speed", "gpu-attention")]:
    os.symlink(path, bundle + "/bin/" + os.path.basename(path))
for name in ("run", "kvpager.py", "torch_kernels.py"):
    os.symlink(GPU + "/" + name, bundle + "/" + name)
done = subprocess.run([sys.executable, bundle + "/run", "--small", "--out", bundle + "/out"], capture_output=True, text=True,
                      timeout=140)
assert done.returncode == 0, done.stdout + done.stderr
with open(bundle + "/out/results.json") as f:
    result = json.load(f)
with open(bundle + "/out/results.md") as f:
    text = f.read()
assert result["stand_in"] and "stand-in" in result["device"] and "no figure is a result" in text, result["device"]
rows = result["rows"]
errors = [r for r in rows if r["name"] == "error" or "why" in r and r.get("group") != "torch"]
assert not errors and not result["notes"], (errors, result["notes"])

# Each question is asked, and the stand-in answers as strictly as it is.
answers = {r["name"]: r["answer"] for r in rows if r["group"] == "probe"}
questions = subprocess.run([TESTS + "/gpu-probe", "list"], capture_output=True, text=True, check=True).stdout.split()
assert sorted(answers) == sorted(questions) and len(questions) > 20, (answers, questions)
for name in ("kernels_load_and_run", "create_without_context", "set_access_over_many_handles", "map_one_handle_twice",
             "no_access_before_set_access", "read_only_faults_on_write", "fd_outlives_exporter", "mapping_outlives_exporter",
             "fresh_memory_is_scrubbed", "reexport_of_import", "mapping_alone_keeps_memory", "capture_survives_mapping"):
    assert answers[name] == "yes", (name, answers[name])
for name in ("map_smaller_than_handle", "map_at_offset", "unmap_several_at_once", "unmap_part_of_a_mapping", "host_numa_export",
             "set_access_over_part_of_a_mapping", "capture_survives_waiting"):
    assert answers[name] == "no", (name, answers[name])

replays = [r for r in rows if r["group"] == "replay"]
assert len(replays) == 3 and all(r["good"] and r["requests_completed"] > 3 for r in replays), replays
attention = [r for r in rows if r["name"] == "attention"]
assert len(attention) == 3 * 2 * 2 and all(r["differing"] == 0 and r.get("reference_error", 0) == 0 for r in attention), attention
trials = [r for r in rows if r["name"] == "reference"]
assert len(trials) == 3 * 2 * 3 and all(r["reference_error"] == 0 for r in trials), trials
names = {r["name"] for r in rows}
assert names >= {"cost", "footprint", "kvpager_64_as_1", "kvpager_64_in_64_planes", "kvpager_new_64_as_1", "steps_still",
                 "steps_growing"}, names
footprint = next(r for r in rows if r["name"] == "footprint")
assert footprint["mib"] == 0 and footprint["made_mib"] >= 512, footprint
assert len(result["judged"]) > 12 and any(j["met"] is None for j in result["judged"]), result["judged"]

# A driver under which something does not hold is told so: memory that was not cleaned is seen.
seen = subprocess.run([TESTS + "/gpu-probe", "--small", "fresh_memory_is_scrubbed"], capture_output=True, text=True, timeout=60,
                      env=dict(os.environ, KVP_STANDIN_PLANT="stale:1"))
assert json.loads(seen.stdout)["answer"] == "no", seen.stdout
# All of it is looked at that can be had: 64 MiB at a time, and the fourth is the last of 256.
seen = subprocess.run([TESTS + "/gpu-probe", "fresh_memory_is_scrubbed"], capture_output=True, text=True, timeout=60,
                      env=dict(os.environ, KVP_STANDIN_PLANT="stale:4", KVP_STANDIN_MEMORY=str(256 * MIB)))
assert json.loads(seen.stdout)["answer"] == "no", seen.stdout
short = subprocess.run([TESTS + "/gpu-probe", "fresh_memory_is_scrubbed"], capture_output=True, text=True, timeout=60,
                       env=dict(os.environ, KVP_STANDIN_FAULT="cuMemCreate:2:2", KVP_STANDIN_MEMORY=str(256 * MIB)))
assert json.loads(short.stdout)["answer"] == "unknown", short.stdout
# A driver that refuses what one question is about can still run kernels, and all that needs those.
os.environ["KVP_STANDIN_READ"] = "0"
refused = subprocess.run([TESTS + "/gpu-probe", "--small", "read_only_faults_on_write"], capture_output=True, text=True, timeout=60)
assert json.loads(refused.stdout)["answer"] == "unknown", refused.stdout
loader = importlib.machinery.SourceFileLoader("run", bundle + "/run")
run = importlib.util.module_from_spec(importlib.util.spec_from_loader("run", loader))
loader.exec_module(run)
bench = run.Bench(argparse.Namespace(minutes=1, small=True, out=bundle + "/out-of-parts"))
bench.kernels()
assert bench.can_compute and not bench.notes, (bench.rows, bench.notes)


def goes_wrong():
    raise ValueError("as it happens")


# A part that goes wrong takes nothing from the others.
bench.part(goes_wrong)
with open(bench.options.out + "/results.json") as f:
    found = json.load(f)["rows"]
assert found[0]["answer"] == "yes" and found[1]["name"] == "error" and "as it happens" in found[1]["why"], found
shutil.rmtree(bench.folder)
del os.environ["KVP_STANDIN_READ"]
# Each figure is of the call that it names: to reserve is no part of create, and release is that of what was created.
def first_cost(delay):
    done = subprocess.run([TESTS + "/gpu-speed", "--small", "costs"], capture_output=True, text=True, timeout=60, check=True,
                          env=dict(os.environ, KVP_STANDIN_DELAY=delay))
    return json.loads(done.stdout.splitlines()[0])


assert first_cost("cuMemAddressReserve:100000")["create"] < 100000
cost = first_cost("cuMemRelease:20000:2")  # the first is that of the import
assert cost["release"] >= 20000 > cost["release_import"], cost
assert all(call in cost for call in run.CALLS), (cost, run.CALLS)
# Kernels that were asked for are measured, or none; and what cannot be known is said to be unknown.
missing = subprocess.run([TESTS + "/gpu-probe", "kernels_load_and_run"], capture_output=True, text=True, timeout=60,
                         env=dict(os.environ, KVPAGER_KERNELS=bundle + "/none"))
assert missing.returncode == 1 and "KVPAGER_KERNELS" in missing.stdout and "No such file" in missing.stdout, missing
junk = os.path.join(temporary_folder(), "junk")
with open(junk, "w") as f:
    f.write("these are no kernels")
unanswered = subprocess.run([TESTS + "/gpu-probe", "no_access_before_set_access"], capture_output=True, text=True, timeout=60,
                            env=dict(os.environ, KVPAGER_KERNELS=junk))
assert json.loads(unanswered.stdout)["answer"] == "unknown" and "module_load" in unanswered.stdout, unanswered.stdout
blind = os.path.join(temporary_folder(), "blind")
os.mkdir(blind)
os.symlink(FOLDER + "/libcuda.so.1", blind + "/libcuda.so.1")
unseen = subprocess.run([TESTS + "/gpu-probe", "footprint_without_context_mib"], capture_output=True, text=True, timeout=60,
                        env=dict(os.environ, LD_LIBRARY_PATH=blind))
assert json.loads(unseen.stdout)["answer"] == "unknown" and "NVML" in unseen.stdout, unseen
for name in ("mapping_alone_keeps_memory", "mapping_outlives_exporter"):
    kept = subprocess.run([TESTS + "/gpu-probe", "--small", name], capture_output=True, text=True, timeout=60,
                          env=dict(os.environ, KVP_STANDIN_UNKEPT="1"))
    assert json.loads(kept.stdout)["answer"] == "no", kept.stdout
none = subprocess.run([TESTS + "/gpu-probe", "granularity_bytes"], capture_output=True, text=True, timeout=60,
                      env=dict(os.environ, KVP_STANDIN_DEVICES="0"))
assert none.returncode == 1 and "no GPU" in none.stdout, none
