"""Settings for a goal: what a machine can do, what a choice will give there, which one to take."""

from embedder.planning.optimize import optimize_for

__all__ = ["optimize_for"]
