"""What kernels say of themselves in comments, for tools/kernel_report.py: what bounds them, and why one of low occupancy
is right to have it. One line each, whose continuation is indented by two more spaces.

Directly above a kernel, in every kernel:

    // Bound by: bandwidth (loads, stores).                          both sides need 16-byte accesses; or one of them
    // Bound by: bandwidth (loads); narrow where V = 1.              template arguments of what is launched when shapes or
    // Bound by: bandwidth (stores); narrow where Unit != uint4.     addresses forbid 16 bytes
    // Bound by: bandwidth (loads); narrow where V = 1, alone for int, double: reason.
    // Bound by: bandwidth, narrow: reason.                          moves much, but not 16 bytes at a time
    // Bound by: latency: reason.                                    or arithmetic, or any other word

In the comment that opens the file, for kernels below half of the threads a multiprocessor can hold:

    // Occupancy: rows_kernel, held_kernel from 25%: reason.

A narrow instantiation needs a wide twin with the same types, or is listed as alone: `alone for` names words of its first
template argument. Text that nvcc never sees as a kernel's source, as of the samples of generated kernels, has its lines
in front of the PTX.
"""

import pathlib
import re
from dataclasses import dataclass, field


class DeclarationError(RuntimeError):
    pass


@dataclass
class Bound:
    """What bounds a kernel."""

    by: str
    wide: tuple = ()  # of "loads", "stores": those that need 16 bytes
    parameter: str = ""  # narrow where `parameter` is (not) `value`
    negated: bool = False
    value: str = ""
    alone: tuple = ()
    reason: str = ""


@dataclass
class Kernel:
    name: str
    place: str  # file:line
    parameters: list = field(default_factory=list)  # (kind, name) of the template
    bound: Bound = None
    floor: int = 50  # per cent
    floor_reason: str = ""

    def is_narrow(self, arguments):
        """Whether these template arguments are those of a narrow instantiation."""
        if not self.bound.parameter:
            return False
        names = [name for _, name in self.parameters]
        return (arguments[names.index(self.bound.parameter)] == self.bound.value) != self.bound.negated

    def types(self, arguments):
        """The arguments that a wide twin shares."""
        return tuple(a for a, (kind, name) in zip(arguments, self.parameters)
                     if kind in ("class", "typename") and name != self.bound.parameter)

    def is_alone(self, arguments):
        return any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", arguments[0]) for word in self.bound.alone)


BANDWIDTH = re.compile(r"bandwidth \((loads, stores|loads|stores)\)(?:; narrow where (\w+) (=|!=) (\w+))?"
                       r"(?:, alone for ([\w, ]+): (.+))?")
NARROW = re.compile(r"bandwidth, narrow: (.+)")
OTHER = re.compile(r"(?!bandwidth)(\w+): (.+)")
OCCUPANCY = re.compile(r"([\w, ]+) from (\d+)%: (.+)")


def tagged(comment, tag):
    """The texts behind `tag` in the lines of a comment, with their continuations."""
    found, open_ = [], False
    for line in comment:
        body = re.sub(r"^\s*// ?", "", line).rstrip()
        if body.startswith(tag):
            found.append(body[len(tag):].strip())
            open_ = True
        elif open_ and body.startswith("  "):
            found[-1] += " " + body.strip()
        else:
            open_ = False
    return [text.rstrip(".") for text in found]


def read_bound(comment, what):
    """The bound that a comment declares, None where it declares none."""
    texts = tagged(comment, "Bound by:")
    if not texts:
        return None
    if len(texts) > 1:
        raise DeclarationError(f"{what} says `Bound by:` {len(texts)} times; once is expected")
    text = texts[0]
    if match := BANDWIDTH.fullmatch(text):
        wide, parameter, sign, value, alone, reason = match.groups()
        if alone and not parameter:
            raise DeclarationError(f"{what}: `alone for` is expected behind `narrow where`, found: {text}")
        return Bound("bandwidth", tuple(wide.split(", ")), parameter or "", sign == "!=", value or "",
                     tuple(word.strip() for word in alone.split(",")) if alone else (), reason or "")
    if match := NARROW.fullmatch(text):
        return Bound("bandwidth", reason=match[1])
    if match := OTHER.fullmatch(text):
        return Bound(match[1], reason=match[2])
    raise DeclarationError(f"{what}: `Bound by: {text}` was not understood; the forms are in "
                           "tools/kernel_declarations.py")


def read_floors(comment, file):
    """(names, per cent, reason) of each line about occupancy."""
    for text in tagged(comment, "Occupancy:"):
        match = OCCUPANCY.fullmatch(text)
        if match is None:
            raise DeclarationError(f"{file}: `Occupancy: {text}` was not understood; expected: NAME from N%: reason")
        yield [name.strip() for name in match[1].split(",")], int(match[2]), match[3]


def split_arguments(text):
    """Those of a template, at the outermost level: "float, Pair<A, B>" are two."""
    parts, depth, begin = [], 0, 0
    for i, c in enumerate(text):
        depth += {"<": 1, "(": 1, ">": -1, ")": -1}.get(c, 0)
        if c == "," and depth == 0:
            parts.append(text[begin:i].strip())
            begin = i + 1
    last = text[begin:].strip()
    return parts + [last] if last else parts


def after_parenthesis(text, begin):
    """Where the parenthesis that opens at `begin` has been closed."""
    depth = 0
    for i in range(begin, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if depth == 0:
            return i + 1
    return len(text)


def kernel_name(text):
    """Of text that begins with __global__."""
    begin = 0
    while (bounds := re.compile(r"\s*(?:__global__|void|static|__launch_bounds__(?=\())").match(text, begin)):
        begin = bounds.end()
        if bounds[0].strip() == "__launch_bounds__":
            begin = after_parenthesis(text, begin)
    match = re.compile(r"\s*(\w+)\s*\(").match(text, begin)
    return match[1] if match else None


def kernels_of_file(path, root):
    """The kernels that one file defines."""
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    lines = path.read_text().splitlines()
    found = []
    for i, line in enumerate(lines):
        if not re.match(r"\s*(?:extern \"C\" )?__global__\b", line):
            continue
        name = kernel_name("\n".join(lines[i:i + 12])[lines[i].index("__global__"):])
        if name is None:
            raise DeclarationError(f"{shown}:{i + 1}: no kernel's name was found behind __global__")
        top, parameters = i, []
        if i > 0 and lines[i - 1].rstrip().endswith(">"):
            while not lines[top].startswith("template"):
                top -= 1
            text = " ".join(lines[top:i]).strip()
            parameters = [tuple(p.split("=")[0].split()[-2:]) for p in split_arguments(text[text.index("<") + 1:-1])]
        comment = top
        while comment > 0 and lines[comment - 1].lstrip().startswith("//"):
            comment -= 1
        place = f"{shown}:{i + 1}"
        kernel = Kernel(name, place, parameters, read_bound(lines[comment:top], f"{place}: {name}"))
        if kernel.bound and kernel.bound.parameter and kernel.bound.parameter not in [n for _, n in parameters]:
            raise DeclarationError(f"{place}: {name} is narrow where {kernel.bound.parameter} has a value, but its "
                                   f"template's parameters are {', '.join(n for _, n in parameters) or 'none'}")
        found.append(kernel)
    opening = []
    for line in lines:
        if not line.startswith("//"):
            break
        opening.append(line)
    for names, floor, reason in read_floors(opening, shown):
        for name in names:
            of_name = [k for k in found if k.name == name]
            if not of_name:
                raise DeclarationError(f"{shown} gives the occupancy of {name}, which it does not define")
            for kernel in of_name:
                kernel.floor, kernel.floor_reason = floor, reason
    return found


def kernels_seen_by(source, root):
    """Name -> kernel, of a .cu file and what it includes of this tree."""
    seen, waiting, found = set(), [source], {}
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for kernel in kernels_of_file(path, root):
            if kernel.name in found:
                raise DeclarationError(f"{source.name} sees two kernels named {kernel.name}, at "
                                       f"{found[kernel.name].place} and {kernel.place}; give one another name")
            found[kernel.name] = kernel
        for name in re.findall(r'^#include "([^"]+)"', path.read_text(), re.M):
            for folder in (root, path.parent):
                if (folder / name).exists():
                    waiting.append((folder / name).resolve())
                    break
    return found


def kernel_of_ptx(path):
    """The one kernel of a generated file, by the lines in front of its PTX."""
    opening = []
    for line in path.read_text().splitlines():
        if not line.startswith("//"):
            break
        opening.append(line)
    kernel = Kernel(path.name, path.name, [], read_bound(opening, path.name))
    for _, floor, reason in read_floors(opening, path.name):
        kernel.floor, kernel.floor_reason = floor, reason
    return kernel
