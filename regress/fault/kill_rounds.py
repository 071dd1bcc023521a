#!/usr/bin/env python3
"""Random kill -9 rounds under load: nothing acked is lost, nothing invented, offsets dense.

    regress/fault/kill_rounds.py --root build/root --tools build/gcc [--rounds 200] [--seed N]

A publisher (soak.c) runs all the time.  Each round waits a random moment, kills one role (ledger,
worker, indexer) or the whole node with -9, and waits until messages are acked again.  At the end
the publisher stops, every message is read and compared with the acks, the log is verified offline,
and the index is deleted and rebuilt once and everything compared again.  Prints TAP.
"""
import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

QUEUES = 4
ROLES = ["ledger", "ledger", "worker", "indexer", "node"]
RESUME_SECONDS = 30


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Node:
    def __init__(self, root, work, extra=""):
        self.root, self.work, self.port = root, work, free_port()
        self.conf = os.path.join(work, "almadia.conf")
        self.log = os.path.join(work, "almadiad.log")
        with open(self.conf, "w") as f:
            f.write(f"[server]\ndata_dir = {work}/data\nruntime_dir = {work}\nworkers = 2\nledger_restarts = 100000\nworker_restarts = 100000\n"
                    f"[listener native]\nprotocol = native\nbind = 127.0.0.1:{self.port}\n"
                    f"[storage segment]\nsegment_size = 8m\nfirst_segment_size = 4m\n{extra}")
        self.proc = None

    def start(self):
        self.proc = subprocess.Popen([f"{self.root}/sbin/almadiad", "-c", self.conf],
                                     stderr=open(self.log, "ab"), stdout=subprocess.DEVNULL)

    def children(self):
        with open(f"/proc/{self.proc.pid}/task/{self.proc.pid}/children") as f:
            return [int(p) for p in f.read().split()]

    def pids(self, role):
        out = []
        for pid in self.children():
            try:
                if role in open(f"/proc/{pid}/cmdline").read():
                    out.append(pid)
            except OSError:
                pass
        return out

    def stop(self):
        self.proc.send_signal(signal.SIGTERM)
        return self.proc.wait(30)


def kill_one(node, role, rng):
    """Kill -9; the whole node means manager and all children, then a fresh start."""
    if role == "node":
        victims = node.children() + [node.proc.pid]
        for pid in reversed(victims):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        node.proc.wait()
        node.start()
        return True
    pids = node.pids(role)
    if not pids:
        return False
    os.kill(rng.choice(pids), signal.SIGKILL)
    return True


def acks(path):
    try:
        return os.path.getsize(path) // 24
    except OSError:
        return 0


def wait_more(path, count, publisher, secs):
    """Wait for acks beyond count. Returns seconds waited, or None."""
    began = time.monotonic()
    while time.monotonic() - began < secs:
        if acks(path) > count:
            return time.monotonic() - began
        if publisher.poll() is not None:
            return None
        time.sleep(0.002)
    return None


class Tap:
    def __init__(self):
        self.n = 0
        self.bad = 0

    def ok(self, good, name, note=""):
        self.n += 1
        self.bad += not good
        print(f"{'ok' if good else 'not ok'} {self.n} - {name}" + (f"\n# {note}" if note else ""), flush=True)


def run_rounds(node, soak, ack_path, rounds, rng):
    """Returns (rounds done, list of seconds to the next ack by role)."""
    pub = subprocess.Popen([soak, "pub", f"127.0.0.1:{node.port}", "soak", str(QUEUES), "4000", ack_path],
                           stdout=subprocess.PIPE)
    if wait_more(ack_path, 0, pub, RESUME_SECONDS) is None:
        return pub, 0, {}
    times, done = {}, 0
    for i in range(rounds):
        time.sleep(rng.random() * 0.4)
        role = rng.choice(ROLES)
        if not kill_one(node, role, rng):
            continue
        # Acks already on their way must not count as recovery.
        time.sleep(0.02)
        waited = wait_more(ack_path, acks(ack_path), pub, RESUME_SECONDS)
        if waited is None:
            print(f"# round {i}: no ack after the {role} was killed", flush=True)
            break
        times.setdefault(role, []).append(waited)
        done += 1
    return pub, done, times


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--root", required=True)
    ap.add_argument("--tools", required=True)
    ap.add_argument("--rounds", type=int, default=200)
    ap.add_argument("--seed", type=int, default=int(time.time()))
    ap.add_argument("--keep", action="store_true")
    args = ap.parse_args()
    rng, tap = random.Random(args.seed), Tap()
    work = tempfile.mkdtemp(prefix="almadia-kill-", dir="/var/tmp")
    soak = os.path.join(args.tools, "regress/fault/soak")
    cli = os.path.join(args.root, "bin/almadia")
    ack_path = os.path.join(work, "acks")
    print(f"# seed {args.seed}, {args.rounds} rounds", flush=True)
    node = Node(args.root, work, "")
    node.start()
    for _ in range(500):
        if subprocess.run([cli, "-s", f"127.0.0.1:{node.port}", "topic", "create", "soak", "--queues", str(QUEUES)],
                          capture_output=True).returncode == 0:
            break
        time.sleep(0.02)
    pub, done, times = run_rounds(node, soak, ack_path, args.rounds, rng)
    for role, secs in sorted(times.items()):
        secs.sort()
        print(f"# {role}: {len(secs)} kills, next ack after {secs[len(secs) // 2] * 1000:.0f} ms median, "
              f"{secs[-1] * 1000:.0f} ms most", flush=True)
    pub.send_signal(signal.SIGTERM)
    out, _ = pub.communicate(timeout=60)
    tap.ok(pub.returncode == 0, "the publisher outlived every kill", out.decode().strip())
    enough = done >= args.rounds * 0.95
    tap.ok(enough, f"service resumed by itself after each kill ({done} of {args.rounds} rounds)")

    def check(name):
        got = subprocess.run([soak, "check", f"127.0.0.1:{node.port}", "soak", str(QUEUES), ack_path],
                             capture_output=True, text=True, timeout=300)
        tap.ok(got.returncode == 0, name, (got.stdout + got.stderr).strip())
        return got

    check("0 acked messages lost, 0 phantom, 0 duplicated, offsets dense")
    tap.ok(node.stop() == 0, "the node stops when asked")
    verify = subprocess.run([cli, "log", "verify", f"{work}/data"], capture_output=True, text=True)
    tap.ok(verify.returncode == 0, "the log verifies offline", (verify.stdout + verify.stderr).strip()[-300:])
    shutil.rmtree(f"{work}/data/index", ignore_errors=True)
    node.start()
    check("the same after the index was deleted and rebuilt from the log")
    tap.ok(node.stop() == 0, "the node stops again")
    print(f"1..{tap.n}")
    if tap.bad or args.keep:
        print(f"# kept {work}")
    else:
        shutil.rmtree(work, ignore_errors=True)
    return 1 if tap.bad else 0


if __name__ == "__main__":
    sys.exit(main())
