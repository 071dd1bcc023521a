"""tap.py and node.py, tried on a stand-in for almadiad, so that a failure of a script test is the
broker's and not theirs."""
import atexit
import os
import shutil
import stat
import subprocess
import sys
import tempfile

build = tempfile.mkdtemp(prefix="almadia-fakebuild-")
os.environ["ALMADIA_BUILDDIR"] = build
atexit.register(shutil.rmtree, build)

import tap
from node import Node, Result, parse_config, wait_for
from tap import is_, like, ok

FAKE = r'''#!/usr/bin/env python3
import os, signal, socket, subprocess, sys, time
conf = open(sys.argv[sys.argv.index("-c") + 1]).read()
if "refuse = yes" in conf:
    sys.exit("almadia.conf:1: no")
def child(title):
    return subprocess.Popen(["bash", "-c", f"exec -a 'almadiad: {title}' sleep 1000"], stderr=subprocess.DEVNULL)
children = {t: child(t) for t in ("ledger", "worker 1", "worker 2", "indexer")}
def stop(*_):
    for c in children.values():
        c.kill()
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
print("2026 info manager[1]: ledger is ready", file=sys.stderr, flush=True)
print("2026 notice ledger[1]: ready for nothing yet", file=sys.stderr, flush=True)
if "by_log = yes" in conf:
    print(f"2026 notice manager[{os.getpid()}]: almadiad ready: x", file=sys.stderr, flush=True)
else:
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.sendto(b"READY=1\nSTATUS=x", os.environ["NOTIFY_SOCKET"])
while True:
    os.wait()
    for t, c in children.items():
        if c.poll() is not None or not os.path.exists(f"/proc/{c.pid}"):
            children[t] = child(t)
            print(f"2026 warn manager[1]: {t} again", file=sys.stderr, flush=True)
'''


def install(name, text):
    path = os.path.join(build, name)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)


def python(code):
    """Output and exit code of a test program of its own."""
    p = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return p.stdout, p.returncode


install("almadiad", FAKE)
install("almadia", '#!/bin/sh\necho "$@"\ncat\nexit 3\n')

is_(python("from tap import ok\nok(1, 'a')\nok(2, 'b')"), ("ok 1 - a\nok 2 - b\n1..2\n", 0),
    "passing tests end with the plan and code 0")
out, rc = python("from tap import is_\nis_(1, 2, 'a')")
is_((out, rc), ("not ok 1 - a\n# got  1\n# want 2\n1..1\n", 1), "a failure shows what was got and code 1")
out, rc = python("from tap import ok\nok(1, 'a')\nraise ValueError('x')")
ok(rc == 1 and "not ok 2 - the test died: ValueError: x" in out and out.endswith("1..2\n"),
   "an exception is a failed test")
is_(python("import tap")[1], 1, "no test at all is a failure")
is_(python("import tap\ntap.skip_all('no disk')"), ("1..0 # SKIP no disk\n", 0), "all may be skipped")

is_(parse_config("# x\n[server]\nworkers = 3\n[log]\nlevel=debug\n"),
    {"server": {"workers": "3"}, "log": {"level": "debug"}}, "configuration text is read")

with Node("[server]\nworkers = 1\n") as node:
    ok(True, "ready by sd_notify")
    like(open(node.conf).read(), r"workers = 1\n", "given settings replace the defaults")
    names = ["indexer", "ledger", "worker 1", "worker 2"]
    # A process that is just executing has no title for a moment.
    ok(wait_for(lambda: sorted(node.roles()) == names, 10, "all roles"), "roles are found by title")
    is_(len({node.wait_role(name) for name in names}), 4, "each role has a process")
    is_(node.pid_of("worker"), node.roles()["worker 1"], "a worker is a worker")
    old = node.kill_role("ledger")
    ok(node.wait_role("ledger", other_than=old) != old, "a killed role comes again")
    like(node.wait_log("ledger again"), "warn manager", "log lines are waited for")
    is_(node.run("topic", "list", input="in"), Result(3, f"-s {node.address} topic list\nin", ""),
        "the command gets the address, arguments and input")
    is_(node.stop(), 0, "it stops when asked")
    place = node.dir
ok(not os.path.exists(place), "its directory is gone afterwards")

with Node({"server": {"by_log": "yes"}}) as node:
    ok(True, "ready by the manager's log line, not by another role's")

node = Node({"server": {"refuse": "yes"}})
is_(node.try_start(), Result(1, "", "almadia.conf:1: no\n"), "a refusal gives code and text")
try:
    node.start()
    ok(False, "start raises if it ends")
except RuntimeError as e:
    like(str(e), "code 1.*\n.*almadia.conf:1: no", "start raises if it ends")
node.close()
