"""The house rules that a machine can hold: who imports whom, what the core may touch, sizes."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

APP = Path(__file__).parent.parent / "app"
MODULES = {
    ".".join(path.relative_to(APP.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(APP.rglob("*.py"))
}

CORE = {
    "masking",
    "balancing",
    "checks.verdicts",
    "commands.throughput",
    "config",
    "stores.redis.url",
    "doctor.findings",
    "errors",
    "fields",
    "frontends",
    "health",
    "logs.access_fields",
    "logs.access_log",
    "logs.record",
    "logs.syslog",
    "policies",
    "proxy.debug_fields",
    "proxy.https_policy",
    "proxy.media_types",
    "routing",
    "websocket.frames",
}
LATER = {
    "config.file": 2,
    "proxy.added_fields": 3,
    "proxy.attempt": 3,
    "proxy.attempts": 3,
    "proxy.decision": 3,
    "proxy.gateway": 3,
    "proxy.guards.forward_auth": 3,
    "proxy.guards.gate": 3,
    "proxy.observers": 3,
    "proxy.own_responses": 3,
    "proxy.request": 3,
    "proxy.assembly": 4,
    "proxy.fast_path": 4,
    "proxy.handover": 4,
    "proxy.http_proxy": 4,
    "proxy.tracing": 4,
    "proxy.tracing_spans": 4,
    "websocket.proxy": 4,
    "admin.worker_metrics": 5,
    "application": 5,
    "main": 5,
    "workers.supervisor": 6,
    "workers.worker": 6,
    "doctor.machine": 7,
    "workers.serve": 7,
    "commands.demo": 8,
    "commands.doctor": 8,
    "commands.explain": 8,
    "commands.route": 8,
    "commands.status": 8,
    "cli": 9,
    "__main__": 10,
}
"""What stands above the adapters; a module in neither table is an adapter of one outside world."""

IMPURE = {"asyncio", "socket", "os", "time", "random", "logging", "pathlib", "subprocess"}
MAX_MODULE_LINES, MAX_FUNCTION_LINES = 300, 60


def is_core(module: str) -> bool:
    """Whether the table names the module, or the package it is in."""
    name = module.removeprefix("app.")
    return name not in LATER and (name in CORE or name.split(".")[0] in CORE)


def layer(module: str) -> int:
    if module.startswith("app.errors"):
        return 0
    return 1 if is_core(module) else LATER.get(module.removeprefix("app."), 2)


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


def imports(module: str) -> Iterator[str]:
    """Every module that `module` names in an import that runs, in full."""
    waiting: list[ast.AST] = [tree(module)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = imported_from(module, node)
            names = [f"{source}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else source for name in names)


def imported_from(module: str, node: ast.ImportFrom) -> str:
    """The module that an import names, in full.

    The package is `app` in a checkout and `hipache` where it is installed: inside it every
    import is relative.
    """
    if not node.level:
        assert not str(node.module).startswith("app"), f"{module}: import relatively"
        return str(node.module)
    path = MODULES[module].relative_to(APP.parent)  # `.` is the folder that the file is in
    package = path.parts[: len(path.parts) - node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def own_imports(module: str) -> set[str]:
    return {name for name in imports(module) if name in MODULES and name != "app"}


core_modules = pytest.mark.parametrize("module", [m for m in MODULES if is_core(m)])
all_modules = pytest.mark.parametrize("module", [m for m in MODULES if m != "app"])


@all_modules
def test_imports_point_one_way(module: str) -> None:
    assert [name for name in own_imports(module) if layer(name) > layer(module)] == []


def test_no_module_imports_itself_by_a_detour() -> None:
    order = TopologicalSorter({module: own_imports(module) for module in MODULES})
    assert set(order.static_order()) >= MODULES.keys() - {"app"}


@core_modules
def test_the_core_knows_no_outside_world(module: str) -> None:
    allowed = set(sys.stdlib_module_names) - IMPURE | {"app", "msgspec"}
    assert {name.split(".")[0] for name in imports(module)} - allowed == set()


@core_modules
def test_the_core_opens_and_prints_nothing(module: str) -> None:
    calls = {
        ast.unparse(node.func) for node in ast.walk(tree(module)) if isinstance(node, ast.Call)
    }
    assert calls & {"open", "print", "input", "datetime.now", "datetime.datetime.now"} == set()


@core_modules
def test_only_the_configuration_needs_msgspec(module: str) -> None:
    assert "msgspec" not in imports(module) or "config" in module


@all_modules
def test_a_module_fits_in_a_head(module: str) -> None:
    assert len(MODULES[module].read_text("utf-8").splitlines()) <= MAX_MODULE_LINES


@all_modules
def test_a_function_fits_on_a_screen(module: str) -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    long = {
        node.name: node.end_lineno - node.lineno
        for node in ast.walk(tree(module))
        if isinstance(node, functions) and node.end_lineno is not None
        if node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    }
    assert long == {}


def test_a_module_is_named_for_its_subject() -> None:
    vague = {"utils", "util", "helpers", "common", "misc", "tools"}
    assert {name.split(".")[-1].strip("_") for name in MODULES} & vague == set()
