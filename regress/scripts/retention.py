#!/usr/bin/env python3
"""Retention on a running node: released segments are written again, not removed and made anew."""
import os

import tap
from node import Node, wait_for

CONF = {"storage segment": {"segment_size": "1m", "first_segment_size": "1m"}, "retention": {"bytes": "4m"}}
LINES = "\n".join(["x" * 1000] * 3000) + "\n"


def segments(node):
    """Inode of each segment file by name."""
    log = os.path.join(node.data, "log")
    return {name: os.stat(os.path.join(log, name)).st_ino for name in os.listdir(log) if name.endswith(".seg")}


def main():
    with Node(CONF) as node:
        node.run("topic", "create", "t", check=True)
        inodes, reused = {}, 0

        def written_again():
            nonlocal reused
            node.run("pub", "t", "-", input=LINES, check=True)
            now = segments(node)
            reused = sum(1 for name, ino in now.items() if inodes.get(ino, name) != name)
            inodes.update({ino: name for name, ino in now.items()})
            return reused > 0

        wait_for(written_again, 30, "a segment that is written again")
        tap.ok(reused > 0, "a released segment is written again")
        wait_for(lambda: len(segments(node)) <= 8, 30, "the log to shrink to its size")
        tap.ok(len(segments(node)) <= 8, "a log of 4 MiB keeps to its size, give or take what is open")


main()
