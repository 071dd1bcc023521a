"""A real almadiad for tests: started in a directory of its own, on a free port, from a build tree.

    with Node({"server": {"workers": 2}, "storage segment": {"segment": "1m"}}) as node:
        rc, out, err = node.run("topic", "create", "a")
        node.kill_role("ledger")
        node.wait_log("ledger .*ready")

The build tree is $ALMADIA_BUILDDIR: its almadiad, its almadia, its plugins in .libs.  Nothing here
sleeps blindly: readiness comes from sd_notify or the manager's log line "almadiad ready", deaths from pidfd, the
rest from log lines.  When a test failed, the log is shown at the end as comments.
"""
import collections
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import tap

Result = collections.namedtuple("Result", "rc stdout stderr")
READY = re.compile(r"\bmanager\[\d+\]: almadiad ready\b")


def build_dir():
    """The build tree; the tests end here without one."""
    path = os.environ.get("ALMADIA_BUILDDIR")
    if not path:
        tap.bail("ALMADIA_BUILDDIR is not set: run by `make check`, or set it to the build tree")
    return os.path.abspath(path)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def parse_config(text):
    """Sections of an almadia.conf: {section: {key: value}}."""
    sections, keys = {}, None
    for line in text.splitlines():
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            keys = sections.setdefault(line.strip("[]"), {})
        else:
            key, _, value = line.partition("=")
            keys[key.strip()] = value.strip()
    return sections


def wait_for(condition, timeout, what):
    """Look every 10 ms until condition() is true; its value.  For what sends no event."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(0.01)


class Node:
    """One broker.  config: text or {section: {key: value}}, laid over the defaults below; a value None
    removes a key.  The directory lives as long as the object, over any number of starts."""

    def __init__(self, config=None, env=None, args=()):
        self.build = build_dir()
        self.dir = tempfile.mkdtemp(prefix="almadia-")
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.conf = os.path.join(self.dir, "almadia.conf")
        self.data = os.path.join(self.dir, "data")
        self.env = dict(os.environ, **(env or {}))
        self.args = list(args)
        self.proc = None
        self.lines = []              # of all starts
        self._cond = threading.Condition()
        self._ready = False
        self._reader = None
        self._defaults = {
            "server": {"data_dir": self.data, "runtime_dir": self.dir, "workers": "2",
                       "plugin_path": os.path.join(self.build, ".libs")},
            "listener native": {"protocol": "native", "bind": self.address},
        }
        self.configure(config or {})

    # -- configuration

    def configure(self, config):
        """Write almadia.conf: the defaults with config over them."""
        if isinstance(config, str):
            config = parse_config(config)
        sections = {name: dict(keys) for name, keys in self._defaults.items()}
        for name, keys in config.items():
            sections.setdefault(name, {}).update(keys)
        with open(self.conf, "w") as f:
            for name, keys in sections.items():
                f.write(f"[{name}]\n")
                f.writelines(f"{k} = {v}\n" for k, v in keys.items() if v is not None)
                f.write("\n")

    # -- start and stop

    def command(self):
        return [os.path.join(self.build, "almadiad"), "-c", self.conf] + self.args

    def start(self, timeout=30):
        """Start and wait until it serves.  Raises if it ends instead."""
        path = os.path.join(self.dir, "notify")
        if os.path.exists(path):
            os.unlink(path)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(path)
        self._ready = False
        read_end, write_end = os.pipe()
        self.proc = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=write_end,
                                     stderr=write_end, env=dict(self.env, NOTIFY_SOCKET=path))
        os.close(write_end)
        self._reader = threading.Thread(target=self._read, args=(read_end, notify), daemon=True)
        self._reader.start()
        with self._cond:
            if not self._cond.wait_for(lambda: self._ready or self.proc.poll() is not None, timeout):
                raise TimeoutError(f"almadiad is not ready after {timeout} s")
        if not self._ready:
            raise RuntimeError(f"almadiad ended with code {self.proc.returncode}:\n{self.log()}")
        return self

    def _read(self, fd, notify):
        """Thread: collect log lines and notices until every writer is gone."""
        rest = b""
        while True:
            readable, _, _ = select.select([fd, notify], [], [])
            ready = notify in readable and b"READY=1" in notify.recv(4096).split(b"\n")
            data = os.read(fd, 65536) if fd in readable else None
            *lines, rest = (rest + (data or b"")).split(b"\n")
            if data == b"":
                self.proc.wait()
            with self._cond:
                for line in lines:
                    text = line.decode("utf-8", "replace")
                    self.lines.append(text)
                    ready = ready or bool(READY.search(text))
                self._ready = self._ready or ready
                self._cond.notify_all()
            if data == b"":
                break
        os.close(fd)
        notify.close()

    def wait(self, timeout=30):
        """Wait for its end; the exit code."""
        rc = self.proc.wait(timeout)
        self._reader.join(timeout)
        return rc

    def stop(self, timeout=30):
        """SIGTERM, and the exit code."""
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self):
        """SIGKILL to the manager; its children end by themselves."""
        if self.proc.poll() is None:
            self.proc.kill()
        return self.wait()

    def reload(self):
        self.proc.send_signal(signal.SIGHUP)

    def try_start(self, timeout=30):
        """Run it where it should refuse to start: Result, or TimeoutError if it serves instead."""
        p = subprocess.run(self.command(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           env=self.env, timeout=timeout)
        return Result(p.returncode, p.stdout, p.stderr)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if kind is not None or tap.failures():
            tap.note(f"log of the broker in {self.dir}:")
            tap.note(self.log())
        self.close()

    def close(self):
        """End it in whatever state it is and remove its directory."""
        if self.proc is not None and self.proc.poll() is None:
            try:
                self.stop(10)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    # -- log

    def log(self):
        with self._cond:
            return "\n".join(self.lines)

    def mark(self):
        """Where the log ends now, for wait_log(since=...)."""
        with self._cond:
            return len(self.lines)

    def wait_log(self, pattern, timeout=30, since=0):
        """Wait for a log line that matches, and return it."""
        found = []

        def look():
            found[:] = [line for line in self.lines[since:] if re.search(pattern, line)]
            return found

        with self._cond:
            if not self._cond.wait_for(look, timeout):
                raise TimeoutError(f"no log line like {pattern!r} within {timeout} s")
        return found[0]

    # -- roles

    def roles(self):
        """{title: pid} of the processes below the manager, such as "worker 1"."""
        found = {}
        try:
            with open(f"/proc/{self.proc.pid}/task/{self.proc.pid}/children") as f:
                children = f.read().split()
        except OSError:
            return found
        for pid in children:
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    title = f.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            except OSError:
                continue
            match = re.search(r"\b(ledger|indexer|worker \d+)\b", title)
            if match:
                found[match.group(1)] = int(pid)
        return found

    def pid_of(self, role):
        """Pid of a role ("ledger", "indexer", "worker 1"; "worker": the lowest one), or None."""
        for title, pid in sorted(self.roles().items()):
            if title == role or title.startswith(role + " "):
                return pid
        return None

    def kill_role(self, role, sig=signal.SIGKILL, timeout=10):
        """Send a signal to a role and wait for its end; the pid it had."""
        pid = wait_for(lambda: self.pid_of(role), timeout, f"a process of role {role}")
        fd = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(fd, sig)
            if not select.select([fd], [], [], timeout)[0]:
                raise TimeoutError(f"{role} (pid {pid}) did not end by signal {sig}")
        finally:
            os.close(fd)
        return pid

    def wait_role(self, role, other_than=None, timeout=30):
        """Wait until the role has a process (another one than that pid); its pid."""
        def look():
            pid = self.pid_of(role)
            return pid if pid != other_than else None

        return wait_for(look, timeout, f"a new process of role {role}")

    # -- the command

    def run(self, *args, input=None, timeout=60, check=False):
        """Run `almadia ARGS` against this node: (rc, stdout, stderr) as text."""
        command = [os.path.join(self.build, "almadia"), "-s", self.address] + [str(a) for a in args]
        p = subprocess.run(command, input=input, capture_output=True, text=True, env=self.env,
                           timeout=timeout)
        if check and p.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: code {p.returncode}: {p.stderr}")
        return Result(p.returncode, p.stdout, p.stderr)

    def popen(self, *args, **kwargs):
        """The same in the background."""
        command = [os.path.join(self.build, "almadia"), "-s", self.address] + [str(a) for a in args]
        return subprocess.Popen(command, env=self.env, **kwargs)


if __name__ == "__main__":
    sys.exit("node.py is a module for tests; see its first lines")
