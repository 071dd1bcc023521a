#!/usr/bin/env python3
"""Manuals and completions: sound, and what the programs themselves say."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from node import build_dir  # noqa: E402
from tap import is_, note, ok, skip  # noqa: E402

SOURCE = os.path.abspath(os.environ.get("ALMADIA_SRCDIR") or
                         os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
DOC = os.path.join(SOURCE, "contrib", "doc")
COMPLETION = os.path.join(SOURCE, "contrib", "ctl", "completion")
# The pages refer to each other before they are installed, and to pages of systemd.
EXPECTED_LINT = re.compile(r"referenced manual not found|mandoc\.db")


def read(path):
    with open(path) as f:
        return f.read()


def out(*command, **kwargs):
    return subprocess.run(command, capture_output=True, text=True, check=True, **kwargs).stdout


def almadia(*args):
    return out(os.path.join(build_dir(), "almadia"), *args)


def lint(path, name):
    if not shutil.which("mandoc"):
        skip(f"{name} passes mandoc -T lint", "mandoc is not installed")
        return
    p = subprocess.run(["mandoc", "-T", "lint", path], capture_output=True, text=True)
    bad = [line for line in (p.stdout + p.stderr).splitlines() if line and not EXPECTED_LINT.search(line)]
    ok(not bad, f"{name} passes mandoc -T lint") or note("\n".join(bad))


def same(got, want, name):
    ok(got == want, f"{name} is up to date (else: make update-generated)")


def page_settings(page):
    """{(section, key): default} of almadia.conf.5."""
    found, section = {}, None
    for line in page.splitlines():
        m = re.match(r"\.Ss \[(.*)\]", line)
        if m:
            section = m.group(1)
        m = re.match(r"\.It Cm (\S+) Pq (.*)", line)
        if m and section:
            d = re.search(r"default: ([^;]*)", m.group(2))
            found[section, m.group(1)] = d.group(1) if d else None
        if line.startswith(".Sh PLUGINS"):
            break
    return found


def check_settings():
    described = json.loads(out(os.path.join(build_dir(), "almadiad"), "--describe-config", "-o", "json"))
    page = page_settings(read(os.path.join(DOC, "almadia.conf.5")))
    names = {(s["section"], s["key"]) for s in described}
    is_(set(page), names, "almadia.conf.5 and --describe-config have the same settings")
    for s in described:
        default = s.get("default")
        if isinstance(default, str) and default.startswith("/"):
            continue                    # a path of this build
        is_(page.get((s["section"], s["key"])), "empty" if default == "" else default,
            f"default of {s['section']}.{s['key']}")


def check_shells():
    for shell, path in (("bash", "almadia.bash"), ("zsh", "_almadia"), ("fish", "almadia.fish")):
        same(almadia("gen", "completion", shell), read(os.path.join(COMPLETION, path)), path)
        if not shutil.which(shell):
            skip(f"{shell} accepts {path}", f"{shell} is not installed")
            continue
        p = subprocess.run([shell, "-n", os.path.join(COMPLETION, path)], capture_output=True, text=True)
        ok(p.returncode == 0, f"{shell} accepts {path}") or note(p.stderr)
    script = f"""source {COMPLETION}/almadia.bash
complete_line() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _almadia; echo "${{COMPREPLY[@]}}"; }}
complete_line almadia to
complete_line almadia topic cr
complete_line almadia -o js
complete_line almadia bench pub --con
"""
    is_(out("bash", "-c", script).split("\n")[:4],
        ["topic", "create", "json jsonl", "--connections --context"], "bash completes words, values, options")


def main():
    same(almadia("gen", "man"), read(os.path.join(DOC, "almadia.1")), "almadia.1")
    for name in ("almadia.1", "almadiad.8", "almadia.conf.5", "libalmadia.3", "almadia-protocol.7",
                 "almadia-plugin.7", "almadia-plugin-check.1"):
        lint(os.path.join(DOC, name), name)
    directory = tempfile.mkdtemp(prefix="almadia-man-")
    try:
        almadia("gen", "man", "--dir", directory)
        for name in sorted(os.listdir(directory)):
            lint(os.path.join(directory, name), name)
    finally:
        shutil.rmtree(directory)
    check_settings()
    check_shells()


if __name__ == "__main__":
    main()
