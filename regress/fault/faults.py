#!/usr/bin/env python3
"""Faults of the disk and of clients, on a real node: what the operator sees and what is left."""
import os
import random
import socket
import subprocess
import tempfile
import time

import tap
from node import Node, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
SMALL = {"storage segment": {"segment_size": "4m", "first_segment_size": "4m", "keep_free": "4m"},
         "retention": {"reserved_space": "8m"}}


def build_shim(directory):
    """The library that makes a system call on the log fail, see shim.c."""
    path = os.path.join(directory, "shim.so")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", path, os.path.join(HERE, "shim.c"), "-ldl"], check=True)
    return path


def read_all(node, topic):
    return node.run("sub", topic, "--from", "start", "--idle", "1s", check=True).stdout.splitlines()


def stops_at_once_when_clients_have_gone():
    with Node() as node:
        node.run("topic", "create", "t", check=True)
        node.run("pub", "t", "a", "b", "c", check=True)
        node.run("sub", "t", "--from", "start", "--count", "3", check=True)
        began = time.monotonic()
        node.stop()
        tap.ok(time.monotonic() - began < 1.5, "a node whose consumers have gone does not wait for them")


def a_failed_call(shim, fault, says):
    """One failing call on a segment ends the node with exit 3; what was acked is there afterwards."""
    trigger = os.path.join(os.path.dirname(shim), "now")
    if os.path.exists(trigger):
        os.unlink(trigger)
    with Node(env={"LD_PRELOAD": shim, "SHIM_FAULT": fault, "SHIM_WHEN": trigger}) as node:
        node.run("topic", "create", "t", check=True)
        acked = [f"line {i}" for i in range(200)]
        node.run("pub", "t", "-", input="\n".join(acked) + "\n", check=True)
        open(trigger, "w").close()
        late = node.run("pub", "t", "too late", "--timeout", "2s")
        tap.isnt(late.rc, 0, f"{fault}: nothing more is acknowledged")
        tap.is_(node.wait(), 3, f"{fault}: the node ends with exit 3")
        tap.like(node.log(), says, f"{fault}: and says why")
        os.unlink(trigger)
        node.env.pop("LD_PRELOAD")
        node.start()
        got = read_all(node, "t")
        tap.is_(got[:200], acked, f"{fault}: all that was acknowledged is there")
        tap.ok(set(got[200:]) <= {"too late"}, f"{fault}: and nothing that was not sent")


def a_full_disk():
    if os.geteuid() != 0:
        tap.skip("a full disk", "mounting a small file system needs root")
        return
    mount = tempfile.mkdtemp(prefix="almadia-full-")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", mount], capture_output=True).returncode != 0:
        tap.skip("a full disk", "mounting is not allowed here")
        return
    try:
        with Node({**SMALL, "server": {"data_dir": mount + "/data"}}) as node:
            node.run("topic", "create", "t", check=True)
            node.run("topic", "create", "other", check=True)
            node.run("group", "create", "g")
            body = "\n".join(["x" * 4000] * 250) + "\n"
            refused = None
            for _ in range(60):
                got = node.run("pub", "t", "-", input=body, timeout=60)
                if got.rc != 0:
                    refused = got
                    break
            tap.ok(refused is not None, "a full disk refuses messages")
            tap.like(refused.stdout + refused.stderr if refused else "", r"disk full|EFULL", "the refusal names the cause")
            first = node.run("sub", "t", "--group", "g", "--from", "start", "--count", "3")
            tap.is_(len(first.stdout.splitlines()), 3, "reads and offset commits go on")
            tap.is_(node.run("topic", "delete", "other", "-y").rc, 0, "deletes go on")
            subprocess.run(["mount", "-o", "remount,size=128m", mount], check=True)
            wait_for(lambda: node.run("pub", "t", "after").rc == 0, 15, "publishing after space came back")
            tap.ok(True, "publishing goes on by itself when there is space")
            node.stop()
    finally:
        subprocess.run(["umount", "-l", mount])
        os.rmdir(mount)


def closed_by_server(sock):
    sock.settimeout(15)
    try:
        while sock.recv(65536):
            pass
    except (ConnectionResetError, BrokenPipeError):
        pass
    except socket.timeout:
        return False
    return True


def hostile_bytes():
    rng = random.Random(7)
    with Node() as node:
        node.run("topic", "create", "t", check=True)
        attacks = [rng.randbytes(5000), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff" * 64, b"\x00" * 4096,
                   (1 << 31).to_bytes(4, "little") + b"\x01" * 100]
        closed = 0
        for data in attacks:
            with socket.create_connection(("127.0.0.1", node.port)) as s:
                try:
                    s.sendall(data)
                except OSError:
                    pass
                closed += closed_by_server(s)
        tap.is_(closed, len(attacks), "connections that send nonsense are closed")
        halves = []
        for i in range(300):
            s = socket.create_connection(("127.0.0.1", node.port))
            s.sendall(b"\x20\x00\x00\x00"[: 1 + i % 4])
            halves.append(s)
        tap.is_(node.run("pub", "t", "still here").rc, 0, "300 half frames keep nobody else from publishing")
        for s in halves:
            s.close()
        tap.is_(read_all(node, "t"), ["still here"], "or from reading")


def a_dead_worker_is_its_own_clients_matter():
    with Node({"server": {"workers": 2}}) as node:
        node.run("topic", "create", "t", check=True)
        lines = "\n".join(str(i) for i in range(4000)) + "\n"
        pubs = [node.popen("pub", "t", "--lines", "/dev/stdin", "--rate", "2000", "-q", stdin=subprocess.PIPE, text=True)
                for _ in range(2)]
        for p in pubs:
            p.stdin.write(lines)
            p.stdin.close()
            p.stdin = None
        time.sleep(0.7)
        node.kill_role("worker 1")
        tap.is_([p.wait(60) for p in pubs], [0, 0], "publishers outlive a worker")
        got = read_all(node, "t")
        tap.is_(len(got), 8000, "each of their messages is there once")
        tap.is_({n for n in map(got.count, ("0", "1999", "3999"))}, {2}, "from both")


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1]))


def a_flipped_bit():
    with Node() as node:
        tap.isnt(node.try_start().rc, 0, "a second daemon on the same data directory is refused")
        node.run("topic", "create", "t", check=True)
        node.run("pub", "t", "-", input="".join(f"message {i}\n" for i in range(50)), check=True)
        node.run("pub", "t", "the last one", check=True)
        node.stop()
        log = os.path.join(node.data, "log")
        segment = os.path.join(log, "0000000000000000.seg")
        with open(segment, "rb") as f:
            at = f.read().find(b"message 5")
        for name, at in (("0000000000000000.seg", at), ("0000000000000000.idx", 40), ("meta", 40)):
            flip(os.path.join(log, name), at)
            got = node.run("log", "verify", node.data, "--plugin-path", os.path.join(node.build, ".libs"))
            tap.is_(got.rc, 1, f"log verify finds a flipped bit in {name}")
            if name.endswith(".seg"):
                refused = node.try_start()
                tap.is_(refused.rc, 3, "a node whose log is damaged does not start")
                tap.like(refused.stderr, r"--accept-data-loss, which drops all.*positions \d+-\d+",
                         "and names what would go")
            flip(os.path.join(log, name), at)
        node.start()
        tap.is_(len(read_all(node, "t")), 51, "nothing was cut off meanwhile")


def a_flipped_checkpoint():
    """The ledger's checkpoint is derived from the log: damage to it is found, reported and made good."""
    with Node() as node:
        node.run("topic", "create", "t", "--queues", "2", check=True)
        node.run("pub", "t", "one", "two", "--queue", "0", check=True)
        node.stop()
        path = os.path.join(node.data, "catalogue.ckpt")
        for at in (8, 40, os.path.getsize(path) - 1):
            flip(path, at)
            got = node.run("log", "verify", node.data, "--plugin-path", os.path.join(node.build, ".libs"))
            tap.is_(got.rc, 1, f"log verify finds byte {at} of the checkpoint flipped")
            tap.like(got.stdout + got.stderr, r"catalogue\.ckpt", "and names the file")
            flip(path, at)
        for at in (40, os.path.getsize(path) - 1):
            flip(path, at)
            mark = node.mark()
            node.start()
            node.wait_log("checkpoint ignored", since=mark)
            tap.is_(read_all(node, "t")[:2], ["one", "two"], "a node with a damaged checkpoint serves what is in the log")
            tap.is_(node.run("pub", "t", "more", "--queue", "1").rc, 0, "and takes messages")
            node.stop()
            got = node.run("log", "verify", node.data, "--plugin-path", os.path.join(node.build, ".libs"))
            tap.is_(got.rc, 0, "the file is written anew")


def main():
    with tempfile.TemporaryDirectory() as directory:
        shim = build_shim(directory)
        stops_at_once_when_clients_have_gone()
        a_failed_call(shim, "fdatasync", r"could not sync the log.*not retried")
        a_failed_call(shim, "pwrite", r"could not append to the log.*not retried")
    hostile_bytes()
    a_dead_worker_is_its_own_clients_matter()
    a_flipped_bit()
    a_flipped_checkpoint()
    a_full_disk()


main()
