#!/usr/bin/env python3
"""A node of built-in plugins alone: builtin.py BUILDDIR, with no plugin file to be found."""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
os.environ["ALMADIA_BUILDDIR"] = sys.argv[1]
import tap  # noqa: E402
from node import Node  # noqa: E402

with tempfile.TemporaryDirectory() as nothing, Node({"server": {"plugin_path": nothing}}) as node:
    node.run("topic", "create", "t", check=True)
    node.run("pub", "t", "one", "two", check=True)
    got = node.run("sub", "t", "--from", "start", "--count", "2", check=True).stdout
    tap.is_(got, "one\ntwo\n", "a node of built-in plugins serves")
