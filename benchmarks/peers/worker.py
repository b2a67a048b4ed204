"""An encoder in a process of its own: a line of JSON in, a line of JSON out.

The peer's own Python runs it, so it imports nothing of this project.
The first line of its output describes it. Then ``{"texts": [...], "seconds": s}`` embeds all
texts again and again for at least so long, and answers with the rate; ``{"vectors": [...]}``
answers with the vectors, outside any measurement.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

Encode = Callable[[list[str]], Any]
"""Embeds texts: a float32 array, one row each."""


def serve(load: Callable[[], tuple[Encode, dict[str, object]]]) -> None:
    """Load an encoder and its description, then answer every line until there is none."""
    # Libraries print while they load: what they say must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    encode, about = load()
    print(json.dumps(about), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(encode, json.loads(line))), file=answers, flush=True)


def answer(encode: Encode, question: dict[str, Any]) -> dict[str, object]:
    """Return the vectors of some texts, or how fast they are embedded."""
    if "vectors" in question:
        vectors = encode(question["vectors"])
        rows = vectors.astype("<f4").tobytes()
        return {"vectors": base64.b64encode(rows).decode("ascii"), "width": vectors.shape[1]}
    texts, passes = question["texts"], 0
    began = time.perf_counter()
    while (taken_s := time.perf_counter() - began) < question["seconds"] or passes == 0:
        encode(texts)
        passes += 1
    return {"texts_per_s": passes * len(texts) / taken_s, "passes": passes}


def sentence_transformers(
    directory: str, backend: Literal["torch", "onnx"]
) -> tuple[Encode, dict[str, object]]:
    """Return the encoder of a model directory, in float32 on the CPU."""
    import sentence_transformers as library
    import torch

    model = library.SentenceTransformer(
        directory, device="cpu", backend=backend, local_files_only=True
    )
    about: dict[str, object] = {
        "version": library.__version__,
        "threads": torch.get_num_threads(),
        "most_tokens": model.max_seq_length,
    }

    def encode(texts: list[str]) -> Any:
        return model.encode(texts, batch_size=32, show_progress_bar=False)

    return encode, about


def main() -> None:
    """Serve the model of a directory with one of the backends of sentence-transformers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory")
    parser.add_argument("--backend", choices=("torch", "onnx"), default="torch")
    options = parser.parse_args()
    serve(lambda: sentence_transformers(options.directory, options.backend))


if __name__ == "__main__":
    main()
