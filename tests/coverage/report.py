#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the tests reached: lines and branches of each part, held to its bar.

    report.py BUILD        reads the counts that the programs left in BUILD/obj, writes BUILD/coverage/index.html

A branch is one way out of a decision, so `a && b` has four. What an assertion would do if it failed is not counted: it
cannot be reached while the code is right. All else counts, also what nothing but a broken invariant could reach. The exit
status is 1 where a part is below its bar.
"""

import json
import os
import subprocess
import sys

# (name, what its files' paths begin with, at least so many lines and branches in per cent; None: told, not held)
PARTS = [
    ("core", "daemon/core/", 95, 90),
    ("codec", "client/proto/wire", 95, 90),
    ("library", "client/lib/", 90, 80),
    ("base", "daemon/base/", None, None),
    ("devices", ("daemon/dev/", "client/proto/cuda"), None, None),
    ("shell", "daemon/shell/", None, None),
    ("kvpagerctl", "client/cli/", None, None),
    ("kvpager-replay", "client/replay/", None, None),
]


def files_of(build):
    folder = os.path.join(build, "coverage")
    os.makedirs(folder, exist_ok=True)
    summary = os.path.join(folder, "summary.json")
    subprocess.run(["gcovr", "--root", ".", "--filter", "daemon/", "--filter", "client/", "--exclude-branches-by-pattern",
                    r"^\s*assert\(.*", "--exclude-unreachable-branches", "--json-summary", summary, "--html-details",
                    os.path.join(folder, "index.html"), "--html-title", "kvpager", os.path.join(build, "obj", "daemon"),
                    os.path.join(build, "obj", "client")],
                   check=True)
    with open(summary, encoding="utf-8") as file:
        return json.load(file)["files"]


def share(files, what):
    """(reached, of so many)"""
    return sum(f[what + "_covered"] for f in files), sum(f[what + "_total"] for f in files)


def words(reached, total, bar):
    percent = 100 * reached / total if total else 0
    return percent, "%6.1f %% of %5d%s" % (percent, total, "  bar %2d %%" % bar if bar is not None else " " * 10)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: report.py BUILD")
    files = files_of(sys.argv[1])
    below = []
    print("%-15s %-27s %s" % ("", "lines", "branches"))
    for name, prefix, *bars in PARTS:
        ours = [f for f in files if f["filename"].startswith(prefix)]
        row = []
        for what, bar in zip(("line", "branch"), bars):
            percent, text = words(*share(ours, what), bar)
            row.append(text)
            if bar is not None and (not ours or percent < bar):
                below.append("%s: %.1f %% of the %s reached, not %d" % (name, percent, {"line": "lines", "branch": "branches"}[what], bar))
        print("%-15s %-27s %s" % (name, *row))
    for f in sorted(files, key=lambda f: f["filename"]):
        if f["filename"].startswith(("daemon/core/", "client/proto/wire", "client/lib/")):
            print("  %-30s %5.1f %% lines %6.1f %% branches" % (f["filename"], *(100 * a / b if b else 100 for a, b in (
                share([f], "line"), share([f], "branch")))))
    print("\n".join(below))
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
