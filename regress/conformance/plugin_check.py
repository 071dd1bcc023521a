"""almadia-plugin-check: the server's judgement first, then the kit of the kind."""
import os
import shutil
import subprocess
import tempfile

from node import build_dir
from tap import is_, like

BUILD = build_dir()
HERE = os.path.join(BUILD, "regress/conformance")
SINGLE = os.path.join(BUILD, ".libs/consensus_single.so")
DIR = tempfile.mkdtemp(prefix="almadia-plugin-check-")


def check(*args):
    return subprocess.run([os.path.join(BUILD, "almadia-plugin-check"), "--kits", HERE, *args],
                          capture_output=True, text=True)


def misfit(name, as_file):
    path = os.path.join(DIR, as_file)
    shutil.copy(os.path.join(BUILD, f"regress/unit/.libs/misfit_{name}.so"), path)
    return path


try:
    p = check(SINGLE)
    is_(p.returncode, 0, "the kind is read from the file and its kit passes")
    like(p.stdout, r"(?m)^# .*: consensus single \S+, ABI \d+\.\d+: almadiad takes it\n1\.\.\d+\nok 1 ",
         "the verdict of the loader goes before the kit's tests")
    is_(check("consensus", SINGLE, "SEED=7").returncode, 0, "kind and arguments of the kit may be given")
    p = check("storage", SINGLE)
    is_((p.returncode, p.stdout), (2, ""), "another kind than the file's is refused")
    p = check(misfit("newabi", "storage_misfit.so"))
    is_((p.returncode, p.stdout), (2, ""), "a plugin of another ABI is refused")
    like(p.stderr, r"wants storage ABI \S+, almadiad offers", "with the server's words")
    p = check(misfit("good", "mystore.so"))
    like(p.stderr, r"is not named storage_NAME\.so", "a name that almadiad would not find is refused")
    p = check(os.path.join(BUILD, "almadiad"))
    is_((p.returncode, len(p.stderr.splitlines())), (2, 1), "what is not a plugin is refused in one line")
    is_(check().returncode, 2, "no file is wrong usage")
finally:
    shutil.rmtree(DIR)
