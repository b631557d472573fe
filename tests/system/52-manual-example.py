# SPDX-License-Identifier: MIT
"""The program in libkvpager(3), taken from the page, built as the page says, runs against the daemon."""
import os
import re
import subprocess

from box import BIN, Daemon, until

TOP, LIB, TMP = os.environ["KVP_TOP"], os.environ["KVP_LIB"], os.environ["TMPDIR"]
with open(TOP + "/man/libkvpager.3") as page:
    blocks = re.findall(r"^\.Bd -literal\n(.*?)^\.Ed$", page.read(), re.MULTILINE | re.DOTALL)
source, = [b for b in blocks if "int main" in b]
with open(TMP + "/example.c", "w") as file:
    file.write(source.replace("\\e", "\\").replace("\\&", ""))
subprocess.run(["gcc", "-std=c17", "-Wall", "-Wextra", "-Werror", "-I", TOP + "/client/include", "-o", TMP + "/example",
                TMP + "/example.c", "-L", LIB, "-lkvpager"], check=True, timeout=60)

daemon = Daemon(capacity="64M", page_size="64K")
env = dict(os.environ, KVPAGER_SOCKET=daemon.socket, LD_LIBRARY_PATH=LIB)
done = subprocess.run([TMP + "/example"], env=env, capture_output=True, text=True, timeout=30)
assert done.returncode == 0 and done.stderr == "", done
needed, reserved = map(int, re.fullmatch(r"(\d+) of (\d+) bytes were needed\n", done.stdout).groups())
tokens = 8 << 10  # bytes of one, in two layers
assert 1200 * tokens <= needed <= 1200 * tokens * 5 // 4 and reserved >= 16 * 8192 * tokens, done.stdout
until(daemon.empty, "the example gave everything back")
daemon.stop()

# Without a daemon it says so.
done = subprocess.run([TMP + "/example"], env=env, capture_output=True, text=True, timeout=30)
assert done.returncode == 1 and done.stderr != "", done
