"""TAP for tests in Python.

    from tap import ok, is_, like, note, skip

    is_(node.run("topic", "create", "a").rc, 0, "a topic is created")

The plan is printed at the end.  An exception that nobody catches is a failed test with its
traceback as a comment, so a test that dies half-way never passes.  The exit code is 0 if all passed.
"""
import atexit
import os
import re
import sys
import traceback

_count = 0
_failed = 0
_finished = False


def note(text):
    """A comment in the output."""
    for line in str(text).splitlines() or [""]:
        print("#", line, flush=True)


def ok(condition, name):
    """One test.  Returns whether it passed, so: ok(...) or note(details)."""
    global _count, _failed
    _count += 1
    name = str(name).replace("#", "\\#").replace("\n", " ")
    if not condition:
        _failed += 1
    print("ok" if condition else "not ok", _count, "-", name, flush=True)
    return bool(condition)


def is_(got, want, name):
    """Equal."""
    return ok(got == want, name) or bool(note(f"got  {got!r}\nwant {want!r}"))


def isnt(got, unwanted, name):
    """Not equal."""
    return ok(got != unwanted, name) or bool(note(f"got  {got!r}"))


def like(text, pattern, name):
    """The pattern (regular expression) occurs in the text."""
    return ok(re.search(pattern, text), name) or bool(note(f"got     {text!r}\nwant ~  {pattern}"))


def unlike(text, pattern, name):
    return ok(not re.search(pattern, text), name) or bool(note(f"got       {text!r}\nwant !~   {pattern}"))


def skip(name, why):
    """A test that cannot run here."""
    global _count
    _count += 1
    print("ok", _count, "-", name, "# SKIP", why, flush=True)


def skip_all(why):
    """Nothing of this file can run here."""
    global _finished
    _finished = True
    print("1..0 # SKIP", why, flush=True)
    sys.exit(0)


def bail(why):
    """Testing makes no sense any more."""
    global _finished
    _finished = True
    print("Bail out!", why, flush=True)
    sys.exit(1)


def failures():
    return _failed


def _died(kind, value, trace):
    ok(False, f"the test died: {kind.__name__}: {value}")
    note("".join(traceback.format_exception(kind, value, trace)))


def _plan():
    if _finished:
        return
    print(f"1..{_count}", flush=True)
    if _failed or not _count:
        sys.stdout.flush()
        os._exit(1)


sys.excepthook = _died
atexit.register(_plan)
