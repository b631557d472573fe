# SPDX-License-Identifier: MIT
"""A terminal for programs that draw on the whole of it: a pseudo-terminal, and a screen that understands what terminfo lets
them send to an xterm. A sequence that it does not know is an error."""
import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

CSI = re.compile(r"\x1b\[([?>!]?)([0-9;]*)([A-Za-z@`])")
OTHER = re.compile(r"\x1b(?:[()][0AB]|[78=>MDEc]|\][^\x07]*\x07)")


class Screen:
    def __init__(self, width, height):
        self.alternate = False
        self.resize(width, height)

    def resize(self, width, height):
        self.width, self.height = width, height
        self.cells = [[" "] * width for _ in range(height)]
        self.reverse = [[False] * width for _ in range(height)]
        self.x = self.y = 0
        self.top, self.bottom = 0, height - 1
        self.reversed = self.wraps = False
        self.rest, self.last = "", " "

    def lines(self):
        return ["".join(row).rstrip() for row in self.cells]

    def text(self):
        return "\n".join(self.lines())

    def write(self, text):
        text, self.rest = self.rest + text, ""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                match = CSI.match(text, at) or OTHER.match(text, at)
                if not match:
                    assert len(text) - at < 40, "the screen does not know %r" % text[at:at + 40]
                    self.rest = text[at:]  # the end of it is still to come
                    return
                if match.re is CSI:
                    self.control(match[1], [int(n or 0) for n in match[2].split(";")], match[3])
                else:
                    assert match[0] in ("\x1b(B", "\x1b)0", "\x1b7", "\x1b8", "\x1b=", "\x1b>", "\x1bM"), repr(match[0])
                    if match[0] == "\x1bM":
                        self.scroll_down() if self.y == self.top else self.move(self.x, self.y - 1)
                at = match.end()
            else:
                self.put(text[at])
                at += 1

    def move(self, x, y):
        """To the edge at most: what comes just after the screen became smaller may have been meant for the larger one."""
        self.x, self.y, self.wraps = min(max(x, 0), self.width - 1), min(max(y, 0), self.height - 1), False

    def scroll_up(self):
        for rows in (self.cells, self.reverse):
            rows.insert(self.bottom, rows.pop(self.top))
            rows[self.bottom] = [" " if rows is self.cells else False] * self.width

    def scroll_down(self):
        for rows in (self.cells, self.reverse):
            rows.insert(self.top, rows.pop(self.bottom))
            rows[self.top] = [" " if rows is self.cells else False] * self.width

    def put(self, c):
        if c == "\r":
            self.move(0, self.y)
        elif c == "\n":
            self.scroll_up() if self.y == self.bottom else self.move(self.x, self.y + 1)
        elif c == "\b":
            self.move(max(self.x - 1, 0), self.y)
        elif c in "\x07\x0f\x0e":
            pass
        else:
            assert c >= " ", "the screen does not know %r" % c
            if self.wraps:
                self.x, self.wraps = 0, False
                self.scroll_up() if self.y == self.bottom else self.move(0, self.y + 1)
            self.cells[self.y][self.x], self.reverse[self.y][self.x] = c, self.reversed
            self.last = c
            self.wraps = self.x == self.width - 1
            self.x += not self.wraps

    def blank(self, y, begin, end):
        for x in range(begin, min(end, self.width)):
            self.cells[y][x], self.reverse[y][x] = " ", False

    def control(self, private, numbers, letter):
        n = numbers[0] or 1
        row = self.cells[self.y]
        if private:
            assert letter in "hlpc", (private, numbers, letter)
            if 1049 in numbers:
                self.alternate = letter == "h"
        elif letter in "Hf":
            self.move((numbers[1] or 1) - 1 if len(numbers) > 1 else 0, n - 1)
        elif letter in "ABCD":
            self.move(self.x + {"C": n, "D": -n}.get(letter, 0), self.y + {"B": n, "A": -n}.get(letter, 0))
        elif letter in "G`":
            self.move(n - 1, self.y)
        elif letter == "d":
            self.move(self.x, n - 1)
        elif letter == "J":
            assert numbers[0] in (0, 2)
            self.blank(self.y, 0 if numbers[0] else self.x, self.width)
            for y in range(0 if numbers[0] else self.y + 1, self.height):
                self.blank(y, 0, self.width)
        elif letter == "K":
            self.blank(self.y, 0 if numbers[0] else self.x, self.x + 1 if numbers[0] == 1 else self.width)
        elif letter == "X":
            self.blank(self.y, self.x, self.x + n)
        elif letter == "b":
            for _ in range(n):
                self.put(self.last)
        elif letter == "P":
            row[self.x:] = row[self.x + n:] + [" "] * min(n, self.width - self.x)
        elif letter == "@":
            row[self.x:] = ([" "] * n + row[self.x:])[:self.width - self.x]
        elif letter in "LM":
            top, self.top = self.top, self.y
            for _ in range(n):
                self.scroll_down() if letter == "L" else self.scroll_up()
            self.top = top
        elif letter in "ST":
            for _ in range(n):
                self.scroll_up() if letter == "S" else self.scroll_down()
        elif letter == "r":
            self.top, self.bottom = n - 1, min(numbers[1] if len(numbers) > 1 else self.height, self.height) - 1
            self.move(0, 0)
        elif letter == "m":
            for number in numbers:
                self.reversed = number == 7 or (self.reversed and number not in (0, 27))
        else:
            assert letter in "hlt", "the screen does not know CSI %s %s" % (numbers, letter)


class Terminal:
    """A program on a terminal. `screen` is what one would see."""

    def __init__(self, command, width=80, height=24, term="xterm-256color", env=None):
        self.screen = Screen(width, height)
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.master, slave = pty.openpty()
        self.set_size(width, height)
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=dict(env or os.environ, TERM=term),
                                        start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)

    def set_size(self, width, height):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def resize(self, width, height):
        """As a terminal does it: what was on the screen is of no use any more, and the program is told by SIGWINCH."""
        self.read(0)
        self.screen.resize(width, height)
        self.set_size(width, height)

    def read(self, seconds):
        """What comes within `seconds`; False: nothing came, or the program has ended."""
        ready, _, _ = select.select([self.master], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:  # EIO: nobody has the other end any more
            return False
        self.screen.write(self.decoder.decode(data))
        return True

    def holds(self, condition):
        """Whether condition(text) of the screen. A picture comes in parts: where a part is missing, it does not hold yet."""
        try:
            return condition(self.screen.text())
        except (LookupError, ValueError):
            return False

    def until(self, condition, what, seconds=20):
        """Until the screen is such that condition(text)."""
        end = time.monotonic() + seconds
        while not self.holds(condition):
            left = end - time.monotonic()
            more = left > 0 and (self.read(left) or self.process.poll() is None)
            assert more, "%s is not on the screen:\n%s" % (what, self.screen.text())

    def shows(self, *texts):
        self.until(lambda screen: all(text in screen for text in texts), texts)

    def cooked(self):
        """Lines are echoed and edited by the kernel, as a shell would have it."""
        flags = termios.tcgetattr(self.master)[3]
        return bool(flags & termios.ECHO and flags & termios.ICANON)

    def press(self, keys):
        os.write(self.master, keys.encode())

    def ends(self, rc=0):
        """The program ends, with this status (None: any), and leaves the terminal as it was."""
        while self.process.poll() is None and self.read(20):
            pass
        self.process.wait(20)
        assert rc is None or self.process.returncode == rc, self.process.returncode
        while self.read(0):
            pass
        assert self.cooked() and not self.screen.alternate, "the terminal is given back"
        os.close(self.master)
