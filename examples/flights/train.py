"""How likely is this flight to land more than 15 minutes late?"""

from __future__ import annotations

from typing import Any

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler

PLACES = ["carrier", "origin", "dest"]


def train(x: pd.DataFrame, y: pd.Series[int], *, params: dict[str, Any], seed: int) -> Pipeline:
    """A logistic regression on bins: as good here as a boosted forest, and fitted in a second.

    The airport's delay stays a line: the later its last flights left, the higher the risk, without
    end. Everything else may bend, so it is cut into bins. A carrier or destination that was never
    seen counts as the average; a missing number as the median.

    Args:
        params: ``bins`` per number, and ``c``, the inverse strength of regularisation.
    """
    bent = [name for name in x.columns if name not in (*PLACES, "airport_delay")]
    bins = KBinsDiscretizer(
        params["bins"], encode="ordinal", quantile_method="linear", subsample=None
    )
    columns = ColumnTransformer(
        [
            ("line", make_pipeline(_median(), StandardScaler()), ["airport_delay"]),
            ("bins", make_pipeline(_median(), bins, OneHotEncoder()), bent),
            ("places", OneHotEncoder(handle_unknown="ignore"), PLACES),
        ]
    )
    model = LogisticRegression(C=params["c"], max_iter=300, random_state=seed)
    return make_pipeline(columns, model).fit(x, y)


def _median() -> SimpleImputer:
    return SimpleImputer(strategy="median")
