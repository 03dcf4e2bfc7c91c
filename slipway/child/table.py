"""Reading and writing tables as files: the same rows are the same bytes, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

MISSING_NUMBER = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")


def read(path: Path, kinds: Mapping[str, str], form: str = "") -> pd.DataFrame:
    """Read CSV or Parquet.

    Text columns of a CSV file stay text as written ("007", "NA"); only nothing is missing there.

    Args:
        kinds: column name to kind, for the columns that will be used.
        form: ``csv`` or ``parquet``; by default the file's ending decides.

    Raises:
        DataError: the file cannot be read, or is empty.
    """
    import pandas as pd

    try:
        if (form or path.suffix.lstrip(".")) == "parquet":
            return pd.read_parquet(path)
        return pd.read_csv(
            path,
            dtype={name: "str" for name, kind in kinds.items() if kind == "text"},
            na_values={n: [""] if k == "text" else list(MISSING_NUMBER) for n, k in kinds.items()},
            keep_default_na=False,
            float_precision="round_trip",
        )
    except (OSError, ValueError) as error:  # pandas' and pyarrow's own errors are ValueErrors
        raise DataError(
            f"the data file cannot be read: {error}",
            where=str(path),
            do="give a CSV file with a header line, or a Parquet file",
        ) from error


def write(rows: pd.DataFrame, path: Path) -> None:
    """Write Parquet whose bytes depend on the rows alone.

    pandas' own metadata is left out: it names the versions of pandas and pyarrow.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    pq.write_table(table, beside, compression="zstd", version="2.6", row_group_size=1 << 20)
    beside.replace(path)
