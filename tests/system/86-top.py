# SPDX-License-Identifier: MIT
"""kvpagerctl top on a terminal: the picture follows the daemon, keys do what the manual says, the terminal is given back; and
--once, which needs none."""
import json
import os
import re
import signal
import subprocess

from box import BIN, Daemon, MIB, suspend, until
from terminal import Terminal

CONFIG = """
[device main]
capacity = 128M
page-size = 64K
virgin-pages = 16
[tenant chat]
match = any
memory.max = 64M
reclaim-deadline = 20s
[tenant code]
match = any
memory.max = 8M
"""
daemon = Daemon(CONFIG)
env = dict(os.environ, KVPAGER_SOCKET=daemon.socket, LC_ALL="C.UTF-8")
env.pop("COLUMNS", None)
CTL = [BIN + "/kvpagerctl"]


def grown(tenant, tokens):
    worker = daemon.worker(tenant)
    worker.create(rows=4, tokens=65536, layout=2)  # 2 KiB a token
    row = worker.acquire(tokens)
    worker.grow(row, tokens)
    worker.ok("settle")
    return worker


def once(*options, **how):
    done = subprocess.run(CTL + ["top", "--once", *options], env=dict(env, **how), capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and done.stderr == "", done
    return done.stdout


def size(number):
    return "%d%s" % (number // MIB, "M") if number % MIB == 0 else "%.1fM" % (number / MIB)


def row_of(text, name):
    row, = [line for line in text.splitlines() if re.match(r"\s*%s\b" % name, line)]
    return row.split()


chat, code = grown("chat", 8000), grown("code", 500)
live = daemon.tenant("chat")["live_bytes"]
assert 15 * MIB < live < 17 * MIB

# ---- --once: plain text, whatever the locale. ----
text = once()
assert "since the daemon started" in text and "\u2588" in text and row_of(text, "chat")[2] == size(live), text
text = once("--ascii")
assert "#" in text and text.isascii() and "\x1b" not in text and all(len(line) <= 100 for line in text.splitlines()), text
assert once(LC_ALL="C").isascii()
wide = once("--ascii", COLUMNS="200")
assert "UNMAPPED" in wide and "UNMAPPED" not in once("--ascii", COLUMNS="60") and max(map(len, wide.splitlines())) == 200, wide
text = once("--interval=50ms", "--ascii")
assert re.search(r"over 0\.[0-9]s$", text, re.MULTILINE) and "GRANTS/S" in text, text
totals = json.loads(once("--json"))
figures = {t["name"]: t for t in totals["tenants"]}
assert totals["interval_usec"] is None and figures["chat"]["grants"] == daemon.tenant("chat")["extents_granted"] > 0, totals
assert {w["pid"] for w in totals["workers"]} == {chat.pid, code.pid}
between = json.loads(once("--json", "--interval=50ms"))
assert between["interval_usec"] >= 50000 and between["tenants"][0]["grants_per_second"] == 0, between

# ---- No terminal, or none that is known. ----
for command in (["top"], ["top", "--interval=2"]):
    done = subprocess.run(CTL + command, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20)
    assert done.returncode == 1 and done.stdout == "" and "--once" in done.stderr, done
unknown = Terminal(CTL + ["top"], term="no-such-terminal", env=env)
unknown.shows("does not know this terminal", "--once")
unknown.ends(1)
unknown = Terminal(CTL + ["top"], env=dict(env, KVPAGER_SOCKET="/nowhere/s"))
unknown.shows("no such socket")
unknown.ends(1)

# ---- On a terminal. ----
top = Terminal(CTL + ["top", "--interval=100ms"], width=100, height=20, env=env)
top.shows("kvpagerd", "main ", "\nTENANT", "\nchat ", "\ncode ", "every 0.1s", "q quit")
assert top.screen.alternate


def selected(name):
    """The row that begins so, and no other, is the selected one."""
    def is_so(_):
        rows = {line.split()[0]: reverse for line, reverse in zip(top.screen.lines(), top.screen.reverse)
                if line.startswith(("chat", "code"))}
        return len(rows) == 2 and all(all(reverse) if row == name else not any(reverse) for row, reverse in rows.items())
    return is_so


top.until(lambda _: len(top.screen.lines()) == 20 and top.screen.lines()[-1].startswith("q quit"), "the whole picture")
top.until(selected("chat"), "the first row is selected")
top.until(lambda text: re.search("^chat .*\u2588+\u00b7+M\u00b7+$", text, re.MULTILINE), "the bar")

# It follows: growth, waiting, release.
more = grown("chat", 16000)
top.until(lambda text: row_of(text, "chat")[1] == row_of(once(), "chat")[1] != "0", "what chat has now")
more.quit()
top.until(lambda text: row_of(text, "chat")[2] == size(live), "less again")

# A request that waits, because somebody stopped does not give back: pressure, though nothing else happens in the daemon. One
# that fails is over.
filler = grown("chat", 22000)
gone = filler.acquire(1)
suspend(chat.pid)
filler.send("step", 20000000, gone, 10000)
top.until(lambda text: float(row_of(text, "chat")[4].rstrip("%")) > 50 and row_of(text, "chat")[5] != "0", "pressure")
os.kill(chat.pid, signal.SIGCONT)
filler.read()
top.until(lambda text: row_of(text, "chat")[4] == "0.0%" and row_of(text, "chat")[5] == "0", "no pressure any more")
filler.quit()

# Views, order, filter.
top.press("v")
top.shows("PID  TENANT", "CACHES", "%d  chat" % chat.pid, "%d  code" % code.pid)
top.press("/%d\r" % code.pid)
top.shows('1 of 2 match "%d"' % code.pid)
top.until(lambda text: "%d  chat" % chat.pid not in text, "chat is not shown")
top.press("\x1b")
top.shows("%d  chat" % chat.pid)
top.press("\t")
top.shows("\nchat ", "\u2193CURRENT")
order = lambda: [line.split()[0] for line in top.screen.lines() if line.startswith(("chat", "code"))]
top.until(lambda _: order() == ["chat", "code"], "whoever has most comes first")
top.press("r")
top.shows("\u2191CURRENT")
top.until(lambda _: order() == ["code", "chat"], "the other way round")
top.press("<")
top.shows("TENANT\u2191")
top.until(lambda _: order() == ["chat", "code"], "by name")
top.press("\x1bOB")  # down, as in application mode
top.until(selected("code"), "the second row is selected")
top.press("/CO")
top.shows("Show what contains: CO")
top.press("\x7fOD\r")
top.shows('1 of 2 match "COD"')
top.until(lambda _: order() == ["code"], "what does not match is not shown")
top.press("/\x7f\x7f\x7f\r")
top.until(lambda _: order() == ["chat", "code"], "all of them again")
top.press("?")
top.shows("tenants or workers", "Ctrl-C")
top.press(" ")
top.shows("\nchat ")
top.press("+")
top.shows("every 0.2s")
top.press("-")
top.shows("every 0.1s")

# A limit of the selected tenant, changed: it takes effect at once, and a mistake changes nothing.
top.press("\x1bOA")  # up
top.press("cmemory.max=")
top.shows("Set KEY=VALUE of chat: memory.max=")
top.press("48M\r")
top.shows("memory.max=48M of chat: applied.")
assert daemon.tenant("chat")["max_bytes"] == 48 * MIB
top.press("cmemory.max=4GG\r")
top.shows("refused: nothing was changed", "4GG")
top.press("cweight\r")
top.shows("weight is not of the form KEY=VALUE.")
top.press("c" + "x" * 40 + "=1\r")
top.shows("is too long")
top.press("j")
top.shows("q quit")
top.press("cweight=7\r")
top.shows("weight=7 of code: applied.")
assert daemon.tenant("code")["weight"] == 7 and daemon.tenant("chat")["max_bytes"] == 48 * MIB
top.press("k")
top.shows("q quit")

# Other sizes, down to none at all.
for width, height in ((60, 10), (200, 50), (30, 5), (3, 2), (1, 1), (100, 20)):
    top.resize(width, height)
    if width >= 60:
        top.until(lambda text: "\nchat " in text and top.screen.lines()[-1].startswith("q quit"),
                  "the picture of %d x %d" % (width, height))
    else:
        top.until(lambda text: text.startswith("kvpagerd"[:width] if height > 1 else "q"), "something in %d x %d" % (width, height))

# The daemon goes: the picture stays, and says so. It comes back: the figures are those of the new one.
chat.kill()
code.kill()
daemon.process.kill()
daemon.process.wait(20)
top.shows("no kvpagerd at", "\nchat ")
daemon.start()
top.until(lambda text: "no kvpagerd" not in text and "0 workers" in text and row_of(text, "chat")[1] == "0", "the new daemon")
suspend(daemon.pid)
top.press("q")
os.kill(daemon.pid, signal.SIGCONT)
top.ends()

# However it ends, the terminal is given back; and what it is in does not matter.
for term, how in (("xterm-256color", signal.SIGINT), ("linux", signal.SIGTERM), ("screen", signal.SIGINT)):
    top = Terminal(CTL + ["top", "--ascii"], term=term, env=dict(env, LC_ALL="C"))
    top.shows("\nchat ", "q quit")
    assert not top.cooked() and top.screen.text().isascii()
    if how == signal.SIGINT:
        top.press("\x03")
    else:
        top.process.send_signal(how)
    top.ends(0 if how == signal.SIGINT else None)
top = Terminal(CTL + ["top"], env=env)
top.shows("\nchat ")
os.close(top.master)  # the terminal is gone
until(lambda: top.process.poll() is not None, "it does not outlive its terminal")
daemon.check()
daemon.stop()
