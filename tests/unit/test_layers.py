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
        "embedder.core.cancellation embedder.core.errors embedder.core.host embedder.index.contract.kinds "
        "embedder.index.contract.limits "
        "embedder.core.rendezvous "
        "embedder.settings.presets embedder.core.time_limit embedder.core.types",
        "embedder.core.private_files embedder.core.storage_errors embedder.index.storage.failpoints "
        "embedder.index.contract.agreement embedder.index.contract.health embedder.index.contract.filters",
        "embedder.cache.store.records embedder.settings.model embedder.core.disk_codes embedder.core.protocols",
        "embedder.cache.archive embedder.pipeline.fingerprint embedder.inference.text_limit embedder.inference.template "
        "embedder.models.token_types embedder.core.vectors "
        "embedder.backends.pooling embedder.core.quantization "
        "embedder.pipeline.input_checks embedder.core.request embedder.index.contract.points embedder.settings.tree "
        "embedder.pipeline.reservations embedder.pipeline.throughput embedder.pipeline.token_estimate "
        "embedder.pipeline.threads",
        "embedder.pipeline.admission",
        "embedder.pipeline.admission_control embedder.pipeline.work_queue embedder.inference.tokenization",
        "embedder.pipeline.chunks",
        "embedder.models.prompts embedder.progress embedder.pipeline.streaming embedder.settings.sources "
        "embedder.similarity.metrics embedder.similarity.seeding",
        "embedder.similarity.mmr embedder.similarity.pairs embedder.similarity.topk",
        "embedder.similarity.duplicates embedder.similarity.framing",
        "embedder.similarity.groups",
        "embedder.similarity.clustering embedder.similarity.minibatch",
        "embedder.similarity.pricing",
        "embedder.index.contract.filter_matching embedder.index.contract.filter_parsing embedder.index.contract.filter_sql",
        "embedder.index.filters",
        "embedder.index.contract.checks embedder.index.storage.lock embedder.index.segments.measure embedder.index.storage.migration "
        "embedder.index.segments.planning embedder.index.contract.pricing",
        "embedder.index.storage.schema",
        "embedder.index.storage.disk embedder.index.storage.reserve",
        "embedder.index.contract.answer_size",
        "embedder.index.segments.building embedder.index.storage.committer embedder.index.storage.rows "
        "embedder.index.segments.segment",
        "embedder.index.collection.housekeeping embedder.index.segments.snapshot embedder.index.segments.state "
        "embedder.index.storage.writes",
        "embedder.index.storage.drafts embedder.index.segments.merging embedder.index.segments.projection "
        "embedder.index.storage.reading "
        "embedder.index.segments.snapshots",
        "embedder.index.collection.copying embedder.index.collection.describing embedder.index.collection.recovery "
        "embedder.index.collection.searching embedder.index.storage.truth",
        "embedder.index.collection.collection embedder.index.storage.reclaiming embedder.index.storage.recounting",
        "embedder.index.collection.answering embedder.index.collection.fetching embedder.index.shard",
        "embedder.index.backup embedder.index.parquet embedder.index.reembedding "
        "embedder.index.spread",
        "embedder.index.changes",
        "embedder.index.creations embedder.index.inspection embedder.index.restoring",
        "embedder.index.vector_index",
        "embedder.batching.packing embedder.batching.waiting embedder.batching.recovery",
        "embedder.batching.tuning embedder.batching.slots",
        "embedder.batching.batcher",
        "embedder.batching.gathering embedder.cache.store.circuit embedder.cache.hit_share "
        "embedder.cache.keytable "
        "embedder.pipeline.in_flight",
        "embedder.cache.recency",
        "embedder.cache.slab",
        "embedder.cache.memory embedder.cache.store.condition embedder.cache.store.marks "
        "embedder.cache.store.protocol embedder.cache.store.rows "
        "embedder.cache.store.sqlite_file",
        "embedder.cache.store.look_up embedder.cache.store.redis_store "
        "embedder.cache.store.sqlite_store embedder.cache.write_behind",
        "embedder.cache.shard",
        "embedder.cache.opening",
        "embedder.cache.failopen embedder.models.plain_tokenizer "
        "embedder.models.reference_tokenizer embedder.inference.residency "
        "embedder.models.row "
        "embedder.models.safety",
        "embedder.cache.sharding embedder.models.layout embedder.models.numbers "
        "embedder.inference.pool embedder.models.rows embedder.models.token_limit "
        "embedder.models.tokenizer_files",
        "embedder.models.catalogue",
        "embedder.models.weights",
        "embedder.models.files",
        "embedder.inference.model_size",
        "embedder.backends.attention embedder.backends.base embedder.backends.checkpoint "
        "embedder.backends.failures embedder.backends.kept_files embedder.backends.torch.pieces "
        "embedder.backends.probe "
        "embedder.backends.torch.shapes embedder.backends.torch.transfers",
        "embedder.backends.torch.blocks embedder.backends.torch.fused embedder.backends.head "
        "embedder.backends.torch.launching embedder.backends.pretrained embedder.backends.torch.settling "
        "embedder.backends.torch.shared_weights",
        "embedder.backends.torch.mixing",
        "embedder.backends.torch.kernels",
        "embedder.backends.export embedder.backends.own_graph embedder.backends.torch.packed "
        "embedder.backends.torch.padded",
        "embedder.backends.quantize",
        "embedder.backends.onnx embedder.backends.torch.backend",
        "embedder.inference.backend",
        "embedder.inference.memory embedder.inference.selftest",
        "embedder.planning.machine",
        "embedder.planning.prediction",
        "embedder.planning.goal embedder.planning.options",
        "embedder.planning.reasons",
        "embedder.planning.decision",
        "embedder.planning.optimize",
        "embedder.planning",
        "embedder.inference.loading",
        "embedder.inference.local",
        "embedder.pipeline.pipeline embedder.inference.many_models embedder.statistics",
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
