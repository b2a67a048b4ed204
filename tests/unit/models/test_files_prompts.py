"""The sources of a model's prompts and similarity, and their precedence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from embedder.core.errors import UnsupportedModel
from embedder.core.types import SimilarityName
from tests.tiny_models import write_json
from tests.unit.models.model_sources import FakeSources, open_files

STATED = "config_sentence_transformers.json"
IDENTITY = "torch.nn.modules.linear.Identity"
TANH = "torch.nn.modules.activation.Tanh"


def test_prompts_are_the_row_s_then_the_files_then_the_operator_s(sources: FakeSources) -> None:
    stated = {"prompts": {"query": "file query: ", "passage": "", "own": "file own: "}}
    write_json(sources.fill_package() / STATED, stated)

    files = open_files("tiny", prompts={"own": "operator own: ", "more": "operator more: "})

    assert files.prompts == {
        "query": "file query: ",
        "passage": "row passage: ",
        "own": "operator own: ",
        "more": "operator more: ",
    }


def test_an_empty_prompt_of_the_files_may_be_named(tiny: Path) -> None:
    write_json(tiny / STATED, {"prompts": {"query": "q: ", "document": "", "none": None}})

    assert open_files(tiny).prompts == {"query": "q: ", "document": "", "none": ""}
    assert open_files(tiny, prompts={"query": ""}).prompts["query"] == ""


@pytest.mark.parametrize("stated", [{}, {"prompts": None}, {"prompts": {}}, {"prompts": []}])
def test_a_model_need_not_have_prompts(tiny: Path, stated: object) -> None:
    write_json(tiny / STATED, stated)

    assert (open_files(tiny).prompts, open_files(tiny).default_prompt) == ({}, None)


@pytest.mark.parametrize(
    "prompts", [["query"], 5, "query: ", {"query": 5}, {"query": ["q"]}, {"query": "\ud800"}]
)
def test_prompts_that_are_no_texts_are_refused(tiny: Path, prompts: object) -> None:
    write_json(tiny / STATED, {"prompts": prompts})

    with pytest.raises(UnsupportedModel, match="prompt"):
        open_files(tiny)


def test_the_default_prompt_is_the_operator_s_else_the_files(tiny: Path) -> None:
    stated = {"prompts": {"query": "q: ", "passage": "p: "}, "default_prompt_name": "query"}
    write_json(tiny / STATED, stated)

    assert open_files(tiny).default_prompt == "query"
    assert open_files(tiny, default_prompt="passage").default_prompt == "passage"
    assert open_files(tiny, default_prompt="x", prompts={"x": "y"}).default_prompt == "x"


def test_the_default_prompt_of_the_files_may_be_empty(tiny: Path) -> None:
    stated = {"prompts": {"query": "q: ", "document": ""}, "default_prompt_name": "document"}
    write_json(tiny / STATED, stated)

    files = open_files(tiny)
    assert (files.default_prompt, files.prompts["document"]) == ("document", "")


@pytest.mark.parametrize("named", ["x", "", 5, ["query"], {"query": 1}, True])
def test_an_unknown_default_prompt_in_the_files_is_refused(tiny: Path, named: object) -> None:
    write_json(tiny / STATED, {"prompts": {"query": "q: "}, "default_prompt_name": named})

    with pytest.raises(UnsupportedModel, match=re.escape(f"is {named!r}; there are: query")):
        open_files(tiny)


@pytest.mark.parametrize("named", ["query", ""])
def test_an_unknown_default_prompt_in_the_settings_is_refused(tiny: Path, named: str) -> None:
    write_json(tiny / STATED, {"prompts": {"own": "", "x": "y"}, "default_prompt_name": "own"})

    with pytest.raises(UnsupportedModel, match=f"is '{named}'; there are: own, x"):
        open_files(tiny, default_prompt=named)


@pytest.mark.parametrize("name", get_args(SimilarityName))
def test_the_similarity_is_read_from_the_files(tiny: Path, name: str) -> None:
    write_json(tiny / STATED, {"similarity_fn_name": name})

    assert open_files(tiny).similarity == name


@pytest.mark.parametrize("stated", [{}, {"similarity_fn_name": None}])
def test_the_default_similarity_is_cosine(tiny: Path, stated: object) -> None:
    write_json(tiny / STATED, stated)

    assert open_files(tiny).similarity == "cosine"


@pytest.mark.parametrize("named", ["maxsim", "COSINE", 5, ["cosine"], {"cosine": 1}])
def test_another_similarity_is_refused_by_its_name(tiny: Path, named: object) -> None:
    write_json(tiny / STATED, {"similarity_fn_name": named})

    with pytest.raises(UnsupportedModel, match=re.escape(f"the similarity is {named!r}")):
        open_files(tiny)
