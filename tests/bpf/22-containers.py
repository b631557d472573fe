# SPDX-License-Identifier: MIT
"""A container has a libcuda.so.1 of its own where nobody else sees it: attached to once a process has it, as far as that is permitted."""
import json
import os
import shutil
import subprocess

from observer import PROGRAM, Observer, temporary_folder, until
from cuda import LIBRARY, Program, Truth

MIB = 1 << 20
folder = temporary_folder()
# A tmpfs that is mounted in this process's namespace alone; outside the folder is empty.
inside = ["unshare", "--mount", "--propagation", "private", "sh", "-ec",
          'mount -t tmpfs none "$0" && cp "$1" "$0/libcuda.so.1" && shift && exec "$@"', folder, LIBRARY]
truth = Truth()
truth.env["LD_LIBRARY_PATH"] = folder
observer = Observer()
program = Program(truth, inside)
assert os.listdir(folder) == []
until(lambda: observer.probe("cuMemCreate", "uprobe", folder), "it is found in the process's maps")
found = observer.probe("cuMemCreate", "uprobe", folder)
assert [p["attached"] for p in found] == [True], found

before = truth.read()["cuMemCreate"][0]
program.tell("run", 1000, 3)
found = observer.probe("cuMemCreate", "uprobe", folder)[0]
assert found["hits"] == truth.read()["cuMemCreate"][0] - before > 0, (found, before, truth.read())
program.tell("drop")
program.tell("take", 3 * MIB)
assert [p["bytes"] for p in observer.json()["cudamem"]["processes"] if p["pid"] == program.pid] == [3 * MIB]

# The same library in a second container is another file, and a replaced one is not the one that a process has.
second = Program(truth, inside)
until(lambda: len(observer.probe("cuMemCreate", "uprobe", folder)) == 2, "the second one is found too")
assert all(p["attached"] for p in observer.probe("cuMemCreate", "uprobe", folder))
second.end()
observer.stop()

# With the unit's two capabilities it cannot be reached, and that is said once, with what would help.
shutil.copy(LIBRARY, folder + "/libcuda.so.1")  # what lies there outside is no substitute
os.chmod(folder, 0o755)
done = subprocess.run(["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--inh-caps=+cap_38,+cap_39",
                       "--ambient-caps=+cap_38,+cap_39", PROGRAM, "--json", "--own", "--for", "50ms"],
                      env=dict(os.environ, KVPAGER_SOCKET="/nonexistent"), capture_output=True, text=True, timeout=60)
assert done.returncode == 0, done.stderr
rows = [p for p in json.loads(done.stdout)["probes"] if folder in p["target"]]
assert [(p["kind"], p["attached"], p["hits"]) for p in rows] == [("file", False, None)], rows
assert "CAP_SYS_PTRACE" in rows[0]["why"] and "process %d has a file of its own" % program.pid in rows[0]["why"], rows
assert done.stderr.count(rows[0]["why"]) == 1, done.stderr
program.end()
