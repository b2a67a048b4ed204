"""Ray is imported here first: it warns of its own deprecations while it is imported."""

import tests.unit.deployments.conftest  # noqa: F401
