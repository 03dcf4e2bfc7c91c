"""Slipway: nouns and decisions of a release chain for AI models.

This package knows neither Prefect nor MLflow and imports in well under 100 ms; the flows and
tasks that act on the world are in the packages ``flows`` and ``tasks`` beside it.
"""

__version__ = "0.1.0"
