"""The command line: what it prints, and how it ends."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import orjson
import pytest

from deployments.cli import main


def test_embed_prints_one_vector_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["embed", "hello world", "another"])
    vectors = np.array([orjson.loads(line) for line in capsys.readouterr().out.splitlines()])

    assert status == 0
    assert vectors.shape == (2, 384)
    np.testing.assert_allclose(vectors[0, :3], [-0.0345, 0.0310, 0.0067], atol=1e-3)


def test_embed_reads_lines_where_no_text_is_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\nthree\n"))

    assert main(["embed"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["embed", "--model", "no-such-model", "x"], "no weights for model 'no-such-model'"),
        (["embed", ""], "'input[0]' must not be empty"),
        (["serve", "no/such/file.yaml"], "cannot read no/such/file.yaml"),
    ],
)
def test_what_cannot_be_done_is_said_on_stderr(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(arguments)
    captured = capsys.readouterr()

    assert status == 1
    assert captured.err.startswith("embedder: ")
    assert says in captured.err
    assert captured.out == ""


def test_a_file_that_is_no_serve_configuration_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "serve_config.yaml"
    config.write_text("just: this\n")

    assert main(["serve", str(config)]) == 1
    assert "no list 'applications'" in capsys.readouterr().err


def test_a_command_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])

    assert caught.value.code == 2
    assert "serve" in capsys.readouterr().err
