# SPDX-License-Identifier: MIT
"""Small wrong changes to C: where they can be made, and what they are.

`mutants_of(path, text, prototypes)` lists every mutant of a file as (offset, length, replacement, operator), in order. It
works on tokens, so comments, strings and preprocessor lines are never touched, and leans on how this tree is written:
a function's body begins and ends with a brace in the first column, and clang-format puts spaces around binary operators
and none after unary ones. What is only there to watch (assertions, traces, the words of a finding) is left alone: a
change there is no defect of the product.
"""

import re

TOKEN = re.compile(
    r"""(?P<skip>/\*.*?\*/|//[^\n]*|^[ \t]*\#(?:[^\n\\]|\\.|\\\n)*|\s+)
      |(?P<text>L?"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      |(?P<number>0[xX][0-9a-fA-F]+[uUlL]*|[0-9]+[uUlL]*)
      |(?P<name>[A-Za-z_]\w*)
      |(?P<punct><<=|>>=|\.\.\.|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|.)""",
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)

RELATIONAL = {"<": ["<=", ">"], "<=": ["<", ">="], ">": [">=", "<"], ">=": [">", "<="], "==": ["!="], "!=": ["=="]}
ARITHMETIC = {"+": ["-"], "-": ["+"], "*": ["/"], "/": ["*"], "%": ["/"], "<<": [">>"], ">>": ["<<"], "&": ["|"],
              "|": ["&"], "^": ["|"]}
LOGICAL = {"&&": ["||"], "||": ["&&"]}
ASSIGNMENT = {"+=": ["-=", "="], "-=": ["+=", "="], "|=": ["=", "&="], "&=": ["=", "|="], "++": ["--"], "--": ["++"],
              "<<=": [">>="], ">>=": ["<<="]}
NAMES = {"true": ["false"], "false": ["true"], "bits_min_u32": ["bits_max_u32"], "bits_max_u32": ["bits_min_u32"],
         "bits_min_u64": ["bits_max_u64"], "bits_max_u64": ["bits_min_u64"]}

# What only watches: nothing is changed inside these calls, nor inside functions of these names.
WATCHERS = {"assert", "_Static_assert", "trace", "run_transition", "core_trace_format"}
# Whose arguments may be given in any order.
SYMMETRIC = {"bits_min_u32", "bits_max_u32", "bits_min_u64", "bits_max_u64", "arena_take"}
# Calls whose arguments are words for people. That the call is made matters.
WORDS = {"broken"}

KEYWORDS = {"if", "else", "for", "while", "do", "switch", "case", "default", "return", "break", "continue", "goto",
            "sizeof", "const", "static", "struct", "enum", "union", "extern", "inline", "volatile", "unsigned", "int", "char",
            "void", "bool", "_Static_assert"}
CLOSING = {"(": ")", "[": "]", "{": "}"}


class Token:
    __slots__ = ("kind", "text", "at", "end", "mate", "spaced")

    def __init__(self, kind, text, at):
        self.kind, self.text, self.at, self.end, self.mate, self.spaced = kind, text, at, at + len(text), None, False


def tokens_of(text):
    tokens, open_ones = [], []
    for match in TOKEN.finditer(text):
        if match.lastgroup == "skip":
            continue
        token = Token(match.lastgroup, match.group(), match.start())
        token.spaced = text[token.at - 1 : token.at].isspace() and text[token.end : token.end + 1].isspace()
        if token.text in CLOSING and token.kind == "punct":
            open_ones.append(len(tokens))
        elif token.kind == "punct" and token.text in CLOSING.values() and open_ones:
            token.mate = open_ones.pop()
            tokens[token.mate].mate = len(tokens)
        tokens.append(token)
    return tokens


def functions_of(text, tokens):
    """(first, last, void): the tokens between the braces of each body, and whether it returns nothing."""
    for i, token in enumerate(tokens):
        if token.text != "{" or token.kind != "punct" or text[token.at - 1 : token.at] != "\n":
            continue
        start = i - 1
        if tokens[start].text != ")":
            continue  # a table or a type
        name = tokens[start].mate - 1
        if tokens[name].text in WATCHERS:
            continue
        before = text[text.rfind("\n\n", 0, tokens[name].at) : tokens[name].at]
        yield i + 1, token.mate, bool(re.search(r"\bvoid\s+$", before))


def prototypes_of(text):
    """name: the types of its parameters, of every function that the text declares or defines."""
    found = {}
    for name, parameters in re.findall(r"^[a-z][\w \t*]*?\b(\w+)\(([^()]*)\)\s*[;{]", text, re.MULTILINE):
        types = [" ".join(re.sub(r"\b\w+(\[\w*\])?\s*$", "*" if "[" in p else "", p).split()) for p in parameters.split(",")]
        found[name] = types
    return found


def number_variants(text):
    digits = re.match(r"0[xX][0-9a-fA-F]+|[0-9]+", text).group()
    suffix, value = text[len(digits) :], int(digits, 0)
    form = "0x%x" if digits[:2] in ("0x", "0X") else "%d"
    return [form % n + suffix for n in (value + 1, value - 1) if n >= 0]


class Body:
    """One function: collects its mutants."""

    def __init__(self, text, tokens, first, last, void, prototypes):
        self.text, self.tokens, self.first, self.last = text, tokens, first, last
        self.void, self.prototypes, self.found = void, prototypes, []
        self.for_header_end = first

    def add(self, at, end, replacement, operator):
        self.found.append((at, end - at, replacement, operator))

    def statement_end(self, i):
        """The token of the ';' that ends the statement that begins at i."""
        while self.tokens[i].text != ";" or self.tokens[i].kind != "punct":
            i = (self.tokens[i].mate if self.tokens[i].text in CLOSING and self.tokens[i].kind == "punct" else i) + 1
        return i

    def begins_statement(self, i):
        before = self.tokens[i - 1]
        if before.text == ")":
            return self.tokens[before.mate - 1].text in ("if", "for", "while", "switch")
        if before.text == "{":
            return i == self.first or self.begins_statement(i - 1)
        return before.text in (";", "}", "else", "do") or (before.text == ":" and self.is_label(i - 1))

    def is_label(self, i):
        while i > self.first and self.tokens[i].text not in (";", "{", "}", "?"):
            if self.tokens[i].text in ("case", "default"):
                return True
            i -= 1
        return False

    def is_first_value(self, i):
        """The zero that a variable is declared with, `= 0` or `= { 0 }`: often there for the compiler alone. Loops aside."""
        if self.tokens[i].text != "0" or self.tokens[i + 1].text not in (",", ";", "}") or i < self.for_header_end:
            return False
        while self.tokens[i - 1].text not in (";", "}") and not self.begins_statement(i):
            i -= 1
        return self.tokens[i].text in KEYWORDS or self.tokens[i + 1].kind == "name"

    def walk(self):
        i = self.first
        while i < self.last:
            token = self.tokens[i]
            if token.text == "for":
                self.for_header_end = self.tokens[i + 1].mate
            if token.kind == "name":
                if token.text in WATCHERS:
                    i = self.statement_end(i)
                    continue
                if token.text == "if":
                    condition = self.tokens[i + 1 : self.tokens[i + 1].mate]
                    if condition[-1].text == "trace":
                        i = self.statement_end(self.tokens[i + 1].mate + 1)  # what is done for the trace alone
                        continue
                    inside = self.text[self.tokens[i + 1].end : self.tokens[self.tokens[i + 1].mate].at]
                    self.add(self.tokens[i + 1].end, self.tokens[self.tokens[i + 1].mate].at, "!(" + inside + ")",
                             "condition negated")
                for name in NAMES.get(token.text, []):
                    self.add(token.at, token.end, name, "constant" if name in ("true", "false") else "min for max")
                if self.tokens[i + 1].text == "(" and token.text in self.prototypes.keys() - SYMMETRIC:
                    self.swap_arguments(i)
            self.delete_statement(i)
            if token.kind == "name" and token.text in WORDS:
                i = self.statement_end(i)
                continue
            if token.kind == "number" and not self.is_first_value(i) and self.tokens[i - 2].kind != "text":
                for number in number_variants(token.text):
                    self.add(token.at, token.end, number, "off by one")
            if token.kind == "punct":
                self.change_operator(i)
            i += 1
        return self.found

    def change_operator(self, i):
        token = self.tokens[i]
        tables = [(RELATIONAL, "relation"), (LOGICAL, "logical"), (ARITHMETIC, "arithmetic")] if token.spaced else []
        for table, operator in tables:
            for text in table.get(token.text, []):
                self.add(token.at, token.end, text, operator)
        # A loop that counts the wrong way is found by anything.
        if token.text in ASSIGNMENT and not (token.text in ("++", "--") and i < self.for_header_end):
            for text in ASSIGNMENT[token.text]:
                self.add(token.at, token.end, text, "assignment")
        if token.text == "!":
            self.add(token.at, token.end, "", "negation dropped")

    def delete_statement(self, i):
        token = self.tokens[i]
        if i < self.for_header_end or not self.begins_statement(i) or token.text in (";", "{", "}", "("):
            return
        after = self.tokens[i + 1]
        if token.text in ("break", "continue") or (token.text == "return" and after.text == ";" and self.void):
            self.add(token.at, token.end, "", "deleted")
            return
        if token.text in KEYWORDS or token.kind not in ("name", "punct"):
            return
        if after.kind == "name" or after.text == ":" or (after.text == "*" and token.kind == "name"):
            return  # a declaration, or a label
        end = self.tokens[self.statement_end(i)].at
        self.add(token.at, end, "\n" * self.text.count("\n", token.at, end), "deleted")

    def swap_arguments(self, i):
        opening, types = i + 1, self.prototypes[self.tokens[i].text]
        closing, spans, start, j = self.tokens[opening].mate, [], opening + 1, opening + 1
        while j <= closing:
            if j == closing or self.tokens[j].text == ",":
                if j > start:
                    spans.append((self.tokens[start].at, self.tokens[j - 1].end))
                start = j + 1
            j = (self.tokens[j].mate if j < closing and self.tokens[j].text in CLOSING else j) + 1
        if len(spans) != len(types):
            return
        for a in range(len(spans)):
            for b in range(a + 1, len(spans)):
                one, other = (self.text[s:e] for s, e in (spans[a], spans[b]))
                if types[a] == types[b] and one != other:
                    between = self.text[spans[a][1] : spans[b][0]]
                    self.add(spans[a][0], spans[b][1], other + between + one, "arguments swapped")


def mutants_of(text, prototypes):
    tokens = tokens_of(text)
    found = []
    for first, last, void in functions_of(text, tokens):
        found += Body(text, tokens, first, last, void, prototypes).walk()
    return sorted(set(found))
