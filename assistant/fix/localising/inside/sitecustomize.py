"""Watches which lines of a repository each test runs. Every Python that has this folder in PYTHONPATH begins with it.

Whatever goes wrong here must not change how the tests come out: then there is no coverage, and nothing else.
"""

# ruff: noqa: PTH100, PTH103, PTH104, PTH109, PTH118, PTH119, PTH120, PTH206, PTH207
# Every Python begins with this, and should not have to load pathlib.

from __future__ import annotations

import atexit
import glob
import importlib
import importlib.machinery
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
COVERAGE, ROOT, CONTEXT = "KAT_COVERAGE", "KAT_COVERAGE_ROOT", "KAT_COVERAGE_CONTEXT"
FOLDER = ".kat-coverage"
LOADING = ""
"""The context of what no single test runs: modules while they are loaded, and what tests share."""
_PLUGIN = "kat_contexts"


class Watch:
    """The coverage of this process, and the test that it belongs to."""

    def __init__(self, coverage: Any, stop: Callable[[], None], place: str) -> None:
        self.coverage = coverage
        self.stop = stop
        self.place = place
        self.by_plugin = False
        self.failed: set[str] = set()
        self.outer = os.environ.get(CONTEXT, LOADING)
        self.now = LOADING
        self._switch(self.outer)

    @contextmanager
    def test(self, name: str) -> Iterator[None]:
        """What is run here, and in processes begun here, belongs to the test of that name; in one that a test began
        all belongs to that test.
        """
        if self.outer or self.now:
            yield
            return
        os.environ[CONTEXT] = name
        self._switch(name)
        try:
            yield
        finally:
            os.environ.pop(CONTEXT, None)
            self._switch(LOADING)

    @contextmanager
    def shared(self) -> Iterator[None]:
        """What is run here belongs to no single test."""
        before = self.now
        self._switch(self.outer)
        try:
            yield
        finally:
            self._switch(before)

    def _switch(self, name: str) -> None:
        if name != self.now:
            self.now = name
            with suppress(Exception):
                self.coverage.switch_context(name)

    def save(self) -> None:
        """Write the lines of each file, and for each line a number whose bits say which tests run it."""
        with suppress(Exception):
            self.stop()
            found = self._found(self.coverage.get_data())
            folder = os.path.join(self.place, FOLDER)
            os.makedirs(folder, exist_ok=True)
            handle, path = tempfile.mkstemp(dir=folder)
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
                json.dump(found, file)
            os.rename(path, f"{path}.json")

    def _found(self, data: Any) -> dict[str, Any]:
        contexts = sorted(data.measured_contexts())
        bits = {name: 1 << number for number, name in enumerate(contexts)}
        files = {}
        for path in data.measured_files():
            lines = data.contexts_by_lineno(path)
            runs = {line: sum(bits[name] for name in {*names}) for line, names in lines.items()}
            files[os.path.relpath(path, self.place)] = {line: f"{number:x}" for line, number in runs.items()}
        return {"contexts": contexts, "files": files, "failed": sorted(self.failed)}


def place_of(root: str, here: str) -> str:
    """Where the repository lies for this process: `root`, or a copy of it that `here` is in; else `here`."""
    if here == root or here.startswith(root + os.sep):
        return root
    parts = here.split(os.sep)
    name = os.path.basename(root)
    return os.sep.join(parts[: parts.index(name) + 1]) if name in parts else here


def begin() -> Watch:
    """Start coverage.py, from a folder of our own that nothing else is imported from."""
    place = place_of(os.environ[ROOT], os.path.realpath(os.getcwd()))
    coverage = _coverage(os.environ[COVERAGE], place)
    inside = "".join("?" if letter in "[]*?" else letter for letter in place)
    cov = coverage.Coverage(
        data_file=None,
        config_file=False,
        include=[f"{inside}/*"],
        omit=[f"{inside}/{name}/*" for name in ("**/site-packages", ".tox", ".nox", FOLDER)],
        messages=False,
    )
    cov.set_option("run:core", "ctrace")
    cov.set_option("run:disable_warnings", ["no-ctracer", "no-data-collected", "module-not-measured"])
    cov.start()
    watch = Watch(cov, cov.stop, place)
    _keep_others_from(coverage.Coverage)
    atexit.register(watch.save)
    return watch


def _coverage(folder: str, place: str) -> Any:
    """The package that lies at `folder`, compiled once for all processes where Python would not keep that."""
    package = os.path.join(folder, "__init__.py")
    spec = importlib.util.spec_from_file_location("coverage", package, submodule_search_locations=[folder])
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["coverage"] = importlib.util.module_from_spec(spec)
    kept = sys.dont_write_bytecode, sys.pycache_prefix
    if not glob.glob(os.path.join(glob.escape(folder), "__pycache__", f"*.{sys.implementation.cache_tag}.pyc")):
        sys.dont_write_bytecode, sys.pycache_prefix = False, os.path.join(place, FOLDER, "compiled")
    try:
        spec.loader.exec_module(module)
    except BaseException:
        for name in [name for name in sys.modules if name.partition(".")[0] == "coverage"]:
            del sys.modules[name]
        raise
    finally:
        sys.dont_write_bytecode, sys.pycache_prefix = kept
    return module


def _keep_others_from(kind: Any) -> None:
    """The repository may measure its coverage by itself; only one can be told of each line."""
    kind.start = kind.stop = lambda self: None
    kind.save = lambda self: None


class _Patching:
    """An import hook that hands one module to a function when it is first loaded."""

    def __init__(self, name: str, patch: Callable[[Any], None]) -> None:
        self.name = name
        self.patch = patch

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find that module as others do, and have it patched behind its loading."""
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def patched(module: Any) -> None:
                load(module)
                self.patch(module)

            spec.loader.exec_module = patched  # type: ignore[method-assign]
        return spec


def _bad(result: Any) -> int:
    return len(getattr(result, "failures", ())) + len(getattr(result, "errors", ()))


def _watch_unittest(watch: Watch) -> Callable[[Any], None]:
    def patch(module: Any) -> None:
        run = module.TestCase.run

        def watched(case: Any, result: Any = None) -> Any:
            if watch.by_plugin:
                return run(case, result)
            bad = _bad(result)
            with watch.test(case.id()):
                try:
                    return run(case, result)
                finally:
                    if _bad(result) > bad:
                        watch.failed.add(case.id())

        module.TestCase.run = watched

    return patch


def _run_hidden() -> None:
    """Run the sitecustomize that this one hides."""
    elsewhere = [entry for entry in sys.path if os.path.abspath(entry) != HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def _begin_all() -> Watch:
    watch = begin()
    sys.meta_path.insert(0, _Patching("unittest.case", _watch_unittest(watch)))
    plugins = os.environ.get("PYTEST_PLUGINS", "")
    if _PLUGIN not in plugins:
        os.environ["PYTEST_PLUGINS"] = f"{plugins},{_PLUGIN}".lstrip(",")
    return watch


WATCH: Watch | None = None
if __name__ == "sitecustomize" and COVERAGE in os.environ and ROOT in os.environ:
    with suppress(Exception):
        WATCH = _begin_all()
    _run_hidden()
