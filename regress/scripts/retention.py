#!/usr/bin/env python3
"""Retention on a running node: released segments are written again, not removed and made anew."""
import os

import tap
from node import Node, wait_for

CONF = {"storage segment": {"segment_size": "1m", "first_segment_size": "1m"}, "retention": {"bytes": "4m"}}
LINES = "\n".join(["x" * 1000] * 3000) + "\n"


HELD_MAX = 200
held = {}  # inode: descriptor. While a file is open its inode number is not given to another


def segments(node):
    """Inode of each segment file by name, of those held open."""
    log, found = os.path.join(node.data, "log"), {}
    for name in os.listdir(log):
        if not name.endswith(".seg"):
            continue
        try:
            fd = os.open(os.path.join(log, name), os.O_RDONLY)
        except FileNotFoundError:  # released meanwhile
            continue
        found[name] = os.fstat(fd).st_ino
        if found[name] in held or len(held) == HELD_MAX:
            os.close(fd)
        else:
            held[found[name]] = fd
    return {name: ino for name, ino in found.items() if ino in held}


def count(node):
    return sum(1 for name in os.listdir(os.path.join(node.data, "log")) if name.endswith(".seg"))


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
        wait_for(lambda: count(node) <= 8, 30, "the log to shrink to its size")
        tap.ok(count(node) <= 8, "a log of 4 MiB keeps to its size, give or take what is open")


main()
