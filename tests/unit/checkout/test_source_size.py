"""Limits on the sizes of files, functions and folders, and names that files must not have."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]
FILES = [
    path
    for folder in ("embedder", "deployments", "deploy", "tests", "benchmarks", "examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
MAX_FILE_LINES = 250
MAX_FUNCTION_LINES = 40
MAX_FOLDER_FILES = 15
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}


def test_no_file_is_too_long() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in FILES
        if (lines := len(path.read_text().splitlines())) > MAX_FILE_LINES
    }

    assert long == {}


def test_no_function_is_too_long() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(), str(path)))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]

    assert long == []


def test_no_folder_of_the_product_holds_too_many_files() -> None:
    folders = {path.parent for path in FILES if path.relative_to(ROOT).parts[0] != "tests"}
    full = {
        str(folder.relative_to(ROOT)): count
        for folder in folders
        if folder.relative_to(ROOT).parts[0] in ("embedder", "deployments")
        and (count := len(list(folder.glob("*.py")))) > MAX_FOLDER_FILES
    }

    assert full == {}


def test_no_file_has_a_vague_name() -> None:
    vague = [
        str(path.relative_to(ROOT)) for path in FILES if VAGUE_NAMES & {path.stem, path.parent.name}
    ]

    assert vague == []
