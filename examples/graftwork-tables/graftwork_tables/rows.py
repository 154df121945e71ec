"""Tables as rows: `row` (numbers and words by column name), `label`, `origin` and, where wanted, `group`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
from datasets import ClassLabel, Dataset, Features, Value, concatenate_datasets
from pyarrow import compute

from graftwork import DataError
from graftwork.data.arrow import column_of
from graftwork.data.columns import LABEL_NAMES, add_column, encode_labels, guess_columns, map_columns, with_origin
from graftwork.data.sources import existing_path, parse_source, unknown_scheme
from graftwork.data.tables import find_tables, read_tables
from graftwork.interfaces import DataRequest, Facts, Finding, Inputs, Spec, Tables

NUMBER, WORD = pa.float64(), pa.string()


def read(request: DataRequest) -> Tables:
    """A table (CSV, TSV, JSON lines, Parquet), a folder of them by split, or `sample:NAME`. Every column is read."""
    source = parse_source(request.source)
    findings: list[Finding] = []
    if source.scheme == "sample":
        splits = request.samples(source.name)
    elif source.scheme == "path":
        path = existing_path(source.name)
        files, findings = find_tables(path)
        if not files:
            raise DataError("holds no table", where=str(path), hint="Wanted .csv, .tsv, .jsonl or .parquet")
        splits, more = read_tables(path, files)
        findings += more
    else:
        raise unknown_scheme(source, ["sample"])
    splits = {split: with_origin(rows, split) for split, rows in splits.items()}
    names = next(iter(splits.values())).column_names
    label = request.columns.get("label") or guess_columns(names, {"label": LABEL_NAMES}).get("label")
    features = [name for name in names if name not in (label, request.group_by, "origin", "label", "group")]
    wanted = {"label": LABEL_NAMES, **dict.fromkeys(features, ())}
    chosen = {**{name: name for name in features}, **request.columns}
    splits, found = map_columns(splits, wanted, chosen, request.group_by, request.source)
    kinds = {
        name: NUMBER if all(_as(column_of(rows, name), NUMBER) is not None for rows in splits.values()) else WORD
        for name in features
    }
    if not kinds:
        raise DataError("has no column beside the label", where=request.source)
    packed = {split: pack(rows, kinds, f"{request.source} ({split})") for split, rows in splits.items()}
    packed, classes, lost = encode_labels(packed, request.source)
    return Tables(packed, (*findings, *found, *lost), classes)


def pack(rows: Dataset, kinds: Mapping[str, pa.DataType], where: str) -> Dataset:
    """The named columns as one, `row`; an empty cell is None."""
    cells = []
    for name, kind in kinds.items():
        cell = _as(column_of(rows, name), kind) if name in rows.column_names else None
        if cell is None:
            raise DataError(f"has no column {name!r} of {'numbers' if kind == NUMBER else 'words'}", where=where)
        cells.append(cell.combine_chunks())
    return add_column(rows.remove_columns(list(kinds)), "row", pa.StructArray.from_arrays(cells, list(kinds)))


def _as(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    """A column as numbers or words with nulls for empty cells; None where it holds something that is no number."""
    try:
        if pa.types.is_string(column.type):
            bare = compute.utf8_trim_whitespace(column)
            column = compute.if_else(compute.equal(bare, ""), None, bare)
        cells = compute.cast(column, kind)
        return compute.if_else(compute.is_finite(cells), cells, None) if kind == NUMBER else cells
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def read_inputs(inputs: Sequence[str], facts: Facts) -> Dataset:
    """Rows of tables without labels, with the columns that the model was trained on; others are left out."""
    kinds = {name: WORD if scale is None else NUMBER for name, scale in facts["columns"].items()}
    parts = []
    given = Inputs.of(inputs)
    for name in given.names("tables"):
        try:
            path = existing_path(name)
            rows = next(iter(read_tables(path, {"train": [path]})[0].values()))
            parts.append(pack(rows, kinds, name).select_columns(["row", "origin"]))
        except DataError as error:
            given.refuse(error)
    return concatenate_datasets(parts) if parts else Dataset.from_dict({"row": [], "origin": []})


def bundled(spec: Spec) -> dict[str, Dataset]:
    """`wine`: 178 Italian wines, 13 measurements, 3 growers (Forina et al. 1991). `breast-cancer`: 569 tumours, 30
    measurements of their cells, 2 classes (Wolberg et al. 1995). UCI, CC BY 4.0, as scikit-learn ships them; without splits."""
    from sklearn.datasets import load_breast_cancer, load_wine

    bunch = {"wine": load_wine, "breast-cancer": load_breast_cancer}[spec.name]()
    columns = {str(name): bunch.data[:, index] for index, name in enumerate(bunch.feature_names)}
    features = {name: Value("float64") for name in columns} | {
        "label": ClassLabel(names=list(map(str, bunch.target_names)))
    }
    return {"train": Dataset.from_dict({**columns, "label": bunch.target}, features=Features(features))}
