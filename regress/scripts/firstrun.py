#!/usr/bin/env python3
"""The main job on real input: a file's lines go through the broker while its parts are killed.

Starts a broker in a temporary directory, publishes each line of a file, consumes the lines in a
group at the same time, kills the ledger and a worker with -9 on the way, and says what came out.
Exit code 0 only if every line came out once, in order.
"""
import argparse
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

DEFAULT_INPUTS = ["/var/log/dpkg.log", "/var/lib/dpkg/status"]
PUBLISH_SECONDS = 8.0


def say(text):
    print(text, flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def role_pid(manager, role):
    """Pid of a child of the manager whose title says the role, or None."""
    with open(f"/proc/{manager}/task/{manager}/children") as f:
        for pid in f.read().split():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as c:
                    if role.encode() in c.read():
                        return int(pid)
            except OSError:
                continue
    return None


def pick_input(arg, work):
    if arg == "-":
        path = os.path.join(work, "stdin")
        with open(path, "wb") as f:
            shutil.copyfileobj(sys.stdin.buffer, f)
        return path, "standard input"
    if arg:
        return arg, arg
    for path in DEFAULT_INPUTS:
        if os.path.exists(path) and os.path.getsize(path) > 0:
            return path, path
    sys.exit("firstrun: no package log on this machine: name a file")


def start_broker(root, work, port):
    conf = os.path.join(work, "almadia.conf")
    with open(conf, "w") as f:
        f.write(f"""[server]
data_dir = {work}/data
runtime_dir = {work}
workers = 2

[listener native]
protocol = native
bind = 127.0.0.1:{port}
""")
    log = open(os.path.join(work, "almadiad.log"), "wb")
    proc = subprocess.Popen([os.path.join(root, "sbin/almadiad"), "-c", conf], stderr=log, stdout=log)
    deadline = time.monotonic() + 15
    while b"ready" not in open(log.name, "rb").read():
        if proc.poll() is not None or time.monotonic() > deadline:
            sys.stderr.write(open(log.name).read())
            sys.exit("firstrun: the broker did not start")
        time.sleep(0.02)
    return proc, log.name


def sha(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def compare(sent, got):
    """(lost, duplicated, out of order) between two lists of lines."""
    from collections import Counter
    want, have = Counter(sent), Counter(got)
    lost = sum((want - have).values())
    extra = sum((have - want).values())
    return lost, extra, 0 if (lost or extra or sent == got) else 1


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--root", required=True, help="installed tree")
    ap.add_argument("--keep", action="store_true", help="keep the data directory")
    ap.add_argument("file", nargs="?")
    args = ap.parse_args()
    work = tempfile.mkdtemp(prefix="almadia-run-")
    source, label = pick_input(args.file, work)
    lines = open(source, "rb").read().split(b"\n")
    if lines and lines[-1] == b"":
        lines.pop()
    if not lines:
        sys.exit(f"firstrun: {label} has no lines")
    feed = os.path.join(work, "input")
    with open(feed, "wb") as f:
        f.write(b"".join(line + b"\n" for line in lines))
    size = os.path.getsize(feed)

    port = free_port()
    broker, log = start_broker(args.root, work, port)
    cli = [os.path.join(args.root, "bin/almadia"), "-s", f"127.0.0.1:{port}"]
    say(f"broker     pid {broker.pid}: manager, ledger, 2 workers, indexer on 127.0.0.1:{port}")
    subprocess.run(cli + ["topic", "create", "lines"], check=True, stdout=subprocess.DEVNULL)
    rate = max(1, int(len(lines) / PUBLISH_SECONDS))
    say(f"input      {label}: {len(lines)} lines, {size} bytes")
    out_path = os.path.join(work, "output")
    started = time.monotonic()
    out = open(out_path, "wb")
    sub = subprocess.Popen(cli + ["sub", "lines", "--group", "readers", "--format", "%b\\n",
                                  "--count", str(len(lines)), "--idle", "20s", "-q"], stdout=out)
    pub = subprocess.Popen(cli + ["pub", "lines", "--lines", feed, "--rate", str(rate), "-o", "json", "-q"],
                           stdout=subprocess.PIPE)
    for delay, role in ((PUBLISH_SECONDS / 4, "ledger"), (PUBLISH_SECONDS / 4, "worker")):
        time.sleep(delay)
        pid = role_pid(broker.pid, role)
        if pid is None:
            sys.exit(f"firstrun: no {role} process to kill")
        os.kill(pid, signal.SIGKILL)
        say(f"kill -9    the {role} (pid {pid}) {time.monotonic() - started:.1f} s into it; clients go on by themselves")
    pub_out, _ = pub.communicate(timeout=120)
    sub.wait(timeout=120)
    out.close()
    import json
    try:
        published = json.loads(pub_out.decode()).get("published", 0)
    except ValueError:
        published = 0
    got = open(out_path, "rb").read().split(b"\n")
    if got and got[-1] == b"":
        got.pop()
    lost, extra, disorder = compare(lines, got)
    say(f"published  {published} acked, each after its bytes were on disk")
    say(f"consumed   {len(got)} in group \"readers\"")
    say(f"lost       {lost}")
    say(f"duplicated {extra}")
    say(f"order      {'kept' if not disorder and not lost and not extra else 'changed'}")
    say(f"sha256 in  {sha(feed)}")
    say(f"sha256 out {sha(out_path)}")
    broker.send_signal(signal.SIGTERM)
    code = broker.wait(timeout=20)
    verify = subprocess.run([cli[0], "log", "verify", os.path.join(work, "data")],
                            capture_output=True, text=True)
    say(f"verify     exit {verify.returncode}: {verify.stdout.strip().splitlines()[-1] if verify.stdout.strip() else verify.stderr.strip()}")
    say(f"broker     stopped with exit {code}, {time.monotonic() - started:.1f} s in all")
    good = (lost == 0 and extra == 0 and not disorder and published == len(lines) and pub.returncode == 0
            and sub.returncode == 0 and code == 0 and verify.returncode == 0)
    if not good:
        sys.stderr.write(open(log).read()[-4000:])
    if args.keep or not good:
        say(f"kept       {work}")
    else:
        shutil.rmtree(work)
    say("OK" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
