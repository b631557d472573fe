# SPDX-License-Identifier: MIT
"""kvpager-holder makes its socket, and its folder, and takes nothing away but a socket that nobody listens at."""
import os
import socket
import subprocess

from box import BIN, temporary_folder, until

folder = temporary_folder()


def holder(path):
    return subprocess.Popen([BIN + "/kvpager-holder", "--socket", path], stderr=subprocess.PIPE, text=True)


def refused(path, why):
    process = holder(path)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1 and said == "kvpager-holder: %s: %s\n" % (path, why), (process.returncode, said)


def listens(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        return s.connect_ex(path) == 0


# As the manual has it, in a folder that is not there yet.
path = folder + "/kvpager/holder.sock"
first = holder(path)
until(lambda: listens(path), "it listens")
assert os.stat(path).st_mode & 0o777 == 0o600
refused(path, "Address already in use")
first.kill()
first.communicate()
second = holder(path)  # the dead one's socket is replaced
until(lambda: listens(path), "the next one listens")
second.kill()
second.communicate()

# What is somebody else's stays.
file = folder + "/file"
with open(file, "w") as f:
    f.write("precious")
refused(file, "File exists")
with open(file) as f:
    assert f.read() == "precious"
for kind, name in ((socket.SOCK_STREAM, "/stream"), (socket.SOCK_DGRAM, "/datagram")):
    with socket.socket(socket.AF_UNIX, kind) as s:
        s.bind(folder + name)
        if kind == socket.SOCK_STREAM:
            s.listen()
        before = os.stat(folder + name)
        refused(folder + name, "Address already in use")
        assert os.stat(folder + name) == before
refused("", "Invalid argument")
refused("/nowhere/at/all", "No such file or directory")
