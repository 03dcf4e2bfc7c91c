"""Finding and calling a team's own functions, and telling what went wrong in *their* lines."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slipway.errors import SlipwayError


def find(reference: str, folder: Path, error: type[SlipwayError]) -> Callable[..., Any]:
    """The function that ``module:function`` names, the model's folder being importable.

    Raises:
        SlipwayError: of the given type: the module cannot be imported, or has no such function.
    """
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    module_name, _, name = reference.partition(":")
    module = _guarded(
        lambda: importlib.import_module(module_name), f"importing '{module_name}'", folder, error
    )
    function = getattr(module, name, None)
    if not callable(function):
        known = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise error(
            f"'{module_name}' has no function '{name}'",
            where=str(getattr(module, "__file__", folder)),
            do=f"name one of: {', '.join(sorted(known)) or 'none is defined'}",
        )
    return function  # type: ignore[no-any-return]


def call(
    reference: str, folder: Path, error: type[SlipwayError], *args: Any, **options: Any
) -> Any:
    """Call the function that ``module:function`` names.

    Raises:
        SlipwayError: of the given type: it cannot be found, or it raised.
    """
    function = find(reference, folder, error)
    return _guarded(lambda: function(*args, **options), f"'{reference}'", folder, error)


def _guarded(action: Callable[[], Any], name: str, folder: Path, error: type[SlipwayError]) -> Any:
    try:
        return action()
    except (Exception, SystemExit) as raised:  # a team's code may raise anything at all
        traceback.print_exc()
        raise error(
            f"{name} raised {type(raised).__name__}: {raised}",
            where=_their_line(raised, folder),
            do="mend it there; the whole traceback is in the log",
        ) from raised


def _their_line(raised: BaseException, folder: Path) -> str:
    """The last line of the traceback that lies in the model's folder."""
    frames = traceback.extract_tb(raised.__traceback__)
    theirs = [f for f in frames if Path(f.filename).is_relative_to(folder)]
    if not theirs:
        return str(folder)
    last = theirs[-1]
    return f"{last.filename}:{last.lineno} in {last.name}: {last.line}"
