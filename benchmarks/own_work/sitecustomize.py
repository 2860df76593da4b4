"""Times each stage's own work in a run of the pipeline: on PYTHONPATH, it is imported by every interpreter there.

Each call of a stage (``kfp_textclf.components.X.stage.X``) appends a JSON line to the file named by ``OWN_WORK``: its
seconds, and how many of them went into importing.
"""

import functools
import importlib._bootstrap as bootstrap
import json
import os
import re
import time

STAGE = re.compile(r"kfp_textclf\.components\.(\w+)\.stage")
_find_and_load = bootstrap._find_and_load  # type: ignore[attr-defined]
_depth, _seconds, _wrapped = 0, 0.0, set()


def _timed_import(name, import_):
    global _depth, _seconds
    started = time.perf_counter()
    _depth += 1
    try:
        module = _find_and_load(name, import_)
    finally:
        _depth -= 1
        if not _depth:
            _seconds += time.perf_counter() - started
    found = STAGE.fullmatch(name)
    if found and name not in _wrapped and hasattr(module, found[1]):
        _wrapped.add(name)
        setattr(module, found[1], _timed(found[1], getattr(module, found[1])))
    return module


def _timed(stage, function):
    @functools.wraps(function)
    def timed(*arguments, **named):
        imported, started = _seconds, time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            seconds = time.perf_counter() - started
            line = {"stage": stage, "seconds": seconds, "imports": _seconds - imported}
            with open(os.environ["OWN_WORK"], "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    return timed


if os.environ.get("OWN_WORK"):
    bootstrap._find_and_load = _timed_import  # type: ignore[attr-defined]
