"""The process that runs a team's own code: their loader and their trainer.

Their code runs in their environment (``trainer.python``), never inside Slipway's processes:

    python -m slipway.child snapshot REQUEST.json RESULT.json
    python -m slipway.child train    REQUEST.json RESULT.json

``slipway.workshop`` is the other side: it starts the process, limits it and reads the result.

**snapshot** asks a source for rows, checks them and freezes them as Parquet.

    request  {"folder": "/the/model/folder",      put first on the import path
              "source": "data:load" | "csv" | "parquet", "params": {...},
              "from": "2013-01-01", "until": "2013-04-01",     empty: no bound; without zone: UTC
              "features": [{"name": "temp", "kind": "number"}, ...], "target": "late",
              "time": "departs", "unit": "tailnum",            empty: none
              "fixed": "/pack/fixed_set.csv", "fixed_rows": "drop" | "refuse",   empty: none
              "out": "/folder/to/write/into"}
    result   {"path", "content": "sha256:...", "rows", "dropped", "time_from", "time_to",
              "columns": [{"name", "kind": "number" | "text" | "time"}, ...], "seconds"}

A source of one's own is ``load(*, params, since, until) -> DataFrame``; it may use the bounds (a
``pandas.Timestamp`` in UTC, or None) to read less, and is held to them afterwards.

**train** fits on a snapshot, and stores the model so that equal models are equal bytes.

    request  {"folder", "features", "target" as above, "snapshot": "/snapshot.parquet",
              "trainer": "train:train", "params": {...}, "seed": 0,
              "trusted": ["my_package.MyTransformer"],  types of the team's own that may be stored
              "fixed": "/pack/fixed_set.csv", "out": "/folder/to/write/into"}
    result   {"artefact": "sha256:...", "files": {"model.skops": "sha256:...", "model.onnx": ...,
              "native_scores.json": ...}, "trusted": [...], "onnx_error": "",
              "output": "probability" | "value", "positive_class": 1 | null,
              "signature": [{"name", "kind"}, ...], "metrics": {...}, "fit_seconds"}

A trainer is ``train(X, y, *, params, seed)`` and returns a fitted scikit-learn estimator.
``native_scores.json`` holds the model's own float64 answers for the fixed dataset, row by row, so
that any other engine can be held against them.

RESULT is written whole or not at all: ``{"ok": true, "result": {...}}`` or ``{"ok": false,
"error": {"type": "TrainerError", "what", "where", "do"}}``.
"""
