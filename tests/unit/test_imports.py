"""The packages that importing the library needs."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

SERVICE_ONLY = ("ray", "faiss", "fastapi", "starlette")
LAZY = ("torch", "transformers", "huggingface_hub")


def _run(code: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_library_imports_without_the_packages_of_the_service() -> None:
    imported = _run(
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({SERVICE_ONLY!r}))\n"
        "import embedder\n"
        "print(embedder.EmbeddingGenerator.__name__)\n"
    )

    assert imported.strip() == "EmbeddingGenerator"


def test_importing_the_library_does_not_import_packages_for_loaded_models() -> None:
    imported = json.loads(
        _run(
            "import json, sys\n"
            "from embedder import EmbeddingGenerator\n"
            "print(json.dumps([*sys.modules]))\n"
        )
    )

    assert "embedder.generator" in imported
    assert set(imported).isdisjoint({*LAZY, *SERVICE_ONLY})


def test_the_forward_pass_needs_only_torch_numpy_and_safetensors() -> None:
    missing = (*SERVICE_ONLY, "pydantic", "transformers", "tokenizers", "huggingface_hub", "yaml")
    imported = _run(
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({missing!r}))\n"
        "import embedder.backends.heads.pooling\n"
        "from embedder.backends.torch import launcher, packed\n"
        "print(packed.PackedForward.__name__)\n"
    )

    assert imported.strip() == "PackedForward"


def test_no_unit_test_can_start_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ray.py").write_text("def init():\n    pass\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "ray"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        stand_in = importlib.import_module("ray")

        with pytest.raises(RuntimeError, match="must not start Ray"):
            stand_in.init()
    finally:
        sys.modules.pop("ray", None)
