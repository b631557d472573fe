#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How much of what could be wrong in core and codec do the tests see?

    mutate.py [--n N] [--seed SEED] [--bar PERCENT] [--jobs J] [--only FILE] [--line LINE]

Makes N small wrong changes, each by itself, to daemon/core/*.c and client/proto/wire.c, at places that SEED chooses (the
same source and seed give the same mutants), and runs the tests beside each, the cheapest first, until one fails: that
mutant is killed. A mutant that does not compile, or that the optimiser turns into the very same object code, is no
mutant; another one takes its place.

A mutant costs one compilation and the linking of those test programs that are run: its object comes before the archives
of build/release and build/asan (`make mutants` builds them first), and so instead of the member of the same name.

Prints a line a mutant, what killed how many, and the survivors with their differences; the same goes to
build/mutants/report.txt. The exit status is 1 where fewer than PERCENT are killed, 2 where the tests fail without any
mutant.
"""

import argparse
import collections
import concurrent.futures
import difflib
import glob
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import operators  # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CODEC = "client/proto/wire.c"
CC = os.environ.get("CC", "gcc").split()
# Warnings are off: what a compiler would say of a mutant is luck. What is no C at all is not counted.
COMPILE = ["-std=gnu17", "-D_GNU_SOURCE=", "-w", "-Werror=int-conversion", "-Werror=incompatible-pointer-types",
           *["-I" + os.path.join(TOP, folder) for folder in ("daemon/base", "daemon/core", "client/proto")], "-c"]
VARIANTS = {"release": ["-O2", "-fPIE"],
            "asan": ["-O1", "-fPIE", "-fno-omit-frame-pointer", "-fsanitize=address,undefined",
                     "-fno-sanitize-recover=all"]}
LINK = ["-pie", "-Wl,--as-needed"]
ARCHIVES = ["testunit", "testsim", "testfuzz", "core", "base", "proto"]
LIBS = ["-lcriterion", "-pthread"]

UNIT = ["--jobs", "1", "--timeout", "20"]


def kept(name):
    return sorted(glob.glob(os.path.join(TOP, "tests", name)))


def seeds(first, last):
    return ["--seeds", "%d-%d" % (first, last), "--events", "2000"]


def core_tests():
    """The unit tests of the core, the one that takes longest last."""
    names = [os.path.basename(path)[: -len(".c")] for path in kept("unit/test-core-*.c")]
    return sorted(names, key=lambda name: (name == "test-core-memory", name))


# (what it is called, variant, test program, arguments, seconds), the cheapest first. A run takes a fifth of its seconds.
CORE_KILLERS = [
    ("golden traces", "release", "sim", ["--golden"] + kept("golden/*.txt"), 5),
    ("simulation, 5 seeds", "release", "sim", seeds(1, 5), 5),
    ("kept fuzz inputs", "release", "fuzz-core", kept("fuzz/core/*"), 5),
    *[(name, "release", name, UNIT, 20) for name in core_tests()],
    ("simulation, 200 seeds", "release", "sim", seeds(6, 200), 20),
    *[("sanitizers", "asan", name, UNIT, 30) for name in core_tests()[:-1]],
    ("sanitizers", "asan", "fuzz-core", kept("fuzz/core/*"), 20),
    ("sanitizers", "asan", "sim", seeds(1, 20), 30),
    ("simulation, 1000 seeds", "release", "sim", seeds(201, 1000), 60),
]
CODEC_KILLERS = [
    ("test-wire", "release", "test-wire", UNIT, 10),
    ("kept fuzz inputs", "release", "fuzz-wire", kept("fuzz/wire/*"), 5),
    ("sanitizers", "asan", "test-wire", UNIT, 30),
    ("sanitizers", "asan", "fuzz-wire", kept("fuzz/wire/*"), 30),
]
ENVIRONMENT = dict(os.environ, ASAN_OPTIONS="abort_on_error=1:detect_leaks=0", UBSAN_OPTIONS="print_stacktrace=0")

Mutant = collections.namedtuple("Mutant", "path at length text operator")


def killers_of(path):
    return CODEC_KILLERS if path == CODEC else CORE_KILLERS


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as file:
        return file.read()


def run_bounded(command, seconds, cwd):
    """The exit status; None: not done in so many seconds of processor time, or in twenty times that. Nothing it started is
    left."""
    child = subprocess.Popen(["prlimit", "--cpu=%d" % seconds] + command, cwd=cwd, env=ENVIRONMENT, start_new_session=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        status = child.wait(20 * seconds)
        return None if status == -signal.SIGXCPU else status
    except subprocess.TimeoutExpired:
        return None
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()


class Workshop:
    """A folder for one mutant at a time: its source, its objects, the programs that it is linked into."""

    def __init__(self, path, text):
        self.path, self.folder = path, tempfile.mkdtemp(prefix="kvp-mutant-")
        self.source = os.path.join(self.folder, os.path.basename(path))
        with open(self.source, "w", encoding="utf-8") as file:
            file.write(text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)

    def object(self, variant):
        """Its object file, or None: it is no C."""
        target = os.path.join(self.folder, variant + ".o")
        if not os.path.exists(target):
            # Named without its folder, which assert() would put into the object.
            command = CC + COMPILE + VARIANTS[variant] + ["-o", target, os.path.basename(self.source)]
            if subprocess.run(command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0:
                return None
        return target

    def program(self, variant, name):
        target = os.path.join(self.folder, variant + "-" + name)
        if os.path.exists(target):
            return target
        build = "build/" + variant
        folder = {"sim": "sim/main.o", "test": "unit/%s.o" % name, "fuzz": "fuzz/%s.o" % name}[name.split("-")[0]]
        parts = [os.path.join(build, "obj/tests", folder), self.object(variant)]
        if name.startswith("fuzz"):
            parts.append(build + "/obj/tests/fuzz/main.o")
        archives = [a for a in ("%s/lib/lib%s.a" % (build, name) for name in ARCHIVES) if os.path.exists(os.path.join(TOP, a))]
        subprocess.run(CC + VARIANTS[variant] + LINK + ["-o", target] + parts + ["-Wl,--start-group"] + archives +
                       ["-Wl,--end-group"] + LIBS, cwd=TOP, check=True, stdout=subprocess.DEVNULL)
        return target

    def killer(self):
        """What fails first, in words; None: nothing."""
        for name, variant, program, arguments, seconds in killers_of(self.path):
            status = run_bounded([self.program(variant, program)] + arguments, seconds, self.folder)
            if status != 0:
                return name + (", by its time" if status is None else "")
        return None


def object_bytes(path, text):
    with Workshop(path, text) as shop:
        target = shop.object("release")
        if target is None:
            return None
        with open(target, "rb") as file:
            return file.read()


def mutated(text, mutant):
    return text[: mutant.at] + mutant.text + text[mutant.at + mutant.length :]


def candidates(options):
    """All mutants of all files in the order in which SEED takes them, at most one a place."""
    paths = sorted(os.path.relpath(p, TOP) for p in glob.glob(os.path.join(TOP, "daemon/core/*.c"))) + [CODEC]
    headers = [p for f in ("daemon/core/*.[ch]", "daemon/base/*.h", "client/proto/*.[ch]")
               for p in sorted(glob.glob(os.path.join(TOP, f)))]
    prototypes, places = {}, collections.defaultdict(list)
    for header in headers:
        prototypes.update(operators.prototypes_of(read(header)))
    for path in paths:
        if options.only and options.only not in path:
            continue
        text = read(path)
        for at, length, replacement, operator in operators.mutants_of(text, prototypes):
            if options.line and text.count("\n", 0, at) + 1 != options.line:
                continue
            places[path, at, operator].append(Mutant(path, at, length, replacement, operator))
    chance = random.Random(options.seed)
    chosen = [chance.choice(place) for _, place in sorted(places.items())]
    chance.shuffle(chosen)
    return chosen


def try_mutant(mutant, texts, plain):
    """(mutant, what killed it, seconds), or None: it is no mutant."""
    began = time.monotonic()
    with Workshop(mutant.path, mutated(texts[mutant.path], mutant)) as shop:
        target = shop.object("release")
        if target is None:
            return None
        with open(target, "rb") as file:
            if file.read() == plain[mutant.path]:
                return None
        return mutant, shop.killer(), time.monotonic() - began


def where(mutant, texts):
    line = texts[mutant.path].count("\n", 0, mutant.at) + 1
    before = " ".join(texts[mutant.path][mutant.at : mutant.at + mutant.length].split())
    after = " ".join(mutant.text.split())
    return "%s:%d %s: %.60s -> %.60s" % (mutant.path, line, mutant.operator, before, after or "(nothing)")


def difference(mutant, texts):
    text = texts[mutant.path]
    lines = difflib.unified_diff(text.splitlines(), mutated(text, mutant).splitlines(), mutant.path, mutant.path, "", "", 2, "")
    return "\n".join(line.rstrip() for line in lines)


class Report:
    def __init__(self):
        folder = os.path.join(TOP, "build", "mutants")
        os.makedirs(folder, exist_ok=True)
        self.file = open(os.path.join(folder, "report.txt"), "w", encoding="utf-8")

    def say(self, text):
        print(text, flush=True)
        self.file.write(text + "\n")
        self.file.flush()


def tests_pass(texts, report):
    """Without a mutant every test must pass, or nothing is said by one that fails."""
    one_of_each = {path == CODEC: path for path in texts}
    for path in one_of_each.values():
        with Workshop(path, texts[path]) as shop:
            failed = shop.killer()
            if failed:
                report.say("without any mutant there fails: " + failed)
                return False
    return True


def tried(pool, chosen, options, texts, plain):
    """Results in the order of `chosen`, not many more than needed."""
    running = collections.deque()
    queue = iter(chosen)
    while True:
        while len(running) < options.jobs and (mutant := next(queue, None)) is not None:
            running.append(pool.submit(try_mutant, mutant, texts, plain))
        if not running:
            return
        yield running.popleft().result()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bar", type=float, default=93)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", help="part of a file's path")
    parser.add_argument("--line", type=int)
    options = parser.parse_args()

    report = Report()
    chosen = candidates(options)
    texts = {path: read(path) for path in sorted({m.path for m in chosen})}
    if not tests_pass(texts, report):
        return 2
    plain = {path: object_bytes(path, text) for path, text in texts.items()}
    results, none = [], 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for result in tried(pool, chosen, options, texts, plain):
            if result is None:
                none += 1
                continue
            mutant, killer, seconds = result
            results.append(result)
            report.say("%-8s %5.1f s  %s%s" % ("killed" if killer else "SURVIVES", seconds, where(mutant, texts),
                                             " | " + killer if killer else ""))
            if len(results) >= options.n:
                break
    return summary(results, none, texts, options, report)


def summary(results, none, texts, options, report):
    survivors = [mutant for mutant, killer, _ in results if not killer]
    for title, count in (
        ("killed by", collections.Counter(killer for _, killer, _ in results if killer)),
        ("mutants of", collections.Counter(mutant.path for mutant, _, _ in results)),
        ("changes", collections.Counter(mutant.operator for mutant, _, _ in results)),
    ):
        report.say("\n%s" % title)
        for name, n in count.most_common():
            report.say("  %4d  %s" % (n, name))
    for mutant in survivors:
        report.say("\nsurvives: %s\n%s" % (where(mutant, texts), difference(mutant, texts)))
    killed, share = len(results) - len(survivors), 100 * (1 - len(survivors) / len(results)) if results else 0
    report.say("\n%d more were no C or the same object code; %.0f s" % (none, sum(r[2] for r in results)))
    report.say("killed %d of %d (%.1f %%), seed %d, bar %g %%" % (killed, len(results), share, options.seed, options.bar))
    return 0 if results and share >= options.bar else 1


if __name__ == "__main__":
    sys.exit(main())
