"""What embeds the texts of a run: a model in this process, or a service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from deployments.commands.embed.embedding import Embed, RefusedText, position_in
from embedder.core.errors import ConfigurationError, InvalidInput, Unavailable
from embedder.core.request import EmbedOptions
from embedder.core.types import InputType, Vectors
from embedder.settings.model import EmbedderSettings


@dataclass(frozen=True, slots=True)
class Options:
    """The options of all embeddings of a run."""

    input_type: Literal["query", "document", "classification", "clustering"] | None = None
    dimensions: int | None = None


@contextmanager
def in_process(
    settings: EmbedderSettings, options: Options
) -> Iterator[tuple[Embed, dict[str, Any]]]:
    """Load a model; yield what embeds texts, and the description of the model.

    Raises:
        ConfigurationError: as `EmbeddingGenerator`.
    """
    from embedder.generator import EmbeddingGenerator

    embed_options = EmbedOptions(
        input_type=InputType(options.input_type) if options.input_type else None,
        dimensions=options.dimensions,
    )
    with EmbeddingGenerator(settings=settings) as generator:

        def embed(texts: list[str]) -> Vectors:
            try:
                return generator.embed(texts, embed_options)
            except InvalidInput as error:
                position = position_in(error.field)
                if position is None:
                    raise  # an option is wrong, and no text
                raise RefusedText(error.problem, position) from None

        yield embed, {"model": generator.model.name, "weights": generator.model.digest}


@contextmanager
def of_service(
    url: str, api_key: str | None, model: str | None, options: Options
) -> Iterator[tuple[Embed, dict[str, Any]]]:
    """Connect to a service with OpenAI's API; yield what embeds texts, its address and its model.

    Raises:
        ConfigurationError: the package of the client is not installed.
        Unavailable: the service is not reached, or refuses the key.
    """
    try:
        import embedder_client as client
    except ImportError:
        problem = "--url needs the package embedder-client, which is not installed"
        raise ConfigurationError(problem) from None
    embed_options = client.EmbedOptions(
        input_type=options.input_type, dimensions=options.dimensions
    )
    with client.Client(url, api_key=api_key, model=model, timeout_s=600) as service:

        def embed(texts: list[str]) -> Vectors:
            try:
                return service.embed(texts, embed_options)
            except client.InvalidRequest as error:
                if error.position is None:
                    raise InvalidInput(error.field or "request", str(error)) from None
                raise RefusedText(str(error), error.position) from None
            except client.ClientError as error:
                raise Unavailable(str(error)) from None

        try:
            served = service.models()
        except client.NotFound:  # not every server of this API lists its models
            served = []
        except client.ClientError as error:
            raise Unavailable(str(error)) from None
        yield embed, {"url": url, **answering_model(served, model)}


def answering_model(served: Sequence[Mapping[str, Any]], named: str | None) -> dict[str, Any]:
    """Return name and revision of the model that answers, None where the service says neither.

    Without a name, the first model with dense vectors answers. A continued run compares both, so
    that it mixes no vectors of two models.
    """
    for model in served:
        outputs = model.get("outputs") or ("dense",)
        if model["id"] == named or (named is None and "dense" in outputs):
            return {"model": model["id"], "revision": model.get("revision")}
    return {"model": named, "revision": None}
