"""The house rules that a machine can hold: who imports whom, what the core may touch, sizes."""

import ast
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

APP = Path(__file__).parent.parent / "app"
MODULES = {
    ".".join(path.relative_to(APP).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(APP.rglob("*.py"))
}
"""By their names inside the package; the package itself is `__init__`."""

ROOMS = (
    "errors", "masking", "fields", "frontends", "routing", "health", "grpc", "logs", "config",
    "balancing", "system", "metrics", "http2", "upstream", "stores", "tls", "server",
    "waking", "alerts", "proxy", "hooks", "recorder", "websocket", "checks", "admin",
    "application", "main", "__init__",
    "testing", "workers", "chp", "doctor", "commands", "cli", "__main__",
)  # fmt: skip
"""Folders and loose modules, in their order: each imports only what stands before it, for types
too."""
MAX_LOOSE = 9

PURE = (
    "errors", "masking", "routing", "health", "frontends", "config", "balancing", "fields",
    "logs.record", "logs.access_log", "logs.access_fields", "logs.log_target", "logs.syslog",
    "checks.verdicts", "doctor.findings", "commands.throughput", "metrics.quantiles",
    "stores.steered", "proxy.debug_fields", "proxy.https_policy", "proxy.media_types",
    "proxy.guards.shedding", "upstream.shares", "http2.field_rules", "grpc", "websocket.frames",
    "recorder.telling", "alerts.alert_events",
)  # fmt: skip
"""They touch no outside world: no clock, no chance, no file and no socket but as arguments."""
NOT_PURE = ("config.file",)
IMPURE = {"asyncio", "socket", "os", "time", "random", "logging", "pathlib", "subprocess"}

MAX_MODULE_LINES, MAX_FUNCTION_LINES = 250, 50

AT_THE_TOP = {
    ".ci", ".dockerignore", ".github", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md",
    "Dockerfile", "LICENSE", "MANIFEST.in", "Makefile", "Procfile", "README.md", "SECURITY.md",
    "app", "bench", "compose.yml", "config.json", "docs", "mkdocs.yml", "packaging",
    "pyproject.toml", "templates", "tests",
}  # fmt: skip
"""All that is kept beside `app/`."""


def is_pure(module: str) -> bool:
    return module not in NOT_PURE and any(
        module == name or module.startswith(f"{name}.") for name in PURE
    )


def room(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


def imported_from(module: str, node: ast.ImportFrom) -> str:
    """The module that an import names: one of ours by its name inside the package.

    The package is `app` in a checkout and `hipache` where it is installed: inside it every
    import is relative.
    """
    if not node.level:
        assert not f"{node.module}.".startswith("app."), f"{module}: import relatively"
        return str(node.module)
    path = MODULES[module].relative_to(APP)  # `.` is the folder that the file is in
    package = path.parts[: len(path.parts) - node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def imports(module: str) -> Iterator[str]:
    """Every module that `module` imports, for types too."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = imported_from(module, node)
            names = [f"{source}.{alias.name}".removeprefix(".") for alias in node.names]
            yield from (name if name in MODULES else source for name in names)


def foreign_imports(module: str) -> set[str]:
    """Top-level packages of others."""
    own = own_imports(module)
    return {name.split(".")[0] for name in imports(module) if name not in own and name}


def own_imports(module: str) -> set[str]:
    relative = {
        imported_from(module, node)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ImportFrom) and node.level
    }
    found = {name for name in imports(module) if name in MODULES}
    # `import redis` names the library, `from ..stores import redis` a folder of ours.
    return {name for name in found if name in relative or name.rpartition(".")[0] in relative}


pure_modules = pytest.mark.parametrize("module", [m for m in MODULES if is_pure(m)])
all_modules = pytest.mark.parametrize("module", list(MODULES))


@pytest.mark.skipif(not (APP.parent / ".git").exists(), reason="not a checkout")
def test_only_what_belongs_there_is_kept_at_the_top() -> None:
    """A file that a tool has left is soon committed with the rest."""
    kept = subprocess.check_output(["git", "ls-files"], cwd=APP.parent, text=True).splitlines()
    assert {path.split("/")[0] for path in kept} == AT_THE_TOP


def test_every_room_is_in_the_order() -> None:
    assert set(map(room, MODULES)) == set(ROOMS)
    assert len([name for name in ROOMS if not (APP / name).is_dir()]) <= MAX_LOOSE


@all_modules
def test_imports_point_one_way(module: str) -> None:
    place = ROOMS.index(room(module))
    assert [name for name in own_imports(module) if ROOMS.index(room(name)) > place] == []


def circle(arrows: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_file_imports_itself_by_a_detour() -> None:
    assert circle({module: own_imports(module) - {module} for module in MODULES}) == []


def folder(module: str) -> str:
    """Where the module lies; a module that lies in no folder stands for itself."""
    path = MODULES[module].relative_to(APP)
    return path.parent.as_posix() if len(path.parts) > 1 else path.stem


def test_no_folder_imports_itself_by_a_detour() -> None:
    """A folder inside another is a part of it: those two may use each other."""
    arrows: dict[str, set[str]] = defaultdict(set)
    for module in MODULES:
        here = folder(module)
        for there in {folder(name) for name in own_imports(module)}:
            if not f"{here}/".startswith(f"{there}/") and not f"{there}/".startswith(f"{here}/"):
                arrows[here].add(there)
    assert circle(arrows) == []


@pure_modules
def test_the_core_knows_no_outside_world(module: str) -> None:
    allowed = set(sys.stdlib_module_names) - IMPURE | {"msgspec"}
    assert foreign_imports(module) - allowed == set()


@pure_modules
def test_the_core_opens_and_prints_nothing(module: str) -> None:
    calls = {
        ast.unparse(node.func) for node in ast.walk(tree(module)) if isinstance(node, ast.Call)
    }
    assert calls & {"open", "print", "input", "datetime.now", "datetime.datetime.now"} == set()


@pure_modules
def test_only_the_configuration_needs_msgspec(module: str) -> None:
    assert "msgspec" not in foreign_imports(module) or "config" in module


@all_modules
def test_a_module_fits_in_a_head(module: str) -> None:
    assert len(MODULES[module].read_text("utf-8").splitlines()) <= MAX_MODULE_LINES


def function_lengths(module: str) -> Iterator[tuple[str, int]]:
    """Name and lines of each function, without its docstring."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            first = node.body[0]
            told = ast.get_docstring(node, clean=False) is not None
            docstring = (first.end_lineno or 0) - first.lineno + 1 if told else 0
            yield node.name, node.end_lineno - node.lineno + 1 - docstring


@all_modules
def test_a_function_fits_on_a_screen(module: str) -> None:
    assert [f for f in function_lengths(module) if f[1] > MAX_FUNCTION_LINES] == []


def test_most_functions_fit_in_a_glance() -> None:
    lengths = sorted(lines for module in MODULES for _, lines in function_lengths(module))
    assert statistics.median(lengths) <= 8
    assert lengths[len(lengths) * 9 // 10] <= 20


def test_a_module_is_named_for_its_subject() -> None:
    vague = {"utils", "util", "helpers", "common", "misc", "tools"}
    assert {name.split(".")[-1].strip("_") for name in MODULES} & vague == set()


def public_names(module: str) -> Iterator[str]:
    """Classes and aliases of types that the module defines for others."""
    for node in tree(module).body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id


def test_a_name_has_one_meaning() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module in MODULES:
        for name in set(public_names(module)):
            if name[0].isupper() and not name.isupper():
                places[name].append(module)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


KINDS_OF_STORE = ("stores.redis", "stores.file", "stores.embedded", "stores")
"""Each has its store, its table, its driver: the same word means the same thing in all."""
NAMED_FOR_ANOTHER = ("commands", "doctor")
"""A subcommand is named for what one types, a part of the doctor for what it looks at."""


def test_a_module_has_a_name_of_its_own() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for module, path in MODULES.items():
        parent, _, name = module.rpartition(".")
        if parent.partition(".")[0] not in NAMED_FOR_ANOTHER and path.stem != "__init__":
            places[name].add("a store" if parent in KINDS_OF_STORE else parent)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
