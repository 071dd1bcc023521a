#!/usr/bin/env python3
"""Scripts with expected output: a session at a shell, replayed against a real node.

    run_scripts.py [--update] [NAME...]      all scripts, or those named (01-tour)

A script regress/scripts/NN-name.t holds lines of:

    # text             a comment, copied to the output
    % config SECTION KEY = VALUE    a setting of the node, before anything is run
    % start | stop | restart | kill ROLE    the node; it starts by itself before the first command
    % offline          no node at all
    % hide REGEX => TEXT   replaced in the output, after what is always replaced
    $ command          run by bash; `almadia` talks to the node

and regress/expected/NN-name.out the session: each command, what it wrote (standard error after
standard output), and its exit code unless 0.  Times, ports, pids and the node's directory are
replaced by words, so that they compare.  Each command is one test.  --update writes the expected
files anew: read the difference before committing it.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import tap  # noqa: E402
from node import Node, build_dir  # noqa: E402

EXPECTED = os.path.join(HERE, "..", "expected")
ALWAYS = [
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r'"(born|created|committed_at|log_time)": ?\d+'), r'"\1": TIME'),
    (re.compile(r'"seconds": ?[0-9.e-]+'), '"seconds": N'),
]


class Script:
    def __init__(self, path):
        self.path = path
        self.name = os.path.basename(path)[:-2]
        self.config = {}
        self.offline = False
        self.hide = []
        self.steps = []             # (kind, text)
        with open(path) as f:
            for line in f.read().splitlines():
                self.parse(line)

    def parse(self, line):
        if line.startswith("% config "):
            name, value = line[9:].split("=", 1)
            section, key = name.strip().rsplit(" ", 1)
            self.config.setdefault(section, {})[key] = value.strip()
        elif line == "% offline":
            self.offline = True
        elif line.startswith("% hide "):
            pattern, text = line[7:].split(" => ")
            self.hide.append((re.compile(pattern), text))
        elif line.startswith("% "):
            self.steps.append(("node", line[2:]))
        elif line.startswith("$ "):
            self.steps.append(("run", line[2:]))
        else:
            self.steps.append(("text", line))


class Session:
    """One run of a script: chunks of output, one for each step."""

    def __init__(self, script):
        self.script = script
        self.node = None if script.offline else Node(script.config)
        self.dir = tempfile.mkdtemp(prefix="almadia-script-")
        self.started = False
        self.env = dict(os.environ, HOME=self.dir, XDG_CONFIG_HOME=os.path.join(self.dir, "config"),
                        PATH=build_dir() + os.pathsep + os.environ["PATH"], LC_ALL="C.UTF-8",
                        ALMADIAD=os.path.join(build_dir(), "almadiad"),
                        ALMADIA_PLUGIN_PATH=os.path.join(build_dir(), ".libs"), DIR=self.dir)
        for name in ("ALMADIA_SERVER", "ALMADIA_CONTEXT", "NO_COLOR"):
            self.env.pop(name, None)
        if self.node:
            self.env.update(ALMADIA_SERVER=self.node.address, DATA=self.node.data)

    def clean(self, text):
        if self.node:
            text = text.replace(self.node.data, "DATA").replace(self.node.dir, "NODE")
            text = text.replace(self.node.address, "HOST:PORT").replace(str(self.node.port), "PORT")
        text = text.replace(self.dir, "DIR").replace("\r\n", "\n")
        for pattern, replacement in ALWAYS + self.script.hide:
            text = pattern.sub(replacement, text)
        return text

    def control(self, text):
        word, _, role = text.partition(" ")
        if word in ("stop", "restart"):
            self.node.stop()
        if word in ("start", "restart"):
            self.node.start()
            self.started = True
        if word == "kill":
            old = self.node.kill_role(role)
            self.node.wait_role(role, other_than=old)
        return f"% {text}\n"

    def run(self, command):
        if self.node and not self.started:
            self.node.start()
            self.started = True
        p = subprocess.run(["bash", "-c", command], env=self.env, cwd=self.dir, capture_output=True,
                           stdin=subprocess.DEVNULL, timeout=120)
        out = p.stdout.decode("utf-8", "backslashreplace") + p.stderr.decode("utf-8", "backslashreplace")
        if out and not out.endswith("\n"):
            out += "\n"
        return f"$ {command}\n" + self.clean(out) + (f"[{p.returncode}]\n" if p.returncode else "")

    def step(self, kind, text):
        if kind == "text":
            return text + "\n"
        return self.control(text) if kind == "node" else self.run(text)

    def close(self):
        if self.node:
            self.node.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def expected_chunks(script):
    """The expected file cut where the script's steps begin, or None if it does not fit."""
    path = os.path.join(EXPECTED, script.name + ".out")
    if not os.path.exists(path):
        return None
    with open(path) as f:
        text = f.read()
    chunks, at = [], 0
    heads = [{"text": "", "node": "% ", "run": "$ "}[kind] + body + "\n" for kind, body in script.steps]
    for i, head in enumerate(heads):
        if not text.startswith(head, at):
            return None
        end = len(text)
        if i + 1 < len(heads):
            end = text.find("\n" + heads[i + 1], at) + 1 if heads[i + 1] else at + len(head)
            end = end or len(text)
        chunks.append(text[at:end])
        at = end
    return chunks


def show_difference(want, got):
    import difflib
    tap.note("\n".join(difflib.unified_diff(want.splitlines(), got.splitlines(), "expected", "got",
                                            lineterm="")))


def run(script, update):
    want = None if update else expected_chunks(script)
    if want is None and not update:
        tap.ok(False, f"{script.name}: regress/expected/{script.name}.out does not fit the script")
        return
    session = Session(script)
    got, bad = [], 0
    try:
        for i, (kind, text) in enumerate(script.steps):
            got.append(session.step(kind, text))
            if not update and kind != "text":
                if not tap.ok(got[i] == want[i], f"{script.name}: {text}"):
                    show_difference(want[i], got[i])
                    bad += 1
    finally:
        if bad and session.node:
            tap.note(f"log of the node:\n{session.node.log()}")
        session.close()
    if update:
        os.makedirs(EXPECTED, exist_ok=True)
        with open(os.path.join(EXPECTED, script.name + ".out"), "w") as f:
            f.write("".join(got))
        tap.ok(True, f"{script.name}: written")


def main():
    names = [a for a in sys.argv[1:] if not a.startswith("-")]
    for name in sorted(os.listdir(HERE)):
        if re.fullmatch(r"\d\d-[\w-]+\.t", name) and (not names or name[:-2] in names):
            run(Script(os.path.join(HERE, name)), "--update" in sys.argv)


if __name__ == "__main__":
    main()
