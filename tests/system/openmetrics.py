# SPDX-License-Identifier: MIT
"""A strict reader of OpenMetrics text, version 1.0: what it does not understand is an error, and so is what is merely odd.

Written from the standard and not from what kvpagerctl prints. Types that nothing here uses (histograms and the like) are
errors too. It also reads the older text format of Prometheus, as far as the two are alike.
"""

import re

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z|[+-]?Inf\Z|NaN\Z")
SUFFIXES = {"counter": ("_total", "_created"), "gauge": ("",), "unknown": ("",), "info": ("_info",)}


class Wrong(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Wrong(what)


def unescape(text, quotes=True):
    """The inverse of escaping: \\\\, \\n and \\" and no other."""
    out, i = "", 0
    while i < len(text):
        if text[i] == "\\":
            need(i + 1 < len(text) and text[i + 1] in ('\\n"' if quotes else "\\n"), "bad escape in %r" % text)
            out += {"\\": "\\", "n": "\n", '"': '"'}[text[i + 1]]
            i += 2
            continue
        need(not quotes or text[i] != '"', "a quote that is not escaped in %r" % text)
        out += text[i]
        i += 1
    return out


def labels_of(text):
    """What stands between the braces, and what follows the closing one."""
    labels, at = {}, 0
    if text.startswith("}"):
        return labels, text[1:]
    while True:
        name = re.compile(r'([^="{},\s]+)="((?:[^"\\\n]|\\.)*)"').match(text, at)
        need(name, "no label in %r" % text[at:])
        need(LABEL.match(name[1]) and not name[1].startswith("__"), "label %r" % name[1])
        need(name[1] not in labels, "label %r stands twice" % name[1])
        labels[name[1]] = unescape(name[2])
        at = name.end()
        need(at < len(text) and text[at] in ",}", "%r after a label" % text[at:])
        if text[at] == "}":
            return labels, text[at + 1:]
        at += 1


def value_of(text):
    need(NUMBER.match(text), "%r is no number" % text)
    return float(text)


class Family:
    def __init__(self, name):
        self.name, self.type, self.unit, self.help = name, None, None, None
        self.samples = {}  # (name, ((label, value), ...)): number


class Text:
    """families: by name, in their order. `openmetrics` False: the older format. `typed` False: those that count have no type."""

    def __init__(self, data, openmetrics=True, typed=True):
        self.typed = typed
        self.families, self.openmetrics, self.series = {}, openmetrics, {}
        text = data.decode("utf-8")
        need("\r" not in text and text.endswith("\n"), "lines end with a newline")
        lines = text[:-1].split("\n")
        if openmetrics:
            need(lines[-1] == "# EOF", "the last line is # EOF")
            lines = lines[:-1]
        self.current = None
        for line in lines:
            try:
                self.metadata(line) if line.startswith("#") else self.sample(line)
            except Wrong as wrong:
                raise Wrong("%s: in %r" % (wrong, line)) from None
        self.check()

    def enter(self, name):
        """Into a family, whose lines stand together."""
        if self.current is None or self.current.name != name:
            need(NAME.match(name), "the name %r" % name)
            need(name not in self.families, "the family %s is interrupted by another" % name)
            self.current = self.families[name] = Family(name)
        return self.current

    def metadata(self, line):
        need(line != "# EOF", "# EOF before the end")
        words = line.split(" ", 3)
        need(len(words) == 4 and words[0] == "#" and words[1] in ("TYPE", "UNIT", "HELP"), "neither sample nor metadata")
        family = self.enter(words[2])
        need(not family.samples, "metadata after samples")
        if words[1] == "TYPE":
            need(family.type is None, "a second TYPE")
            need(words[3] in (SUFFIXES if self.openmetrics else ("counter", "gauge")), "type %s" % words[3])
            family.type = words[3]
        elif words[1] == "UNIT":
            need(self.openmetrics and family.unit is None, "a second UNIT, or one that nobody knows")
            need(words[3] and words[2].endswith("_" + words[3]), "the unit is not the end of the name")
            family.unit = words[3]
        else:
            need(family.help is None, "a second HELP")
            family.help = unescape(words[3], quotes=self.openmetrics)
            need(family.help == family.help.strip() != "", "HELP is empty or has blanks around it")

    def sample(self, line):
        match = re.match(r"([^\s{]+)(\{)?", line)
        need(match, "no sample")
        name, rest = match[1], line[match.end():]
        need(NAME.match(name), "the name %r" % name)
        labels, rest = labels_of(rest) if match[2] else ({}, rest)
        need(rest.startswith(" "), "no blank before the value")
        value = value_of(rest[1:])  # and no timestamp: a scrape is of now
        family = self.family_of(name)
        need(self.current is family, "the sample stands outside of its family")
        key = (name, tuple(sorted(labels.items())))
        need(key not in self.series, "the series stands twice")
        need(not (family.type == "counter" and not value >= 0), "a counter is not below 0")
        self.series[key] = family.samples[key] = value

    def family_of(self, name):
        if not self.openmetrics:
            need(name in self.families, "no metadata for it")
            return self.families[name]
        for family in self.families.values():
            if name in (family.name + suffix for suffix in SUFFIXES[family.type or "unknown"]):
                return family
        raise Wrong("no family has such a sample")

    def check(self):
        """What can be told at the end only."""
        taken = {}
        for family in self.families.values():
            if not self.typed and family.type is None:
                need(family.name.endswith("_total"), "%s has no TYPE" % family.name)
                family.type = "unknown" if self.openmetrics else "counter"
            need(family.type and family.help, "%s has no TYPE or no HELP" % family.name)
            names = {family.name}
            if self.openmetrics:
                names |= {family.name + suffix for suffix in SUFFIXES[family.type]}
            else:
                need((family.type == "counter") == family.name.endswith("_total"), "%s: _total" % family.name)
            for name in names:
                need(name not in taken, "%s means %s and %s" % (name, family.name, taken.get(name)))
                taken[name] = family.name
            last = family.name.split("_")[-1]
            need(not self.openmetrics or last not in ("bytes", "seconds") or family.unit == last,
                 "%s does not tell its unit" % family.name)
            for name, labels in family.samples:
                need({key for key, _ in labels} == {key for _, ls in family.samples for key, _ in ls},
                     "samples of %s have different labels" % family.name)

    def value(self, name, **labels):
        return self.series[(name, tuple(sorted(labels.items())))]
