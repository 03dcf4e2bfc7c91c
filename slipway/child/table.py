"""Reading and writing tables as files: the same rows are the same bytes, and back."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        return read_csv(
            path,
            dtype={name: "str" for name, kind in kinds.items() if kind == "text"},
            na_values={n: [""] if k == "text" else list(MISSING_NUMBER) for n, k in kinds.items()},
            keep_default_na=False,
            float_precision="round_trip",
        )
    except (OSError, ValueError) as error:  # pandas' and pyarrow's own errors are ValueErrors
        raise unreadable(path, " ".join(str(error).split())) from error


def read_csv(path: Path, **how: Any) -> pd.DataFrame:
    """Read a CSV file whose header names each column once and whose rows have no more fields.

    Left alone, pandas takes a field too many for an index, which shifts every column, and renames
    a name that stands twice: both would be learnt from without a word.

    Args:
        how: what ``pandas.read_csv`` takes besides.

    Raises:
        DataError: it is not UTF-8, a name stands twice, or a row has more fields than the header.
        ValueError, OSError: as pandas raises them otherwise.
    """
    import pandas as pd

    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file), [])
        twice = sorted({repr(name) for name in header if header.count(name) > 1})
        if twice:
            told = f"the header names {', '.join(twice)} twice"
            raise DataError(told, where=str(path), do="give each column a name of its own")
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            rows: pd.DataFrame = pd.read_csv(path, index_col=False, encoding="utf-8-sig", **how)
            return rows
    except UnicodeDecodeError as error:
        raise unreadable(path, "it is not text in UTF-8", "save it as UTF-8") from error
    except pd.errors.ParserWarning as error:
        told = f"its rows have more fields than its header has names ({len(header)})"
        raise unreadable(path, told, "name every column in the header line") from error
    except pd.errors.ParserError as error:
        if found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error)):
            told = f"line {found[2]} has {found[3]} fields, and the header {found[1]}"
            raise unreadable(path, told, "quote what holds a comma") from error
        raise


def unreadable(path: Path, why: str, do: str = "") -> DataError:
    """The error of a data file that cannot be read."""
    return DataError(
        f"the data file cannot be read: {why}",
        where=str(path),
        do=do or "give a CSV file with a header line, or a Parquet file",
    )


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
