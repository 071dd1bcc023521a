#!/usr/bin/env python3
"""The SETTINGS section of almadia.conf(5), from `almadiad --describe-config -o json` on stdin.

    settings.py PAGE           print the page with its section renewed
"""
import json
import sys
import textwrap

BEGIN = '.\\" BEGIN SETTINGS'
END = '.\\" END SETTINGS'


def unit(value, kind):
    """A limit in the largest unit that fits evenly."""
    units = {"size": [("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)],
             "duration": [("d", 86400000000), ("h", 3600000000), ("m", 60000000), ("s", 1000000),
                          ("ms", 1000), ("us", 1)]}.get(kind, [])
    for name, factor in units:
        if value and value % factor == 0:
            return f"{value // factor}{name}"
    return str(value)


def plain(path):
    """A default that names a directory of the build shows the usual one."""
    for pattern, usual in (("/var/lib/almadia", "/var/lib/almadia"),
                           ("/almadia/plugins", "LIBDIR/almadia/plugins")):
        if path.endswith(pattern):
            return usual
    return path


def section(settings):
    out = []
    current = None
    for s in settings:
        if s["section"] != current:
            if current is not None:
                out.append(".El")
            current = s["section"]
            out += [f".Ss [{current}]\\&", ".Bl -tag -width Ds"]
        default = s.get("default")
        what = s["choices"].replace("|", ", ") if s.get("choices") else s["type"]
        if "min" in s and s["max"] < (1 << 62):
            what += f" from {unit(s['min'], s['type'])} to {unit(s['max'], s['type'])}"
        facts = [what]
        if default is None:
            facts.append("required")
        elif default == "":
            facts.append("default: empty")
        else:
            facts.append(f"default: {plain(default)}")
        if s["scope"] == "reload":
            facts.append("reload")
        out.append(f".It Cm {s['key']} Pq {'; '.join(facts)}")
        out += textwrap.wrap(s["doc"].replace("\\", "\\e") + ".", 76)
    out.append(".El")
    return "\n".join(out) + "\n"


def main():
    page = open(sys.argv[1]).read()
    head, rest = page.split(BEGIN, 1)
    line, rest = rest.split("\n", 1)
    tail = rest.split(END, 1)[1]
    body = section(json.load(sys.stdin))
    sys.stdout.write(head + BEGIN + line + "\n" + body + END + tail)


if __name__ == "__main__":
    main()
