"""What the processes of a service import before they need it, which each start pays for."""

from __future__ import annotations

import json
import subprocess
import sys

REPLICAS = ("cache.replica", "tokenizer.replica", "index.replica", "encoder.replica", "app")
LATER = {"torch", "transformers", "sklearn", "scipy", "pandas", "faiss", "onnxruntime", "openvino"}
"""Libraries that a stage imports when it loads a model or opens an index."""


def test_no_module_of_a_stage_imports_the_libraries_of_models_and_of_the_index() -> None:
    modules = ", ".join(f"deployments.{name}" for name in REPLICAS)
    printed = subprocess.run(
        [sys.executable, "-c", f"import json, sys, {modules}; print(json.dumps([*sys.modules]))"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout

    assert LATER.isdisjoint(json.loads(printed.splitlines()[-1]))
