"""The shape of the source: who may import whom, and how large anything may grow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(layer.split())
    for layer in (
        "embedder.backends embedder.backlog embedder.batching embedder.cache embedder.cache.store "
        "embedder.index "
        "embedder.models embedder.similarity",
        "embedder.cancellation embedder.errors embedder.host embedder.index.kinds "
        "embedder.index.limits "
        "embedder.rendezvous "
        "embedder.presets embedder.time_limit embedder.types",
        "embedder.private_files embedder.storage_errors embedder.index.failpoints "
        "embedder.index.agreement embedder.index.health embedder.index.filters.conditions",
        "embedder.cache.records embedder.config embedder.index.disk_codes embedder.stages",
        "embedder.cache.archive embedder.fingerprint embedder.reading embedder.template "
        "embedder.token_types embedder.output "
        "embedder.pooling embedder.quantization "
        "embedder.admission embedder.request embedder.index.points embedder.settings_tree "
        "embedder.backlog.bookings embedder.backlog.rate embedder.backlog.size "
        "embedder.backlog.threads",
        "embedder.backlog.admission",
        "embedder.backlog.backlog embedder.backlog.work_queue embedder.tokenization",
        "embedder.parts",
        "embedder.prompts embedder.progress embedder.streaming embedder.settings_sources "
        "embedder.similarity.metrics embedder.similarity.seeding",
        "embedder.similarity.mmr embedder.similarity.pairs embedder.similarity.topk",
        "embedder.similarity.duplicates embedder.similarity.framing",
        "embedder.similarity.groups",
        "embedder.similarity.clustering embedder.similarity.minibatch",
        "embedder.similarity.pricing",
        "embedder.index.filters.matching embedder.index.filters.parsing embedder.index.filters.sql",
        "embedder.index.filters",
        "embedder.index.checks embedder.index.lock embedder.index.measure embedder.index.migration "
        "embedder.index.planning embedder.index.pricing",
        "embedder.index.schema",
        "embedder.index.disk embedder.index.reserve",
        "embedder.index.answer_size",
        "embedder.index.building embedder.index.committer embedder.index.rows "
        "embedder.index.segment",
        "embedder.index.housekeeping embedder.index.snapshot embedder.index.state "
        "embedder.index.writes",
        "embedder.index.drafts embedder.index.merging embedder.index.projection "
        "embedder.index.reading "
        "embedder.index.snapshots",
        "embedder.index.copying embedder.index.describing embedder.index.recovery "
        "embedder.index.searching embedder.index.truth",
        "embedder.index.collection embedder.index.reclaiming embedder.index.recounting",
        "embedder.index.answering embedder.index.fetching embedder.index.shard",
        "embedder.index.backup embedder.index.parquet embedder.index.reembedding "
        "embedder.index.spread",
        "embedder.index.changes",
        "embedder.index.creations embedder.index.inspection embedder.index.restoring",
        "embedder.index.vector_index",
        "embedder.batching.packing embedder.batching.waiting embedder.batching.recovery",
        "embedder.batching.tuning embedder.batching.slots",
        "embedder.batching.batcher",
        "embedder.batching.gathering embedder.cache.circuit embedder.cache.hit_share "
        "embedder.cache.keytable "
        "embedder.flights",
        "embedder.cache.recency",
        "embedder.cache.slab",
        "embedder.cache.memory embedder.cache.store.condition embedder.cache.store.marks "
        "embedder.cache.store.protocol embedder.cache.store.rows "
        "embedder.cache.store.sqlite_file",
        "embedder.cache.store.look_up embedder.cache.store.redis_store "
        "embedder.cache.store.sqlite_store embedder.cache.store.write_behind",
        "embedder.cache.shard",
        "embedder.cache.opening",
        "embedder.cache.failopen embedder.models.plain_tokenizer "
        "embedder.models.reference_tokenizer embedder.models.residency "
        "embedder.models.row "
        "embedder.models.safety",
        "embedder.cache.sharding embedder.models.layout embedder.models.numbers "
        "embedder.models.pool embedder.models.rows embedder.models.token_limit "
        "embedder.models.tokenizer_files",
        "embedder.models.catalogue",
        "embedder.models.weights",
        "embedder.models.files",
        "embedder.models.size",
        "embedder.backends.attention embedder.backends.base embedder.backends.checkpoint "
        "embedder.backends.failures embedder.backends.kept_files embedder.backends.pieces "
        "embedder.backends.probe "
        "embedder.backends.shapes embedder.backends.transfers",
        "embedder.backends.blocks embedder.backends.fused embedder.backends.head "
        "embedder.backends.launching embedder.backends.pretrained embedder.backends.settling "
        "embedder.backends.shared_weights",
        "embedder.backends.mixing",
        "embedder.backends.kernels",
        "embedder.backends.export embedder.backends.own_graph embedder.backends.packed "
        "embedder.backends.padded",
        "embedder.backends.quantize",
        "embedder.backends.onnx embedder.backends.torch",
        "embedder.backends.loading",
        "embedder.memory embedder.selftest",
        "embedder.planning.machine",
        "embedder.planning.prediction",
        "embedder.planning.goal embedder.planning.options",
        "embedder.planning.reasons",
        "embedder.planning.decision",
        "embedder.planning.optimize",
        "embedder.planning",
        "embedder.loading",
        "embedder.local",
        "embedder.pipeline embedder.many_models embedder.statistics",
        "embedder.generator",
        "embedder",
    )
)
"""The library from the ground up; a module imports only from layers below its own."""

RANKS = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}
SERVICE_ONLY = {"ray", "fastapi", "starlette", "deployments"}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
MOST_LINES_OF_A_FILE = 300
MOST_LINES_OF_A_FUNCTION = 60

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


MODULES = {_name(path): path for path in _files("embedder", "deployments")}


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Give the line and the full name of every import, those inside functions too."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield node.lineno, inner if inner in MODULES else source


def _packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for _, name in _imports(path)}


def _definitions(path: Path) -> Iterator[Definition]:
    return (node for node in ast.walk(_tree(path)) if isinstance(node, Definition))


def _public(body: list[ast.stmt]) -> Iterator[Definition]:
    """Give the public classes and functions of a module or class, and the methods of these."""
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body)


def test_every_module_of_the_library_has_a_rank() -> None:
    modules = {name for name in MODULES if name.partition(".")[0] == "embedder"}

    assert modules - RANKS.keys() == set(), "a new module: give it its place in LAYERS"
    assert RANKS.keys() - modules == set(), "LAYERS ranks modules that are gone"


@pytest.mark.parametrize("module", sorted(RANKS))
def test_a_module_imports_only_from_lower_layers(module: str) -> None:
    upward = [
        f"{_where(MODULES[module], line)}: {module} may not import {imported}"
        for line, imported in _imports(MODULES[module])
        if imported.partition(".")[0] == "embedder"
        and RANKS.get(imported, len(LAYERS)) >= RANKS[module]
    ]

    assert upward == []


def test_imports_inside_the_repository_are_absolute() -> None:
    relative = [
        _where(path, line)
        for path in MODULES.values()
        for line, name in _imports(path)
        if name.startswith(".")
    ]

    assert relative == []


def test_no_module_imports_itself_through_others() -> None:
    graph = {
        name: {imported for _, imported in _imports(path) if imported in MODULES}
        for name, path in MODULES.items()
    }

    order = list(TopologicalSorter(graph).static_order())

    assert set(order) == set(MODULES)


def test_the_library_knows_nothing_of_the_service() -> None:
    knowing = {str(path): _packages(path) & SERVICE_ONLY for path in _files("embedder")}

    assert {path: found for path, found in knowing.items() if found} == {}


def test_only_the_deployments_import_ray() -> None:
    importing = [path for path in _files("embedder", "benchmarks") if "ray" in _packages(path)]

    assert importing == []


def test_no_file_and_no_function_is_too_long_to_read() -> None:
    files = _files("embedder", "deployments", "tests", "benchmarks")
    long_files = [
        _where(path, 1)
        for path in files
        if len(path.read_text().splitlines()) > MOST_LINES_OF_A_FILE
    ]
    long_functions = [
        _where(path, node.lineno)
        for path in files
        for node in _definitions(path)
        if not isinstance(node, ast.ClassDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MOST_LINES_OF_A_FUNCTION
    ]

    assert long_files == []
    assert long_functions == []


def test_every_module_and_everything_public_says_what_it_is() -> None:
    silent = [
        _where(path, getattr(node, "lineno", 1))
        for path in _files("embedder", "deployments", "benchmarks")
        for node in (_tree(path), *_public(_tree(path).body))
        if ast.get_docstring(node) is None
    ]

    assert silent == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    vague = [
        str(path.relative_to(ROOT))
        for path in _files("embedder", "deployments", "tests", "benchmarks")
        if VAGUE_NAMES & {path.stem, path.parent.name}
    ]

    assert vague == []
