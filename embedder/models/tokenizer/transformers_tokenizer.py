"""Build a tokenizer with transformers, from all files of a folder.

Many classes of transformers rebuild a tokenizer instead of using ``tokenizer.json`` unchanged.
transformers imports torch. If this process has not imported torch, a child process builds the
tokenizer, so that a process that only tokenizes does not keep torch in memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from embedder.core.errors import UnsupportedModel

_BUILD_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class TransformersTokenizer:
    """A tokenizer that transformers has built.

    ``state`` is the JSON of the Rust tokenizer, ``truncation_side`` the end at which it cuts, and
    ``input_names`` are the arrays that it passes to a model.
    """

    state: str
    truncation_side: str
    input_names: tuple[str, ...]


def build_fast_tokenizer(folder: Path) -> TransformersTokenizer:
    """Return the tokenizer that transformers builds from a folder, without any custom code.

    Raises:
        UnsupportedModel: transformers refuses the files, builds a tokenizer in Python, or one that
            splits the special tokens of a text.
    """
    try:
        return _build(folder) if "torch" in sys.modules else _build_in_child(folder)
    except Exception as error:
        raise UnsupportedModel(
            f"transformers builds no fast tokenizer from the files in {folder}: {error}"
        ) from error


def _build(folder: Path) -> TransformersTokenizer:
    from transformers import AutoTokenizer

    with silenced():
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
        if tokenizer.split_special_tokens:
            raise ValueError("'split_special_tokens' is not supported")
        return TransformersTokenizer(
            state=tokenizer.backend_tokenizer.to_str(),
            truncation_side=str(tokenizer.truncation_side),
            input_names=tuple(tokenizer.model_input_names),
        )


@contextmanager
def silenced() -> Iterator[None]:
    """Silence the progress bars of transformers, and its warnings, which users cannot act on."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _build_in_child(folder: Path) -> TransformersTokenizer:
    path = os.pathsep.join(filter(None, sys.path))
    finished = subprocess.run(  # noqa: S603 - runs this module, with a path as its argument
        [sys.executable, "-m", __name__, str(folder.absolute())],
        env={**os.environ, "PYTHONPATH": path, "TRANSFORMERS_VERBOSITY": "error"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_BUILD_TIMEOUT_S,
        check=False,
    )
    if finished.returncode:
        lines = finished.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(
            lines[-1] if lines else f"the child process ended with {finished.returncode}"
        )
    answer = json.loads(finished.stdout.splitlines()[-1])
    return TransformersTokenizer(**{**answer, "input_names": tuple(answer["input_names"])})


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_build(Path(sys.argv[1])))))
