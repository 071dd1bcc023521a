#!/usr/bin/env python3
"""almadiad's command line: what each option prints and how it exits.  Nothing here starts a node."""
import json
import os
import subprocess
import tempfile

build = os.environ.get("ALMADIA_BUILDDIR", os.getcwd())
plugins = os.path.join(build, ".libs")
number = 0


def run(*args):
    p = subprocess.run([os.path.join(build, "almadiad"), *args], capture_output=True, text=True,
                       timeout=60)
    return p.returncode, p.stdout, p.stderr


def ok(condition, what, seen=""):
    global number
    number += 1
    print(f"{'ok' if condition else 'not ok'} {number} - {what}", flush=True)
    if not condition:
        print("# " + repr(seen))


def refused(what, wanted, *args):
    code, out, err = run(*args)
    ok(code == 2 and out == "" and err == wanted, what, (code, out, err))


with tempfile.TemporaryDirectory(prefix="almadia-cli-") as tmp:
    conf = os.path.join(tmp, "almadia.conf")
    here = ["-D", os.path.join(tmp, "data"), "-s", "server.plugin_path=" + plugins,
            "-s", "indexers.plugins=queue"]

    code, out, err = run("--version")
    ok(code == 0 and out.startswith("almadiad "), "--version", out)
    code, out, err = run("--help")
    ok(code == 0 and all(o in out for o in ("--threads", "--fused", "--accept-data-loss",
                                            "--describe-config", "--list-plugins")), "--help", out)
    code, out, err = run("--describe-config", "-o", "json")
    table = json.loads(out)
    ok(code == 0 and len(table) > 20 and all(s["doc"] and s["scope"] for s in table),
       "--describe-config -o json describes every setting", out)
    code, out, err = run("--describe-config")
    ok(code == 0 and all(f"# {s['key']} = " in out for s in table),
       "--describe-config names the same ones", out)

    with open(conf, "w") as f:
        f.write(run("--describe-config")[1])
    code, out, err = run("-c", conf, "-t", *here)
    ok(code == 0 and "the configuration is good" in err, "its text is itself a good configuration", err)
    ok(not os.path.exists(os.path.join(tmp, "data")), "-t makes no data directory")
    code, out, err = run("-t", "-o", "json", *here)
    ok(code == 0 and any(s["key"] == "data_dir" and s["origin"] == "command line"
                         for s in json.loads(out)), "-t -o json says where each value comes from", out)
    code, out, err = run("--list-plugins", "-o", "json", *here)
    names = [(p["kind"], p["name"]) for p in json.loads(out)]
    ok(code == 0 and ("storage", "segment") in names and ("consensus", "single") in names,
       "--list-plugins -o json", out)

    refused("an argument is refused", "almadiad: extra: no argument is expected (see almadiad --help)\n",
            "extra")
    refused("another output is refused",
            "almadiad: yaml: the output is text or json (see almadiad --help)\n", "-o", "yaml")
    refused("a bad override is refused",
            'almadiad: command line: server.workers: "none" is not a number (or auto)\n',
            "-t", "-s", "server.workers=none")
    refused("a missing file is refused",
            "almadiad: could not open /nonexistent.conf: No such file or directory\n",
            "-c", "/nonexistent.conf")
    with open(conf, "w") as f:
        f.write("[storage]\nplugin = segmnt\n")
    refused("a mistyped plugin is refused with a hint", "almadiad: almadia.conf:2: storage.plugin: no "
            f"storage plugin named segmnt: storage_segmnt.so is not in {plugins} (did you mean "
            "segment?)\n", "-c", conf, "-t", *here)
    refused("so it is without -t, and nothing starts", "almadiad: almadia.conf:2: storage.plugin: no "
            f"storage plugin named segmnt: storage_segmnt.so is not in {plugins} (did you mean "
            "segment?)\n", "-c", conf, *here)
    with open(conf, "w") as f:
        f.write("[storage segment]\nsegment_sise = 64m\n")
    refused("a mistyped setting of a plugin is refused with a hint", "almadiad: almadia.conf:2: storage "
            "segment.segment_sise: unknown setting (did you mean segment_size?)\n",
            "-c", conf, "-t", *here)

print(f"1..{number}")
