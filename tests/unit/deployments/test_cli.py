"""The command line: its output and exit status."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import orjson
import pytest
import yaml

from deployments.cli import main
from deployments.ingress.middleware.keys import matching_key
from deployments.launch.preflight import load_arguments
from deployments.settings.keys_file import parse_keys
from embedder.models.catalogue import CATALOGUE
from embedder.settings.model import EmbedderSettings
from embedder.settings.sources import load


def test_embed_prints_one_vector_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["embed", "hello world", "another"])
    vectors = np.array([orjson.loads(line) for line in capsys.readouterr().out.splitlines()])

    assert status == 0
    assert vectors.shape == (2, 384)
    np.testing.assert_allclose(vectors[0, :3], [-0.0345, 0.0310, 0.0067], atol=1e-3)


def test_embed_reads_stdin_without_text_arguments(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\nthree\n"))

    assert main(["embed", "--set", "batching.autotune_s=0"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_embed_writes_the_rows_of_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text("id,body\n1,hello world\n2,\n3,another\n")
    command = ["embed", "--input", str(source), "--column", "body", "--output", str(output)]

    assert main([*command, "--keep", "id", "--json", "--set", "batching.autotune_s=0"]) == 3
    rows = [orjson.loads(line) for line in output.read_bytes().splitlines()]
    failures = orjson.loads((tmp_path / "out.jsonl.failed.jsonl").read_bytes())
    printed = orjson.loads(capsys.readouterr().out)
    assert [row["id"] for row in rows] == ["1", "3"]
    np.testing.assert_allclose(rows[0]["embedding"][:3], [-0.0345, 0.0310, 0.0067], atol=1e-3)
    assert (failures["row"], failures["error"]) == (1, "has a field 'body' that is empty")
    assert (printed["rows"], printed["failed"], printed["resumed"]) == (2, 1, 0)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--input", "in.csv"], "'--input' needs --output"),
        (["text", "--output", "out.npy"], "'--output' needs --input"),
        (["--input", "in.doc", "--output", "out.npy"], "in.doc has no suffix of a known format"),
        (["--input", "in.csv", "--output", "out.doc"], "out.doc has none of the suffixes"),
    ],
)
def test_embed_checks_its_files_before_a_model_is_loaded(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", *arguments]) == 1
    assert problem in capsys.readouterr().err


def test_embed_takes_settings_from_arguments_before_those_of_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('[backend]\ndtype = "float16"\n[batching]\nautotune_s = 0\n')
    arguments = ["embed", "a text", "--settings", str(settings), "--dimensions", "8"]
    arguments += ["--set", "backend.dtype=float32", "--set", "model.matryoshka=[8]"]

    assert main([*arguments, "--as", "query"]) == 0
    vector = np.array(orjson.loads(capsys.readouterr().out))
    assert vector.shape == (8,)
    np.testing.assert_allclose(np.linalg.norm(vector), 1, atol=1e-5)


def test_models_prints_a_line_for_every_row_of_the_catalogue(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["models"]) == 0
    printed = capsys.readouterr().out.splitlines()

    assert printed[0].split()[:3] == ["alias", "width", "tokens"]
    assert [line.split()[0] for line in printed[1 : 1 + len(CATALOGUE)]] == [
        row.alias for row in CATALOGUE
    ]


def test_models_as_json_prints_all_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    rows = orjson.loads(capsys.readouterr().out)

    assert {row["alias"]: row["sha256"] for row in rows} == {
        row.alias: row.sha256 for row in CATALOGUE
    }


def test_plan_prints_settings_that_can_be_read_again_with_their_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--max-memory-gb", "2"]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "plan.yaml").write_text(printed)
    planned = load(EmbedderSettings, file=tmp_path / "plan.yaml").settings

    assert "# batching.max_tokens = " in printed
    assert planned.batching.max_tokens is not None


def test_plan_reports_a_limit_that_cannot_be_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--min-texts-per-s", "10000000"]) == 1
    captured = capsys.readouterr()

    assert captured.err.startswith("embedder: ")
    assert "short by" in captured.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["embed", "--model", "no-such-model", "x"], "no weights for model 'no-such-model'"),
        (["embed", ""], "'input[0]' must not be empty"),
        (["embed", "--set", "backend.dtyp=int8", "x"], "did you mean backend.dtype?"),
        (["embed", "--set", "backend.dtype", "x"], "--set backend.dtype: write it as PATH=VALUE"),
        (["embed", "--settings", "nowhere.yaml", "x"], "cannot read nowhere.yaml"),
        (["config", "no/such/file.yaml"], "cannot read no/such/file.yaml"),
        (["serve", "no/such/file.yaml"], "cannot read no/such/file.yaml"),
    ],
)
def test_errors_are_printed_on_stderr(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(arguments)
    captured = capsys.readouterr()

    assert status == 1
    assert captured.err.startswith("embedder: ")
    assert says in captured.err
    assert captured.out == ""


def test_a_file_that_is_not_a_serve_configuration_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "serve_config.yaml"
    config.write_text("just: this\n")

    assert main(["serve", str(config)]) == 1
    assert "is not a Serve configuration: applications" in capsys.readouterr().err


def test_a_missing_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])

    assert caught.value.code == 2
    assert "serve" in capsys.readouterr().err


def test_key_prints_a_key_and_its_configuration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The line alone is on the standard output, so that no file gets the key."""
    assert main(["key", "ключ 🔑", "--scopes", "read, write", "--collections", "a, b-*"]) == 0
    printed = capsys.readouterr()
    (settings,) = load_arguments({"keys": yaml.safe_load(printed.out)}).settings.keys
    shown = printed.err.splitlines()[0]

    assert matching_key(shown.rpartition(" ")[2].encode(), [settings]) is settings
    assert parse_keys(printed.out.encode(), Path("keys.yaml")) == (settings,)
    assert settings.name == "ключ 🔑"
    assert [scope.value for scope in settings.scopes] == ["read", "write"]
    assert settings.collections == ("a", "b-*")


@pytest.mark.parametrize(("given", "collections"), [([], None), (["--collections", ""], ())])
def test_a_key_is_for_all_collections_unless_some_are_named(
    given: list[str], collections: tuple[str, ...] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["key", "search", *given]) == 0
    (key,) = parse_keys(capsys.readouterr().out.encode(), Path("keys.yaml"))

    assert key.collections == collections


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["a\nb"], "name: must have printable characters"),
        (["a", "--collections", "*x"], "collections: entry 1 must begin with a letter"),
        (["a", "--collections", "x,,y"], "collections: entry 2 must begin with a letter"),
    ],
)
def test_key_refuses_what_no_service_accepts(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["key", *arguments]) == 1
    assert problem in capsys.readouterr().err


def test_key_refuses_an_unknown_scope(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "search", "--scopes", "everything"]) == 1
    assert "scopes" in capsys.readouterr().err


def test_reference_prints_both_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reference"]) == 0
    printed = capsys.readouterr().out

    assert "| `max_inputs` | 2,048 |" in printed
    assert "| `overloaded` | 429 |" in printed
