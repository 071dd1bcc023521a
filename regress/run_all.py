#!/usr/bin/env python3
"""All tests of a checkout: several builds of the tree, each with its suites, counted together.

Each suite is a build (gcc, clang, sanitizers, built-in plugins, ...) and what to run in it.  Tests
speak TAP; their results are read from the .trs files that automake's driver writes.  A build that
fails counts as one failed test.  The last line is "N passed, N failed".
"""
import argparse
import glob
import os
import re
import subprocess
import sys
import time


class Tally:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def add(self, name, ok, why=""):
        if ok:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED: {name} {why}", flush=True)


def run(cmd, cwd, log, env=None, timeout=1500):
    """Run a command with its output in a file; True if it exits with 0."""
    with open(log, "ab") as f:
        try:
            return subprocess.run(cmd, cwd=cwd, stdout=f, stderr=subprocess.STDOUT, timeout=timeout,
                                  env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL).returncode == 0
        except subprocess.TimeoutExpired:
            f.write(b"\ntimed out\n")
            return False


def tail(path, lines=40):
    with open(path, errors="replace") as f:
        return "".join(f.readlines()[-lines:])


def count_trs(build, tally, suite):
    """Add the results of every .trs below a build directory."""
    n = 0
    for trs in sorted(glob.glob(os.path.join(build, "**", "*.trs"), recursive=True)):
        test = os.path.relpath(trs, build)[:-4]
        for line in open(trs, errors="replace"):
            m = re.match(r":test-result:\s*(\w+)\s*(.*)", line)
            if not m:
                continue
            n += 1
            if m.group(1) == "SKIP":
                continue
            ok = m.group(1) == "PASS"
            tally.add(f"{suite} {test} {m.group(2)}", ok)
        if re.search(r":global-test-result: (FAIL|ERROR)", open(trs, errors="replace").read()):
            print(tail(trs[:-4] + ".log"), flush=True)
    return n


def suite(tally, top, build, name, configure, targets, env=None, check=None):
    """Configure and make one build, then `make check` with the tests named (None: all)."""
    began = time.monotonic()
    where = os.path.join(build, name)
    os.makedirs(where, exist_ok=True)
    log = os.path.join(where, "suite.log")
    open(log, "wb").close()
    for old in glob.glob(os.path.join(where, "**", "*.trs"), recursive=True):
        os.unlink(old)
    jobs = f"-j{os.cpu_count() or 2}"
    built = run([os.path.join(top, "configure"), "-q", *configure], where, log, env) and \
        run(["make", "-s", jobs, "all"], where, log, env)
    tally.add(f"{name}: build without a warning", built, f"see {log}")
    if not built:
        print(tail(log), flush=True)
        return
    n = 0
    if check is not None:
        args = ["make", "-s", "check"] + ([f"TESTS={' '.join(check)}"] if check else [])
        run(args, where, log, env)
        n = count_trs(where, tally, name)
        tally.add(f"{name}: ran tests", n > 0, f"see {log}")
        if n == 0:
            print(tail(log), flush=True)
    for label, cmd in targets:
        ok = run(cmd, where, log, env)
        tally.add(f"{name}: {label}", ok)
        if not ok:
            print(tail(log), flush=True)
    print(f"-- {name}: {n} results, {time.monotonic() - began:.0f} s", flush=True)


def tests_below(top, *dirs):
    """Names of compiled tests of some layers, as the Makefile knows them."""
    names = []
    for d in dirs:
        text = open(os.path.join(top, d, "local.am")).read().replace("\\\n", " ")
        for m in re.finditer(r"^TESTS \+=\s*(.*)$", text, re.M):
            names += [t.replace("%D%", d) for t in m.group(1).split() if not t.endswith((".py", ".sh"))]
    return names


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--top", required=True)
    ap.add_argument("--build", required=True)
    ap.add_argument("--only", help="names of suites, separated by commas")
    args = ap.parse_args()
    top, build, tally = args.top, args.build, Tally()
    began = time.monotonic()
    chosen = args.only.split(",") if args.only else None

    def wanted(name):
        return chosen is None or name in chosen

    if wanted("gcc"):
        suite(tally, top, build, "gcc", ["--enable-werror", "--enable-fault-points", "CFLAGS=-O2 -g"], [], check=[])
    if wanted("asan"):
        suite(tally, top, build, "asan",
              ["--enable-werror", "--enable-fault-points", "--enable-sanitize=address,undefined", "CFLAGS=-O1 -g"],
              [], env={"UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"},
              check=tests_below(top, "regress/unit", "regress/conformance", "regress/fuzz"))
    if wanted("tsan"):
        suite(tally, top, build, "tsan", ["--enable-werror", "--enable-sanitize=thread", "CFLAGS=-O1 -g"], [],
              check=tests_below(top, "regress/unit"))
    if wanted("clang"):
        suite(tally, top, build, "clang", ["CC=clang", "--enable-werror", "--enable-builtin-plugins", "CFLAGS=-O2"],
              [("a node of built-in plugins alone serves",
                [sys.executable, os.path.join(top, "regress/scripts/builtin.py"), os.path.join(build, "clang")])],
              check=None)
    if wanted("lint"):
        log = os.path.join(build, "cppcheck.log")
        open(log, "wb").close()
        ok = run(["cppcheck", "-q", "--std=c11", "--error-exitcode=1", "--inline-suppr", "-j2",
                  "--enable=warning,portability", "--suppress=missingIncludeSystem",
                  "-I", "include", "-I", "server", "server", "plugins", "contrib"], top, log)
        tally.add("cppcheck is clean", ok)
        if not ok:
            print(tail(log), flush=True)
    if wanted("run"):
        log = os.path.join(build, "firstrun.log")
        open(log, "wb").close()
        ok = run([sys.executable, os.path.join(top, "regress/scripts/firstrun.py"), "--root",
                  os.path.join(build, "root")], top, log, timeout=120)
        tally.add("the main job: nothing lost over two kills", ok)
        print(tail(log), flush=True)
    print(f"{time.monotonic() - began:.0f} s in all")
    print(f"{tally.passed} passed, {tally.failed} failed", flush=True)
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
