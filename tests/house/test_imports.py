"""The rules that keep the house: which room may import which, and how large a room or a signature may be."""

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "lightning_realign"
# Rooms from the bottom up; rooms of one line do not import each other either.
FLOORS = (
    ("errors", "types"),
    ("settings",),
    ("files",),
    ("motion", "text", "diffusion"),
    ("data", "models"),
    ("checkpoints", "metrics", "viewer"),
    ("report",),
    ("generators",),
    ("rewards", "sweep"),
    ("guidance", "training"),
    ("evaluation",),
    ("inference",),
    ("app",),
    ("cli",),
    ("__main__",),
)
RANK = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
LOOSE = {"__init__.py", "__main__.py", "types.py", "errors.py", "py.typed"}
STUDIES = {"experiments", "benchmarks", "tests", "configs"}
MOST_FILES, MOST_PARAMETERS = 15, 12


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[tuple[str, str, int]]:
    """All imports of a file, lazy ones included: the module, the name taken from it (or nothing), and the line."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            yield from ((module, alias.name, node.lineno) for alias in node.names)


def target(module: str, name: str) -> str:
    """The module that an import means."""
    inner = f"{module}.{name}"
    return inner if inner in modules() else module


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_every_room_has_a_floor():
    assert {room(module) for module in modules()} - {""} <= RANK.keys()


def test_imports_run_downward():
    wrong = []
    for module, path in modules().items():
        if module == "lightning_realign":  # the public API, lazily
            continue
        for source, name, line in imports(path):
            if not source.startswith("lightning_realign"):
                continue
            wanted = target(source, name)
            if wanted == "lightning_realign":
                if name != "__version__":
                    wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name} from the package itself")
            elif room(wanted) != room(module) and RANK[room(wanted)] >= RANK[room(module)]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {wanted}")
    assert not wrong, "\n".join(wrong)


def test_no_circles():
    """Nor inside a room; a package's own `__init__` counts where a name is taken from it."""
    edges = {module: set() for module in modules()}
    for module, path in modules().items():
        for source, name, _ in imports(path):
            wanted = target(source, name)
            if wanted in edges and wanted not in (module, "lightning_realign") and module != "lightning_realign":
                edges[module].add(wanted)
    done: set[str] = set()
    circles = []

    def visit(module: str, way: tuple[str, ...]) -> None:
        if module in way:
            circles.append(" -> ".join([*way[way.index(module) :], module]))
        elif module not in done:
            for wanted in sorted(edges[module]):
                visit(wanted, (*way, module))
            done.add(module)

    for module in sorted(edges):
        visit(module, ())
    assert not circles, "\n".join(circles)


def test_no_module_imports_the_studies():
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in modules().values()
        for source, _, line in imports(path)
        if source.partition(".")[0] in STUDIES
    ]
    assert not wrong


def test_nothing_is_loose_at_the_root():
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} <= LOOSE


@pytest.mark.parametrize(
    "top",
    [
        "lightning_realign",
        "experiments",
        "benchmarks",
    ],
)
def test_no_folder_is_crowded(top):
    sizes = Counter(path.parent for path in (ROOT / top).rglob("*.py"))
    crowded = {str(folder.relative_to(ROOT)): size for folder, size in sizes.items() if size > MOST_FILES}
    assert not crowded


def test_signatures_are_short():
    """Architectures of networks (models/) have as many as they need."""
    long = []
    for module, path in modules().items():
        for node in ast.walk(tree(path)) if room(module) != "models" else ():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = len([argument for argument in arguments if argument.arg not in ("self", "cls")])
                if count > MOST_PARAMETERS:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {count} parameters")
    assert not long, "\n".join(long)


def test_a_public_class_name_occurs_once():
    named: dict[str, list[str]] = {}
    for module, path in modules().items():
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                named.setdefault(node.name, []).append(module)
    assert not {name: places for name, places in named.items() if len(places) > 1}


def test_a_test_file_name_occurs_once():
    """pytest imports test files by their bare names."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), sorted({name for name in names if names.count(name) > 1})
