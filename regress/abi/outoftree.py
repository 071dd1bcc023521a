"""A plugin needs the installed headers and kit and nothing else: a small extension, and a copy of
storage/memory on which a broker then runs."""
import atexit
import glob
import os
import re
import shutil
import subprocess
import tempfile

from node import Node, build_dir
from tap import is_, like, note, ok, skip

SRC = os.environ["ALMADIA_SRCDIR"]
BUILD = build_dir()
TOP = tempfile.mkdtemp(prefix="almadia-prefix-")
PREFIX = os.path.join(TOP, "prefix")
atexit.register(shutil.rmtree, TOP)

# A make of its own, not a part of the one that runs the tests; and no flags of the tree's build.
ENV = {k: v for k, v in os.environ.items()
       if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CFLAGS", "CPPFLAGS", "LDFLAGS", "DESTDIR")}

EXTENSION = r"""
#include <almadia/extension.h>

static int
load(const struct alm_host *host, struct alm_ext **out)
{
	*out = NULL;
	host->log(host, ALM_LOG_INFO, "loaded");
	return ALM_OK;
}

static void
unload(struct alm_ext *x)
{
	(void)x;
}

static int
hook(struct alm_ext *x, const struct alm_hook_event *e)
{
	(void)x;
	(void)e;
	return ALM_OK;
}

static const struct alm_extension_ops_v0 ops = {load, unload, hook};
static const struct alm_provider providers[] = {{
    .size = sizeof providers[0], .kind = ALM_KIND_EXTENSION, .major = ALM_EXTENSION_MAJOR,
    .minor_built = ALM_EXTENSION_MINOR, .minor_needed = ALM_EXTENSION_MINOR, .ops_size = sizeof ops,
    .name = "tiny", .doc = "an extension that allows everything", .ops = &ops}};
ALM_MODULE("tiny", "1.0", providers)
ALM_MODULE_NOTE(ALM_KIND_EXTENSION, ALM_EXTENSION_MAJOR, ALM_EXTENSION_MINOR, ALM_EXTENSION_MINOR);
"""


def make(*args, cwd):
    p = subprocess.run([os.environ.get("MAKE", "make"), *args], cwd=cwd, env=ENV, capture_output=True, text=True)
    if p.returncode:
        note(p.stdout + p.stderr)
    return p


def plugin_make(directory, *args):
    """make in a plugin's directory, with pkg-config looking into the prefix."""
    return make(f"PKG_CONFIG=env PKG_CONFIG_PATH={PREFIX}/lib/pkgconfig pkg-config --define-variable=prefix={PREFIX}",
                *args, cwd=directory)


def plugin_dir(name, sources, mk):
    """A directory with sources and a Makefile as the kit's README shows it."""
    directory = os.path.join(TOP, name)
    os.mkdir(directory)
    for path in sources:
        shutil.copy(path, directory)
    names = " ".join(os.path.basename(p) for p in sources if p.endswith(".c")) or f"{name}.c"
    with open(os.path.join(directory, "Makefile"), "w") as f:
        f.write(f"PLUGIN = {mk}\nSRCS = {names}\n"
                "include $(shell $(PKG_CONFIG) --variable=pluginmk almadia-plugin)\n")
    return directory


def exported(path):
    out = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True).stdout
    return sorted(line.split()[-1] for line in out.splitlines())


def installed(name):
    return os.path.join(PREFIX, "lib/almadia/plugins", name + ".so")


p = make("install-almadiaincludeHEADERS", "install-dist_pluginkitDATA", "install-pkgconfigDATA",
         f"prefix={PREFIX}", "libdir=${exec_prefix}/lib", cwd=BUILD)
is_(p.returncode, 0, "headers and kit are installed")

abi = open(os.path.join(PREFIX, "include/almadia/abi.h")).read()
pc = open(os.path.join(PREFIX, "lib/pkgconfig/almadia-plugin.pc")).read()
for kind in ("consensus", "storage", "protocol", "indexer", "extension"):
    version = ".".join(re.search(rf"define ALM_{kind.upper()}_{part} (\d+)u", abi).group(1) for part in ("MAJOR", "MINOR"))
    like(pc, rf"(?m)^abi_{kind}={re.escape(version)}$", f"the pkg-config file says the version of kind {kind}")

tiny = plugin_dir("tiny", [], "extension_tiny")
with open(os.path.join(tiny, "tiny.c"), "w") as f:
    f.write(EXTENSION)
p = plugin_make(tiny)
is_((p.returncode, p.stderr), (0, ""), "a small extension builds without a warning")
is_(exported(os.path.join(tiny, "extension_tiny.so")), ["alm_module_v1"], "it exports one symbol")
notes = subprocess.run(["readelf", "-n", os.path.join(tiny, "extension_tiny.so")], capture_output=True, text=True)
like(notes.stdout, r"Almadia\s+0x00000010", "it carries the note, one entry of 16 bytes")
is_(plugin_make(tiny, "install").returncode, 0, "make install")
ok(os.path.exists(installed("extension_tiny")), "it is where almadiad looks")
os.utime(os.path.join(PREFIX, "include/almadia/host.h"))
like(plugin_make(tiny).stdout, r"-c -o tiny.o", "a newer header rebuilds it")
plugin_make(tiny, "uninstall")
ok(not os.path.exists(installed("extension_tiny")), "make uninstall")
plugin_make(tiny, "clean")
is_(sorted(os.listdir(tiny)), ["Makefile", "tiny.c"], "make clean leaves the sources")
bad = plugin_dir("bad", [os.path.join(SRC, "include/almadia/abi.h")], "mystore")
p = plugin_make(bad)
like(p.stderr, r"PLUGIN \"mystore\" does not begin with", "a name that almadiad would not find is refused")

memory = sorted(glob.glob(os.path.join(SRC, "plugins/storage/memory/*.[ch]")))
if not memory:
    skip("a copy of storage/memory", "this tree has none")
else:
    copy = plugin_dir("memory", memory, "storage_memory")
    p = plugin_make(copy, "install")
    is_((p.returncode, p.stderr), (0, ""), "a copy of storage/memory builds without a warning and installs")
    is_(exported(installed("storage_memory")), ["alm_module_v1"], "it exports one symbol")
    here = os.path.join(BUILD, ".libs")
    conf = {"server": {"plugin_path": f"{os.path.dirname(installed('storage_memory'))}:{here}"},
            "storage": {"plugin": "memory"}, "indexers": {"plugins": "queue"}}
    needed = ("almadia", ".libs/protocol_native.so", ".libs/consensus_single.so", ".libs/indexer_queue.so")
    missing = [f for f in needed if not os.path.exists(os.path.join(BUILD, f))]
    if missing:
        skip("a broker on the copy", f"this tree has no {missing[0]}")
    else:
        with Node(conf) as node:
            maps = open(f"/proc/{node.pid_of('ledger')}/maps").read()
            ok(re.search(re.escape(installed("storage_memory")), maps), "the ledger has loaded the copy")
            is_(node.run("topic", "create", "t").rc, 0, "a topic is created")
            is_(node.run("pub", "t", "hello").rc, 0, "a message is published")
            is_(node.run("sub", "t", "--from", "start", "--count", "1", "--format", "%b\\n").stdout, "hello\n",
                "and consumed")
