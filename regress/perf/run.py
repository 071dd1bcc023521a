#!/usr/bin/env python3
"""Speed and memory of a node, as ratios to yardsticks measured in the same run.

Yardsticks: the ceiling (ceiling.c, the least that a durable log server must do), Redis streams with
appendfsync always, NATS JetStream (acks from the page cache).  Peers that are not installed are
left out and said so; `apt-get install redis-server nats-server` brings them.

    regress/perf/run.py --root build/root --tools build/main [--only NAME,...] [--secs 4] [--json FILE]

Each measurement is the median of --rounds runs; runs of the things compared alternate.  Prints a
table with the ratio, the goal and whether it is met.
"""
import argparse
import glob
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, proc, secs=30):
    deadline = time.monotonic() + secs
    while time.monotonic() < deadline:
        if proc.poll() is not None:
            raise RuntimeError(f"{proc.args[0]} exited with {proc.returncode}")
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise RuntimeError(f"{proc.args[0]}: port {port} does not open")


def tree(pid):
    """The process and all below it."""
    out = [pid]
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            for child in open(path).read().split():
                out += tree(int(child))
        except OSError:
            pass
    return out


def memory_kib(pids):
    """RssAnon of all, plus RssShmem counted once (the largest)."""
    anon, shmem = 0, 0
    for pid in pids:
        for line in open(f"/proc/{pid}/status"):
            if line.startswith("RssAnon:"):
                anon += int(line.split()[1])
            elif line.startswith("RssShmem:"):
                shmem = max(shmem, int(line.split()[1]))
    return anon + shmem


class Server:
    """A server under test: start it, load it, stop it."""

    def __init__(self, work):
        self.work = work
        self.port = free_port()
        self.proc = None

    def stop(self):
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(20)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()

    def launch(self, cmd):
        self.log = open(os.path.join(self.work, "log"), "wb")
        self.proc = subprocess.Popen(cmd, stdout=self.log, stderr=self.log, cwd=self.work)
        wait_port(self.port, self.proc)
        return self


class Almadia(Server):
    driver = "load_native"

    def start(self, root, mode="processes", workers=1, extra=""):
        conf = os.path.join(self.work, "almadia.conf")
        with open(conf, "w") as f:
            f.write(f"[server]\ndata_dir = {self.work}/data\nruntime_dir = {self.work}\nmode = {mode}\n"
                    f"workers = {workers}\n[listener native]\nprotocol = native\n"
                    f"bind = 127.0.0.1:{self.port}\n{extra}")
        return self.launch([f"{root}/sbin/almadiad", "-c", conf])


class Ceiling(Server):
    driver = "load_ceiling"

    def start(self, tools, grow=False):
        return self.launch([f"{tools}/regress/perf/ceiling", str(self.port), f"{self.work}/log.bin"]
                           + (["grow"] if grow else []))


class Redis(Server):
    driver = "load_redis"

    def start(self):
        return self.launch(["redis-server", "--port", str(self.port), "--dir", self.work, "--appendonly",
                            "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no"])


class Nats(Server):
    driver = "load_nats"

    def start(self):
        return self.launch(["nats-server", "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", self.work])


class Bench:
    def __init__(self, args):
        self.args = args
        self.rows = []
        self.raw = []

    def load(self, server, mode, **keys):
        cmd = [f"{self.args.tools}/regress/perf/{server.driver}", mode, f"127.0.0.1:{server.port}"]
        cmd += [f"{k}={v}" for k, v in keys.items()]
        out = subprocess.run(cmd, capture_output=True, text=True, timeout=300)
        if out.returncode != 0:
            raise RuntimeError(f"{' '.join(cmd)}: {out.stderr.strip()}")
        result = json.loads(out.stdout.strip().splitlines()[-1])
        self.raw.append({"server": type(server).__name__, "mode": mode, **keys, "result": result})
        return result

    def row(self, what, value, against, ratio, goal, ok):
        self.rows.append((what, value, against, ratio, goal, ok))
        met = "-" if ok is None else ("met" if ok else "MISSED")
        print(f"{what:58s} {value:>16s} {against:>24s} {ratio:>8s} {goal:>16s} {met}", flush=True)

    def work(self):
        return tempfile.mkdtemp(prefix="almadia-perf-", dir=self.args.dir)

    def median_rates(self, servers, mode, **keys):
        """Median of ack_s for several servers, runs alternating."""
        got = {name: [] for name in servers}
        for _ in range(self.args.rounds):
            for name, server in servers.items():
                got[name].append(self.load(server, mode, **keys)["ack_s"])
        return {name: statistics.median(v) for name, v in got.items()}

    def peers(self):
        out = {}
        for name, cls, binary in (("redis", Redis, "redis-server"), ("nats", Nats, "nats-server")):
            if shutil.which(binary) and os.path.exists(f"{self.args.tools}/regress/perf/{cls.driver}"):
                out[name] = cls(self.work()).start()
            else:
                print(f"-- {binary} is not installed: left out")
        return out


# Retention so small that the log cycles through recycled segments within one run.
# The log is then as large as the ceiling's file.
RECYCLE = "[storage segment]\nsegment_size = 64m\nspare_segments = 2\n[retention]\nbytes = 640m\n"


def cycle_log(bench, server):
    """Publish until the log has gone through all its segments once."""
    bench.load(server, "fill", size=1024, conns=16, window=256, count=2600000, secs=60)


def throughput(bench):
    a = bench.args
    ceiling = Ceiling(bench.work()).start(a.tools)
    ours = Almadia(bench.work()).start(a.root, a.mode, extra=RECYCLE)
    cycle_log(bench, ours)
    for size in (1024, 100):
        for window, goal in ((64, 0.40), (1024, 0.30)):
            got = bench.median_rates({"ceiling": ceiling, "ours": ours}, "pub", size=size, conns=16,
                                     window=window, secs=a.secs)
            ratio = got["ours"] / got["ceiling"]
            bench.row(f"publish {size} B, 16 x {window}, recycled log", f"{got['ours']:,.0f}/s",
                      f"ceiling {got['ceiling']:,.0f}/s", f"{ratio:.2f}", f">= {goal:.2f}", ratio >= goal)
    ours.stop()
    peers = bench.peers()
    for size in (1024, 100):
        for name, peer in peers.items():
            fresh = Almadia(bench.work()).start(a.root, a.mode)
            got = bench.median_rates({name: peer, "ours": fresh}, "pub", size=size, conns=16, window=64,
                                     secs=a.secs)
            fresh.stop()
            bench.row(f"publish {size} B, 16 x 64, new log", f"{got['ours']:,.0f}/s",
                      f"{name} {got[name]:,.0f}/s", f"{got['ours'] / got[name]:.2f}", "", None)
    for peer in peers.values():
        peer.stop()
    ceiling.stop()
    grow = Ceiling(bench.work()).start(a.tools, grow=True)
    fresh = Almadia(bench.work()).start(a.root, a.mode)
    got = bench.median_rates({"ceiling": grow, "ours": fresh}, "pub", size=1024, conns=16, window=64, secs=a.secs)
    bench.row("publish 1024 B, 16 x 64, growing log", f"{got['ours']:,.0f}/s",
              f"ceiling {got['ceiling']:,.0f}/s", f"{got['ours'] / got['ceiling']:.2f}", "", None)
    grow.stop()
    fresh.stop()


def latency(bench):
    a = bench.args
    ceiling = Ceiling(bench.work()).start(a.tools)
    for mode in ("processes", "threads", "fused"):
        ours = Almadia(bench.work()).start(a.root, mode, extra=RECYCLE)
        p50 = {"ceiling": [], "ours": []}
        for _ in range(a.rounds):
            for name, server in (("ceiling", ceiling), ("ours", ours)):
                p50[name].append(bench.load(server, "pub", size=1024, conns=1, window=1, secs=a.secs)["ack"]["p50"])
        c, o = statistics.median(p50["ceiling"]), statistics.median(p50["ours"])
        if mode == "fused":
            bench.row("ack p50, one in flight, fused", f"{o:.0f} us", f"ceiling {c:.0f} us", f"{o / c:.2f}",
                      "<= 1.20", o <= 1.2 * c)
        else:
            bench.row(f"ack p50, one in flight, {mode}", f"{o:.0f} us", f"ceiling {c:.0f} us",
                      f"+{o - c:.0f}us", "<= +70us", o <= c + 70)
        rate = bench.median_rates({"ours": ours}, "pub", size=1024, conns=16, window=64, secs=a.secs)["ours"]
        bench.row(f"publish 1024 B, 16 x 64, {mode}", f"{rate:,.0f}/s", "", "", "", None)
        ours.stop()
    ceiling.stop()


def catch_up(bench):
    """A backlog of 1 GiB read by one consumer, alone and while publishers go on."""
    a = bench.args
    count = (1 << 30) // 1024
    ours = Almadia(bench.work()).start(a.root, a.mode)
    bench.load(ours, "fill", size=1024, conns=16, window=256, count=count, secs=120)
    mine = statistics.median(bench.load(ours, "drain", size=1024, count=count, secs=60)["recv_MBs"]
                             for _ in range(a.rounds))
    if shutil.which("redis-server"):
        peer = Redis(bench.work()).start()
        bench.load(peer, "fill", size=1024, conns=16, window=256, count=count, secs=120)
        theirs = statistics.median(bench.load(peer, "drain", size=1024, count=count, secs=60)["recv_MBs"]
                                   for _ in range(a.rounds))
        peer.stop()
        bench.row("catch-up read of 1 GiB, one consumer", f"{mine:,.0f} MB/s", f"redis {theirs:,.0f} MB/s",
                  f"{mine / theirs:.2f}", ">= 1.50", mine >= 1.5 * theirs)
    else:
        bench.row("catch-up read of 1 GiB, one consumer", f"{mine:,.0f} MB/s", "", "", "", None)
    ours.stop()


def mixed(bench):
    """Publishers while one consumer reads a backlog of 1 GiB, against publishers alone."""
    a = bench.args
    ours = Almadia(bench.work()).start(a.root, a.mode)
    bench.load(ours, "fill", size=1024, conns=16, window=256, count=(1 << 30) // 1024, secs=120, topic="backlog")
    alone = bench.median_rates({"ours": ours}, "pub", size=1024, conns=16, window=64, secs=a.secs, topic="live")["ours"]
    cmd = [f"{a.tools}/regress/perf/{ours.driver}", "drain", f"127.0.0.1:{ours.port}", "topic=backlog",
           f"count={(1 << 30) // 1024}"]
    reads = []
    reader = subprocess.Popen(["sh", "-c", f"while :; do {' '.join(cmd)}; done"], stdout=subprocess.PIPE, text=True,
                              start_new_session=True)
    busy = bench.load(ours, "pub", size=1024, conns=16, window=64, secs=a.secs, topic="live")["ack_s"]
    os.killpg(reader.pid, signal.SIGKILL)
    for line in reader.communicate()[0].splitlines():
        if line.startswith("{") and line.endswith("}"):
            reads.append(json.loads(line)["recv_MBs"])
    rate = f"reads {statistics.median(reads):,.0f} MB/s" if reads else "no read ended"
    bench.row("publish 1024 B while a backlog is read without pause", f"{busy:,.0f}/s", f"alone {alone:,.0f}/s",
              f"{busy / alone:.2f}", ">= 0.70", busy >= 0.7 * alone)
    bench.row("  the reads meanwhile", rate, "", "", "", None)
    ours.stop()


def end_to_end(bench):
    a = bench.args
    work = bench.work()
    disk = json.loads(subprocess.run([f"{a.root}/bin/almadia", "bench", "disk", work, "--rounds", "2000", "-o", "json"],
                                     capture_output=True, text=True, check=True).stdout)
    disk_p99 = next(r["p99"] for r in disk if r["size"] == 4096 and r["space"] == "recycled")
    loop_p99 = json.loads(subprocess.run([f"{a.tools}/regress/perf/loopback", "10000"], capture_output=True, text=True,
                                         check=True).stdout)["p99"]
    goal = 2 * disk_p99 + 4 * loop_p99
    ours = Almadia(work).start(a.root, a.mode, extra=RECYCLE)
    got = statistics.median(bench.load(ours, "e2e", size=1024, conns=4, window=256, rate=5000, secs=max(a.secs, 5))["e2e"]["p99"]
                            for _ in range(a.rounds))
    bench.row("end to end, 5,000/s of 1 KiB, p99", f"{got:.0f} us", f"disk {disk_p99:.0f}, loop {loop_p99:.0f} us",
              f"{got / goal:.2f}", f"<= {goal:.0f} us", got <= goal)
    ours.stop()


def first_ack(bench):
    """From exec to the first ack on an empty log, and from a restart after kill -9 of the whole node."""
    a = bench.args

    def start_and_publish(server):
        began = time.monotonic()
        server.proc = subprocess.Popen([f"{a.root}/sbin/almadiad", "-c", os.path.join(server.work, "almadia.conf")],
                                       stdout=server.log, stderr=server.log)
        while True:
            got = subprocess.run([f"{a.root}/bin/almadia", "-s", f"127.0.0.1:{server.port}", "topic", "create",
                                  f"t{int(began * 1e6)}"], capture_output=True)
            if got.returncode == 0:
                return (time.monotonic() - began) * 1000

    took = []
    for _ in range(5):
        server = Almadia(bench.work()).start(a.root, a.mode)
        server.stop()
        shutil.rmtree(os.path.join(server.work, "data"))
        took.append(start_and_publish(server))
        server.stop()
    bench.row("start with an empty log to the first ack", f"{statistics.median(took):.0f} ms", "", "", "< 100 ms",
              statistics.median(took) < 100)
    gib = a.recovery_gib
    server = Almadia(bench.work()).start(a.root, a.mode)
    bench.load(server, "fill", size=8192, conns=16, window=64, count=gib * (1 << 30) // 8192, secs=600)
    took = []
    for _ in range(3):
        bench.load(server, "pub", size=1024, conns=4, window=64, secs=1, topic="more")
        for pid in reversed(tree(server.proc.pid)):
            os.kill(pid, signal.SIGKILL)
        server.proc.wait()
        took.append(start_and_publish(server))
    bench.row(f"kill -9 with a log of {gib} GiB to the next ack", f"{max(took):.0f} ms", "worst of 3", "", "< 2000 ms",
              max(took) < 2000)
    server.stop()


def memory(bench):
    ours = Almadia(bench.work()).start(bench.args.root, bench.args.mode)
    time.sleep(2)
    pids = tree(ours.proc.pid)
    mib = memory_kib(pids) / 1024

    def switches():
        total = 0
        for pid in pids:
            for line in open(f"/proc/{pid}/status"):
                if line.startswith("voluntary_ctxt_switches"):
                    total += int(line.split()[1])
        return total

    before = switches()
    time.sleep(5)
    wakes = (switches() - before) / 5
    bench.row("idle memory, RssAnon + RssShmem of all processes", f"{mib:.1f} MiB", "", "", "< 12 MiB", mib < 12)
    bench.row("idle wake-ups of all processes", f"{wakes:.1f}/s", f"{len(pids)} processes", "",
              f"<= {2 * len(pids)}/s", wakes <= 2 * len(pids))
    ours.stop()


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--root", required=True, help="installed tree")
    ap.add_argument("--tools", required=True, help="build directory with regress/perf programs")
    ap.add_argument("--only", default="throughput,latency,catch_up,mixed,end_to_end,first_ack,memory")
    ap.add_argument("--mode", default="processes")
    ap.add_argument("--secs", type=float, default=4)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--dir", default="/var/tmp")
    ap.add_argument("--recovery-gib", type=int, default=10)
    ap.add_argument("--json")
    args = ap.parse_args()
    args.root, args.tools = os.path.abspath(args.root), os.path.abspath(args.tools)
    bench = Bench(args)
    parts = {"throughput": throughput, "latency": latency, "catch_up": catch_up, "mixed": mixed,
             "end_to_end": end_to_end, "first_ack": first_ack, "memory": memory}
    for name in args.only.split(","):
        parts[name](bench)
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"rows": bench.rows, "raw": bench.raw}, f, indent=1)
    for path in glob.glob(os.path.join(args.dir, "almadia-perf-*")):
        shutil.rmtree(path, ignore_errors=True)
    return 0 if all(row[5] is not False for row in bench.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
