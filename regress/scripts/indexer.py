#!/usr/bin/env python3
"""The indexer of a real broker: killed, its directories deleted, cut short, with flipped bits.

Whatever happens to derived data, the answers are those of the log.
"""
import os
import random
import shutil
import time

import tap
from node import Node, wait_for

LINES = [f"line {n}" for n in range(3000)]


def data(node, *parts):
    return os.path.join(node.data, *parts)


def publish(node, topic, lines, *args):
    node.run("pub", topic, *args, input="\n".join(lines) + "\n", check=True)


def consumed(node, topic, count):
    """Lines of the topic, sorted; queues come in any order."""
    out = node.run("sub", topic, "--from", "start", "--count", count, check=True).stdout
    return sorted(out.splitlines())


def expect_all(node, what):
    tap.is_(consumed(node, "t", len(LINES)), sorted(LINES), f"every message is found {what}")
    tap.is_(len(node.run("-o", "jsonl", "msg", "find", "t", "--key", "k7", "--limit", "100")
                .stdout.splitlines()), 100, f"messages are found by key {what}")
    lag = node.run("group", "lag", "g", "t")
    tap.is_(lag.rc, 0, f"the group's offsets are known {what}") or tap.note(lag.stderr)


def flip_bits(path, seed):
    """One flipped bit in each page behind the two meta pages."""
    rng = random.Random(seed)
    with open(path, "r+b") as f:
        f.seek(0, os.SEEK_END)
        for page in range(2, f.tell() // 4096):
            # In the page's header or its table of nodes, where LMDB keeps its pointers.
            at = page * 4096 + rng.randrange(0, 64)
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ 1 << rng.randrange(8)]))


def derived_data():
    with Node({"indexers": {"plugins": "queue,key"}}) as node:
        node.run("topic", "create", "t", "--queues", "4", check=True)
        node.run("group", "create", "g")
        for part in range(10):
            publish(node, "t", LINES[part * 300:part * 300 + 300], "--key", f"k{part}")
        node.run("sub", "t", "--group", "g", "--count", "1000", check=True)
        expect_all(node, "at first")

        pid = node.kill_role("indexer")
        node.wait_role("indexer", other_than=pid)
        expect_all(node, "after kill -9 of the indexer")

        for victim in ("index/queue", "index/key", "index", "state.1"):
            node.stop()
            shutil.rmtree(data(node, victim))
            node.start()
            expect_all(node, f"after {victim} was deleted")

        for victim in ("index/queue", "index/key", "state.1"):
            node.stop()
            path = data(node, victim, "data.mdb")
            os.truncate(path, os.path.getsize(path) // 8192 * 4096)
            node.start()
            expect_all(node, f"after {victim} was cut in half")

        for seed in range(3):
            node.stop()
            flip_bits(data(node, "index/queue", "data.mdb"), seed)
            node.start()
            expect_all(node, f"after bits flipped in index/queue ({seed})")
        # LMDB has no checksums: a pointer that is off can hide rows of the key index, which only a
        # comparison with the log would show.  It must not do more than that.
        for seed in range(3):
            node.stop()
            flip_bits(data(node, "index/key", "data.mdb"), seed)
            node.start()
            found = node.run("-o", "jsonl", "msg", "find", "t", "--key", "k7", "--limit", "100").stdout
            tap.ok(all('"key":"k7"' in line.replace(" ", "") for line in found.splitlines()),
                   f"nothing wrong is found by a damaged key index ({seed})") or tap.note(found[:500])
            tap.is_(consumed(node, "t", len(LINES)), sorted(LINES), "and everything else is served")
        node.stop()
        tap.is_(node.proc.returncode, 0, "it stops as asked")


def offsets_of_a_deleted_topic():
    with Node() as node:
        node.run("topic", "create", "t", "--queues", "1", check=True)
        node.run("group", "create", "g")
        publish(node, "t", LINES[:10])
        node.run("sub", "t", "--group", "g", "--count", "10", check=True)
        tap.like(node.run("group", "describe", "g").stdout, r"\bt\b", "a committed offset is shown")
        node.run("topic", "delete", "t", "-y", check=True)
        node.run("topic", "create", "t", "--queues", "1", check=True)
        publish(node, "t", ["new"])
        out = node.run("sub", "t", "--group", "g", "--from", "start", "--count", "1", "--idle", "5s")
        tap.is_(out.stdout, "new\n", "a topic of the same name begins without the old offset")


def state_that_the_log_cannot_give_back():
    conf = {"storage segment": {"segment_size": "1m", "first_segment_size": "1m"}, "retention": {"bytes": "4m"}}
    with Node(conf) as node:
        node.run("topic", "create", "t", check=True)
        body = ["x" * 1000] * 1000
        end = time.monotonic() + 60
        while "first" and time.monotonic() < end:
            publish(node, "t", body)
            begins = [r.split()[1] for r in node.run("topic", "describe", "t").stdout.splitlines()
                      if r.strip()[:1].isdigit()]
            if any(b != "0" for b in begins):
                break
        tap.ok(any(b != "0" for b in begins), "retention moves the begin of queues")
        node.stop()
        shutil.rmtree(data(node, "index"))
        node.start()
        tap.is_(node.run("topic", "describe", "t").rc, 0, "indexes are rebuilt from a log that begins late")
        node.stop()
        shutil.rmtree(data(node, "state.1"))
        mark = node.mark()
        try:
            node.start()
        except RuntimeError:
            pass
        line = node.wait_log("state store .* the log begins at", since=mark)
        tap.like(line, "--accept-data-loss", "a state store that cannot be rebuilt says what to do")
        node.kill()
        node.args = ["--accept-data-loss"]
        node.start()
        tap.is_(node.run("group", "create", "g2").rc, 0, "the operator may accept the loss")
        publish(node, "t", ["after"])
        node.stop()


def a_log_that_lost_its_end():
    """The operator accepts a loss: what was built from the lost part must not be seen any more."""
    with Node({"indexers": {"plugins": "queue,key"}}) as node:
        node.run("topic", "create", "t", "--queues", "1", check=True)
        for part in range(10):
            publish(node, "t", LINES[part * 300:part * 300 + 300], "--key", f"k{part}")
        node.run("topic", "create", "late", check=True)
        node.stop()
        for name in os.listdir(data(node, "log")):
            with open(data(node, "log", name), "r+b") as f:
                at = f.read().find(b"line 2000")
                if at >= 0:
                    f.seek(at)
                    f.write(b"LINE")
        refused = node.try_start()
        tap.isnt(refused.rc, 0, "a damaged log is refused")
        node.args = ["--accept-data-loss"]
        node.start()
        out = node.run("sub", "t", "--from", "start", "--idle", "1s", check=True).stdout.splitlines()
        tap.ok(0 < len(out) <= 2000 and out == LINES[:len(out)], f"{len(out)} messages are left, in order")
        tap.is_(node.run("-o", "jsonl", "msg", "find", "t", "--key", "k9").stdout, "", "nothing lost is found by key")
        publish(node, "t", ["new"], "--key", "new")
        again = node.run("sub", "t", "--from", "start", "--count", len(out) + 1, check=True).stdout.splitlines()
        tap.is_(again, LINES[:len(out)] + ["new"], "new messages follow what is left")
        tap.is_(len(node.run("-o", "jsonl", "msg", "find", "t", "--key", "new").stdout.splitlines()), 1,
                "and are found by key")
        if tap.failures():
            tap.note(node.log())


def quiet_when_idle():
    with Node() as node:
        node.run("topic", "create", "t", check=True)
        publish(node, "t", ["one"])
        pid = node.pid_of("indexer")

        def switches():
            with open(f"/proc/{pid}/status") as f:
                return sum(int(x.split()[1]) for x in f if x.startswith("voluntary_ctxt"))

        time.sleep(2)
        before = switches()
        time.sleep(4)
        tap.ok(switches() - before <= 5, "an idle indexer wakes up once a second")


derived_data()
offsets_of_a_deleted_topic()
state_that_the_log_cannot_give_back()
a_log_that_lost_its_end()
quiet_when_idle()
