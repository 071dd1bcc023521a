#!/usr/bin/env python3
"""Walk the command's table: each command with -o json writes exactly one JSON document to stdout.

The arguments of each command stand below; a command without an entry fails, so that a new command
cannot come without JSON.  They run in this order against one node, each must succeed.
"""
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from node import Node, build_dir  # noqa: E402
from tap import is_, ok, note  # noqa: E402

ONLINE = [
    ("topic create", ["t", "--queues", "2"]),
    ("topic list", []),
    ("topic alter", ["t", "--retention-time", "1h"]),
    ("pub", ["t", "hello", "--key", "k"]),
    ("topic describe", ["t"]),
    ("sub", ["t", "--from", "start", "--count", "1"]),
    ("tail", ["t"]),
    ("msg find", ["t", "--key", "k"]),
    ("msg get", ["POSITION"]),
    ("group create", ["g"]),
    ("group list", []),
    ("group reset", ["g", "t", "--to", "start", "-y"]),
    ("group describe", ["g"]),
    ("group lag", ["g"]),
    ("group delete", ["g", "-y"]),
    ("node info", []),
    ("node config", []),
    ("node stats", []),
    ("plugin list", []),
    ("plugin info", ["segment"]),
    ("bench pub", ["b", "--count", "100", "--keep"]),
    ("bench sub", ["b"]),
    ("bench e2e", ["b2", "--count", "100"]),
    ("check", ["--warn-disk", "1", "--crit-disk", "0"]),
    ("topic delete", ["t", "-y"]),
]
OFFLINE = [
    ("log dump", ["DATA"]),
    ("log verify", ["DATA"]),
    ("bench disk", ["DIR", "--rounds", "2"]),
    ("ctx add", ["c", "127.0.0.1:1", "--use"]),
    ("ctx list", []),
    ("ctx use", ["c"]),
    ("ctx show", []),
    ("ctx delete", ["c"]),
    ("err explain", []),
    ("gen completion", ["bash"]),
    ("gen man", []),
    ("gen systemd", []),
    ("version", []),
    ("help", []),
]


def almadia(args, env):
    return subprocess.run([os.path.join(build_dir(), "almadia")] + args, capture_output=True, text=True,
                          env=env, timeout=120)


def position_of(text):
    return str(json.loads(text)[0]["position"])


def main():
    directory = tempfile.mkdtemp(prefix="almadia-table-")
    env = dict(os.environ, HOME=directory, XDG_CONFIG_HOME=directory,
               ALMADIA_PLUGIN_PATH=os.path.join(build_dir(), ".libs"))
    table = json.loads(almadia(["help", "--json"], env).stdout)
    known = {c["command"] for c in table["commands"]}
    is_(known - {name for name, _ in ONLINE + OFFLINE}, set(), "every command of the table is tried here")

    words = {"DIR": directory}

    def attempt(name, args):
        args = [words.get(a, a) for a in args]
        p = almadia(name.split() + args + ["-o", "json"], env)
        try:
            doc = json.loads(p.stdout)
        except ValueError as e:
            doc = None
            note(f"{e}: {p.stdout[:400]!r}")
        if not ok(p.returncode == 0 and doc is not None, f"{name} -o json"):
            note(f"exit code {p.returncode}; stderr: {p.stderr}")
        return p

    with Node() as node:
        words["DATA"] = node.data
        env["ALMADIA_SERVER"] = node.address
        for name, args in ONLINE:
            p = attempt(name, args)
            if name == "sub" and p.returncode == 0:
                words["POSITION"] = position_of(p.stdout)
        node.stop()
        for name, args in OFFLINE:
            attempt(name, args)
    for c in table["commands"]:
        p = almadia(c["command"].split() + ["--help"], env)
        ok(p.returncode == 0 and f"almadia {c['command']}" in p.stdout and not p.stderr,
           f"{c['command']} --help")
    is_(almadia(["topic", "list", "-o", "json", "-s", "127.0.0.1:1"], env).returncode, 5,
        "an error has its exit code in JSON mode too")
    error = json.loads(almadia(["topic", "list", "-o", "json", "-s", "127.0.0.1:1"], env).stderr)
    is_(error["error"]["status"], "ALM_EUNAVAILABLE", "and is JSON on stderr")


if __name__ == "__main__":
    main()
