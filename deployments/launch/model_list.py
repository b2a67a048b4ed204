"""The served models of a Serve configuration, which lists them for every deployment with models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from deployments.settings.encoders import unserved
from deployments.settings.models import ModelList
from deployments.settings.service import ServeSettings
from embedder.core.errors import ConfigurationError
from embedder.settings.sources import LoadedSettings

MODEL_SETTINGS = ("model.", "further_models")
"""Prefixes of the settings that have no effect if ``user_config`` lists the models."""


def listed_models(
    application: Mapping[str, Any], loaded: LoadedSettings[ServeSettings]
) -> ModelList:
    """Return the models listed in ``user_config`` of the deployments, else in the settings.

    Raises:
        ConfigurationError: the list is wrong or not the same for all deployments; or no pool has a
            model, or a pool has one that is not served.
    """
    models = _listed(application, loaded)
    if problem := unserved(loaded.settings.encoder.deployments, models.models):
        raise ConfigurationError(f"the configuration is wrong:\n{problem}")
    return models


def _listed(application: Mapping[str, Any], loaded: LoadedSettings[ServeSettings]) -> ModelList:
    holders = loaded.settings.model_deployments
    given = {
        deployment.get("name"): deployment["user_config"]
        for deployment in application.get("deployments") or []
        if deployment.get("name") in holders and "user_config" in deployment
    }
    if not given:
        return loaded.settings.served
    ignored = [
        origin.removeprefix("environment ")
        for path, origin in loaded.origins.items()
        if path.startswith(MODEL_SETTINGS) and origin.startswith("environment ")
    ]
    if ignored:
        raise ConfigurationError(
            f"{', '.join(dict.fromkeys(ignored))} would have no effect: user_config of the "
            "deployments lists the models; change that list, or remove it"
        )
    lists = list(given.values())
    if len(given) < len(holders) or lists.count(lists[0]) < len(lists):
        raise ConfigurationError(
            f"{', '.join(holders)} must have the same user_config, the list of models; "
            f"it is set for {', '.join(map(str, given))}: write it once, with a YAML anchor"
        )
    try:
        return ModelList.model_validate(lists[0])
    except ValidationError as error:
        problems = "\n".join(
            f"  user_config.{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            for problem in error.errors()
        )
        raise ConfigurationError(f"the configuration is wrong:\n{problems}") from error
