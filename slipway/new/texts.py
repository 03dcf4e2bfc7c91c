"""The files of a new model folder, filled into the templates of ``slipway/templates``."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway.new import pack
from slipway.new.columns import Columns, Roles

if TYPE_CHECKING:
    import pandas as pd

TEMPLATES = Path(__file__).parent.parent / "templates"
ANSWERS = {
    True: "the probability that `{target}` is {positive}, one number per row",
    False: "`{target}`, one number per row",
}
ROBUST = """
        loss="huber",  # squares, but for the wildest one in a hundred
        alpha=0.99,"""


@dataclass(frozen=True, slots=True)
class Told:
    """What the user said and what their file showed."""

    model: str
    data: Path
    form: str
    roles: Roles
    columns: Columns
    today: str

    @property
    def positive(self) -> Any:
        """The value of a two-valued target that counts as 1."""
        return next((v for v, label in self.columns.target.labels.items() if label), 1)

    @property
    def task(self) -> str:
        """What the model does, in one sentence."""
        if not self.columns.target.two_valued:
            return f"a regression of '{self.roles.target}'"
        return f"a classification of '{self.roles.target}': the probability of {self.positive!r}"

    @property
    def notes(self) -> list[str]:
        """What was decided for the user, one sentence each."""
        target = self.columns.target
        lines = [f"this is {self.task}"]
        if target.labels:
            counted = ", ".join(f"{value!r} as {label}" for value, label in target.labels.items())
            lines.append(f"the target counts {counted} (data.py)")
        if target.unknown:
            lines.append(f"{target.unknown} rows without a target are left out (data.py)")
        lines += [f"left out: {n}: {reason}" for n, reason in self.columns.left_out.items()]
        return lines


def write_code(folder: Path, told: Told) -> None:
    """Write slipway.yaml, train.py, and data.py where the file needs one."""
    target, roles = told.columns.target, told.roles
    named = {"time": roles.time, "unit": roles.unit}
    features, left_out = told.columns.features, told.columns.left_out
    lines = [f"    - {{ name: {_yaml(n)}, kind: {kind} }}\n" for n, kind in features.items()]
    lines += [f"    # left out: {_yaml(n)}: {reason}\n" for n, reason in left_out.items()]
    _write(
        folder / "slipway.yaml",
        "slipway.yaml",
        model=told.model,
        source="data:load              # load(*, params, since, until) in data.py"
        if target.needs_loader
        else told.form,
        path=_yaml(str(told.data)),
        target=_yaml(roles.target),
        roles="".join(f"  {role}: {_yaml(n)}\n" for role, n in named.items() if n),
        features="".join(lines),
        tolerance=f"{min(0.5, 1e-5 * max(1.0, target.size)):g}",
        answer="{ min: 0, max: 1 }         # anything else counts as the arm's failure"
        if target.two_valued
        else "{ finite: true }           # anything else counts as the arm's failure",
    )
    kind, loss = ("Classifier", "") if target.two_valued else ("Regressor", ROBUST)
    _write(folder / "train.py", "train.py", estimator=f"GradientBoosting{kind}", loss=loss)
    if target.needs_loader:
        _write_loader(folder / "data.py", told)


def _write_loader(path: Path, told: Told) -> None:
    target = told.columns.target
    kinds = {**told.columns.features, told.roles.target: target.kind}
    kinds |= {name: "text" for name in (told.roles.time, told.roles.unit) if name}
    _write(
        path,
        "data_labels.py" if target.labels else "data_known.py",
        target=_quoted(told.roles.target),
        labels="{" + ", ".join(f"{_quoted(v)}: {n}" for v, n in target.labels.items()) + "}",
        kinds="{\n" + "".join(f"    {_quoted(n)}: {_quoted(k)},\n" for n, k in kinds.items()) + "}",
        form=_quoted(told.form),
    )


def write_fixed(folder: Path, told: Told, fixed: pd.DataFrame, why: str) -> Path:
    """Freeze rows and the digest that names them; the path of the frozen file."""
    place = folder / "expectations" / told.model
    place.mkdir(parents=True)
    content = fixed.to_csv(index=False).encode()
    (place / "fixed_set.csv").write_bytes(content)
    _write(
        place / "fixed_set.toml",
        "fixed_set.toml",
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        rows=len(fixed),
        target=_quoted(told.roles.target),
        today=told.today,
        why=_quoted(why),
    )
    return place / "fixed_set.csv"


def write_expectations(
    folder: Path, told: Told, rows: pd.DataFrame, bounds: Mapping[str, float]
) -> None:
    """Write the suite, the edge cases and the gates."""
    place, features = folder / "expectations" / told.model, told.columns.features
    target, two_valued = rows[told.roles.target], told.columns.target.two_valued
    suite = pack.suite(told.model, rows, features, told.roles.target)
    (place / "suite.json").write_text(
        json.dumps(suite, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    cases = pack.edge_cases(rows, features, pack.sane(target, two_valued), told.today)
    lines = [json.dumps(case, ensure_ascii=False) + "\n" for case in cases]
    (place / "edge_cases.jsonl").write_text("".join(lines), encoding="utf-8")
    task = "classification" if two_valued else "regression"
    _write(place / "gates.toml", f"gates_{task}.toml", today=told.today, **bounds)


def write_readme(folder: Path, told: Told, fixed: pd.DataFrame, why: str) -> None:
    """Write the folder's own guide."""
    row = fixed.iloc[0]
    request = {"dataframe_records": [{n: pack.plain(row[n]) for n in told.columns.features}]}
    two_valued = told.columns.target.two_valued
    answers = ANSWERS[two_valued].format(target=told.roles.target, positive=repr(told.positive))
    loader = "| `data.py` | reads the data file, and makes the target of it |\n"
    _write(
        folder / "README.md",
        "README.md",
        model=told.model,
        today=told.today,
        path=told.data,
        task=told.task,
        count=len(told.columns.features),
        loader=loader if told.columns.target.needs_loader else "",
        fixed_rows=len(fixed),
        why=why,
        notes="\n".join(f"- {line}" for line in told.notes),
        request=shlex.quote(json.dumps(request, ensure_ascii=False)),
        answers=answers,
        label=pack.plain(float(row[told.roles.target])),
    )


def measured(bounds: Mapping[str, float]) -> str:
    """The default model's figures as a phrase."""
    if "auc" in bounds:
        return f"AUC {bounds['auc']:g}, calibration error {bounds['calibration_error']:g}"
    return f"RMSE {bounds['rmse']:g}, where a constant answer has {bounds['guess']:g}"


def _write(path: Path, template: str, /, **values: Any) -> None:
    text = (TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")
    path.write_text(string.Template(text).substitute(values), encoding="utf-8")


def _yaml(text: str) -> str:
    """A text as YAML on one line, quoted where it would be taken for something else."""
    import yaml

    simple = re.fullmatch(r"[\w./-]+( [\w./-]+)*", text)
    return text if simple and yaml.safe_load(text) == text else _quoted(text)


def _quoted(value: Any) -> str:
    """A text or number as Python and TOML both read it."""
    return json.dumps(value, ensure_ascii=False)
