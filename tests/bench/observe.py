#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What it costs to be observed: a replay with everything attached against one without, by turns, and each kind of probe by itself.

    tests/bench/observe.py [--rounds N] [--requests N] FOLDER

FOLDER is a build folder. Needs root, for it loads programs. The replay is the same each time: real attention over memory that is
short. Its cost is CPU time of all its processes, private kvpagerd included, and wall time; of both the median of the rounds'
ratios, on to off, which a busy machine blurs; "by hits" is what the hits of a round cost by the figures above. A probe's cost
is the difference of a call that is attached to and of one that is not, in a loop; of tracepoints, what the kernel itself counts.
"""

import argparse
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOOPS = 200000

# Functions that begin with what it says; each is called by its address, as a library's are.
FUNCTIONS = """
#define FUNCTION(name, begin, end)                                              \\
        __asm__(".globl " #name "\\n.type " #name ",@function\\n" #name ": " begin "\\n" \\
                "mov $1,%eax\\n" end "\\nret\\n.size " #name ",.-" #name "\\n");
FUNCTION(cuMemCreate, "push %rbx", "pop %rbx")
FUNCTION(cuMemRelease, "endbr64", "")
FUNCTION(cuMemMap, "sub $8,%rsp", "add $8,%rsp")
FUNCTION(cuMemUnmap, "nop", "")
"""
PROBE = """
#include "probe.h"
void probe(void) { PROBE3(map_done, 1, 2, 3); }
"""
MAIN = """
#include <dlfcn.h>
#include <stdio.h>
#include <time.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); return t.tv_sec * 1e9 + t.tv_nsec; }
int main(void)
{
        const char *names[] = { "cuMemCreate", "cuMemUnmap", "cuMemRelease", "cuMemMap", "probe" };
        void *library = dlopen("./libcuda.so.1", RTLD_NOW), *probes = dlopen("./libkvpager.so.0", RTLD_NOW);
        void (*functions[5])(long, long, long, long);
        for (int i = 0; i < 5; i++)
                *(void **)&functions[i] = dlsym(i < 4 ? library : probes, names[i]);
        puts("ready"); fflush(stdout);
        getchar();
        for (int i = 0; i < 5; i++) {
                double began = now();
                for (int k = 0; k < LOOPS; k++)
                        functions[i](0, 0, 0, 0);
                printf("%s %.1f\\n", names[i], (now() - began) / LOOPS);
        }
        return 0;
}
"""


class Observer:
    """A service of our own."""

    def __init__(self, bin_folder, folder, *arguments):
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = folder + "/notify"
        if os.path.exists(path):
            os.unlink(path)
        ready.bind(path)
        ready.settimeout(60)
        self.env = dict(os.environ, NOTIFY_SOCKET=path, KVPAGER_OBSERVE_SOCKET=folder + "/observe", KVPAGER_SOCKET=folder + "/s")
        self.program = bin_folder + "/kvpager-observe"
        self.process = subprocess.Popen([self.program, *arguments], env=self.env, stderr=subprocess.DEVNULL)
        while b"READY=1" not in ready.recv(4096):
            pass

    def json(self):
        return json.loads(subprocess.run([self.program, "--json"], env=self.env, capture_output=True, check=True).stdout)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def replay(options, folder):
    """(CPU seconds, wall seconds)"""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([options.folder + "/bin/kvpager-replay", "--requests", str(options.requests), "--tenants", "2"],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, cwd=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, time.monotonic() - began


def throughput(options, folder, nsec_a_hit):
    cpu, wall, seconds = [], [], []
    for i in range(options.rounds):
        sides = {}
        for on in (False, True) if i % 2 else (True, False):
            observer = Observer(options.folder + "/bin", folder) if on else None
            sides[on] = replay(options, folder)
            if on:
                seen = observer.json()
                probes = seen["probes"]
                observer.end()
        seconds.append(sides[False][0])
        cpu.append(sides[True][0] / sides[False][0])
        wall.append(sides[True][1] / sides[False][1])
    hits = sum(p["hits"] or 0 for p in probes if p["kind"] == "usdt" and os.path.abspath(options.folder) in p["target"])
    print("replay of %d requests, %d rounds, %d hits of kvpager's probes in the last" % (options.requests, options.rounds, hits))
    print("  %-10s on/off %.6f" % ("by hits", 1 + hits * nsec_a_hit / 1e9 / statistics.median(seconds)))
    print("what else cost time in the last")
    for group in seen["machine"]["cgroups"]:
        for name, wait in group["mapper"].items():
            print("  mapper %-10s %6d times, %9.1f ms" % (name, wait["count"], wait["nsec"] / 1e6))
        print("  %d major faults; some waited for %s of the last 10 s" % (group["major_faults"], ", ".join(
            "%s %.1f %%" % (name, p["some"]["percent"]) for name, p in group["pressure"].items() if p)))
    for group in seen["pager"]["cgroups"]:
        for name, stall in group["stalls"].items():
            print("  stall %-11s %6d times, %9.1f ms" % (name, stall["count"], stall["nsec"] / 1e6))
    print("with all of it, times that without")
    for name, ratios in (("CPU time", cpu), ("wall time", wall)):
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        print("  %-10s on/off %.4f  (quartiles %.4f to %.4f)" % (name, middle, low, high))


def build(folder):
    for name, text, words in (("libcuda.so.1", FUNCTIONS, ["-shared"]), ("libkvpager.so.0", PROBE, ["-shared"]),
                              ("loop", MAIN, ["-DLOOPS=%d" % LOOPS])):
        with open("%s/%s.c" % (folder, name), "w") as f:
            f.write(text)
        subprocess.run(["gcc", "-O2", "-fPIC", "-w", "-I", TOP + "/client/proto", *words, "-o", "%s/%s" % (folder, name),
                        "%s/%s.c" % (folder, name), "-ldl"], check=True)


def loop(folder, attached):
    process = subprocess.Popen(["./loop"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    while not attached():
        time.sleep(0.1)
    text = process.communicate("\n")[0]
    return {line.split()[0]: float(line.split()[1]) for line in text.splitlines()}


def stats_of_programs():
    """By name: nanoseconds a run, as the kernel has counted."""
    programs = json.loads(subprocess.run(["/usr/sbin/bpftool", "-j", "prog", "show"], capture_output=True, check=True).stdout)
    return {p["name"]: p["run_time_ns"] / p["run_cnt"] for p in programs if p.get("run_cnt")}


def hits(options, folder):
    build(folder)
    off = [loop(folder, lambda: True) for _ in range(3)]
    with open("/proc/sys/kernel/bpf_stats_enabled", "r+") as f:
        was = f.read()
        f.seek(0)
        f.write("1")
    observer = Observer(options.folder + "/bin", folder, "--slow", "--libcuda", folder + "/libcuda.so.1")
    try:
        on = [loop(folder, lambda: any(p["attached"] and p["name"] == "map_done" and folder in p["target"]
                                       for p in observer.json()["probes"])) for _ in range(3)]
        for _ in range(300):
            subprocess.run(["/bin/true"], check=True)
        programs = stats_of_programs()
    finally:
        observer.end()
        with open("/proc/sys/kernel/bpf_stats_enabled", "w") as f:
            f.write(was)
    print("nanoseconds a hit")
    for name, what in (("cuMemCreate", "uprobe and uretprobe, push"), ("cuMemUnmap", "uprobe and uretprobe, nop"),
                       ("cuMemRelease", "uprobe and uretprobe, endbr64"), ("cuMemMap", "uprobe and uretprobe, sub rsp"),
                       ("probe", "usdt")):
        print("  %-32s %7.0f" % (what, min(o[name] for o in on) - min(o[name] for o in off)))
    nsec_a_hit = min(o["probe"] for o in on) - min(o["probe"] for o in off)
    print("of which the programs")
    for name in ("call_begins", "call_returns", "map_done", "process_exit", "memory_exit", "memory_exec", "switches"):
        if name in programs:
            print("  %-32s %7.0f" % (name, programs[name]))
    return nsec_a_hit


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("folder")
    options = parser.parse_args()
    options.folder = os.path.abspath(options.folder)
    if os.geteuid() != 0:
        sys.exit("it needs root, for it loads programs into the kernel")
    with tempfile.TemporaryDirectory() as folder:
        throughput(options, folder, hits(options, folder))


if __name__ == "__main__":
    main()
