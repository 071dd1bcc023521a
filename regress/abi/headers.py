"""Every installed header stands alone, in C and in C++, without a warning; a C++20 plugin compiles."""
import os
import shutil
import subprocess

from tap import note, ok, skip

INCLUDE = os.path.join(os.environ["ALMADIA_SRCDIR"], "include")
HEADERS = sorted(f for f in os.listdir(os.path.join(INCLUDE, "almadia")) if f.endswith(".h"))
WARN = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wundef", "-Werror"]
MODES = [("c", "gnu11"), ("c", "c17"), ("c++", "c++11"), ("c++", "c++17"), ("c++", "c++20")]

PLUGIN = r"""
#include <almadia/extension.h>
static int load(const struct alm_host *, struct alm_ext **) { return ALM_OK; }
static void unload(struct alm_ext *) {}
static int hook(struct alm_ext *, const struct alm_hook_event *) { return ALM_OK; }
static const struct alm_extension_ops_v0 ops = {load, unload, hook};
static const struct alm_provider providers[] = {{
    .size = sizeof(struct alm_provider), .kind = ALM_KIND_EXTENSION, .major = ALM_EXTENSION_MAJOR,
    .minor_built = ALM_EXTENSION_MINOR, .minor_needed = ALM_EXTENSION_MINOR, .ops_size = sizeof ops,
    .name = "cxx", .doc = "an extension in C++", .ops = &ops, .settings = nullptr, .n_settings = 0,
    .reserved0 = 0, .reserved = {}}};
extern "C" {
ALM_MODULE("cxx", "1", providers)
}
ALM_MODULE_NOTE(ALM_KIND_EXTENSION, 0, 1, 1);
"""


def compilers(language):
    """The one this tree was configured with, if known, and the usual ones."""
    names = {"c": [os.environ.get("CC", "cc"), "gcc", "clang"], "c++": [os.environ.get("CXX", "c++"), "g++", "clang++"]}
    found = {}
    for name in names[language]:
        path = shutil.which(name.split()[0])
        if path:
            found.setdefault(os.path.realpath(path), name)
    return list(found.values())


def compiles(compiler, language, standard, source, extra=()):
    """Whether it compiles in silence; what the compiler said goes into comments."""
    p = subprocess.run(compiler.split() + ["-x", language, f"-std={standard}", "-fsyntax-only", f"-I{INCLUDE}",
                                           *WARN, *extra, "-"],
                       input=source, capture_output=True, text=True)
    if p.returncode or p.stderr:
        note(p.stderr)
    return p.returncode == 0 and not p.stderr


for language, standard in MODES:
    if not compilers(language):
        skip(f"headers in {standard}", f"no {language} compiler")
    for compiler in compilers(language):
        for header in HEADERS:
            ok(compiles(compiler, language, standard, f"#include <almadia/{header}>\n"),
               f"{header} alone in {standard} with {compiler}")
        everything = "".join(f"#include <almadia/{h}>\n" for h in HEADERS + HEADERS)
        ok(compiles(compiler, language, standard, everything), f"all of them twice in {standard} with {compiler}")

for compiler in compilers("c++"):
    ok(compiles(compiler, "c++", "gnu++20", PLUGIN, ["-Wno-missing-field-initializers", "-Wno-pedantic"]),
       f"an extension in C++20 with {compiler}")
