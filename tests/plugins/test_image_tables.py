"""Tables beside pictures: asked about where folders would be taken for classes, and found whatever way they name pictures."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from graftwork.catalogue import load_catalogue
from graftwork.errors import DataError
from graftwork.interfaces import Batch, DataRequest, Evaluation, ImageInput, Pictures, Spec, Tables
from graftwork.models.build import Builder
from graftwork_images.read import read_images
from graftwork_images.task import build


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def plant(root: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def pictures(*names: str) -> dict[str, bytes]:
    return {name: picture(seed) for seed, name in enumerate(names)}


def table(header: str, rows: Callable[[int], str], count: int = 8) -> str:
    return "\n".join([header, *(rows(number) for number in range(count))]) + "\n"


def kaggle() -> dict[str, str | bytes]:
    return {
        **pictures(
            *(f"train_images/{n:08x}.png" for n in range(8)), *(f"test_images/{n + 90:08x}.png" for n in range(3))
        ),
        "train.csv": table("id_code,diagnosis", lambda n: f"{n:08x},{n % 2}"),
        "test.csv": table("id_code", lambda n: f"{n + 90:08x}", 3),
        "sample_submission.csv": table("id_code,diagnosis", lambda n: f"{n + 90:08x},0", 3),
    }


def one_folder() -> dict[str, str | bytes]:
    return {
        **pictures(*(f"photos/{n}.jpg.png" for n in range(8))),
        "labels.csv": table("photo,grade", lambda n: f"{n}.jpg.png,{'ab'[n % 2]}"),
    }


def patients() -> dict[str, str | bytes]:
    return {
        **pictures(*(f"P00{n // 2}/scan{n % 2}.png" for n in range(8))),
        "findings.csv": table("scan,patient,finding", lambda n: f"P00{n // 2}/scan{n % 2}.png,x{n},{'ab'[n % 2]}"),
    }


def flat_splits() -> dict[str, str | bytes]:
    return {
        **pictures(*(f"train/{n}.png" for n in range(8)), *(f"test/{n + 20}.png" for n in range(3))),
        "train_labels.tsv": table("id\tspecies", lambda n: f"{n}\t{'ab'[n % 2]}"),
    }


def windows() -> dict[str, str | bytes]:
    return {
        **pictures(*(f"images/cam{n % 2}/{n // 2}.png" for n in range(8))),
        "meta/annotations.csv": table(
            "picture_file,kind", lambda n: rf"C:\data\cam{n % 2}\{n // 2}.PNG,{'ab'[n // 4]}"
        ),
    }


def one_hot() -> dict[str, str | bytes]:
    return {
        **pictures(*(f"ISIC_images/ISIC_{n}.png" for n in range(8))),
        "GroundTruth.csv": table("isic,a,b", lambda n: f"ISIC_{n},{float(n % 2 == 0)},{float(n % 2 == 1)}"),
    }


def at_the_root() -> dict[str, str | bytes]:
    return {
        **pictures(*(f"{n}.png" for n in range(8))),
        "annotations.csv": table("who,what", lambda n: f"{n},{'ab'[n % 2]}"),
    }


LAYOUTS = {f.__name__: f for f in (kaggle, one_folder, patients, flat_splits, windows, one_hot, at_the_root)}


def followed(refusal: str) -> tuple[DataRequest, dict[str, str]]:
    """What a refusal's command asks for: a request, and options of the task."""
    command = re.search(r"Give the table: (--data .*?)(?: \(or|\. Where)", refusal)
    assert command is not None, refusal
    words = shlex.split(command[1])
    pairs = list(zip(words[::2], words[1::2], strict=True))
    columns = dict(value.split("=") for option, value in pairs if option == "--column")
    options = dict(value.removeprefix("task_options.").split("=") for option, value in pairs if option == "--set")
    return DataRequest(dict(pairs)["--data"], columns), options


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_table_that_names_the_pictures_is_asked_about_and_the_command_works(tmp_path: Path, layout: str) -> None:
    plant(tmp_path, LAYOUTS[layout]())
    with pytest.raises(DataError) as caught:
        read_images(DataRequest(str(tmp_path)))
    request, options = followed(str(caught.value))
    tables = read_images(request, options.get("labels", "single"))
    rows = tables.splits["train"]
    assert len(rows) == 8 and len(tables.names) == 2
    assert len({row["image"]["path"] for row in rows}) == 8
    assert all(Path(row["image"]["path"]).is_file() for row in rows)
    assert rows["label"][:4] == ([0, 0, 0, 0] if layout == "windows" else [0, 1, 0, 1])


@pytest.mark.parametrize(
    "files",
    [
        {"notes.csv": "day,weather\n1,sun\n2,rain\n"},
        {"manifest.csv": table("file,species", lambda n: f"{'ab'[n % 2]}/{n}.png,{'ab'[n % 2]}")},
        {"names.csv": table("file", lambda n: f"{'ab'[n % 2]}/{n}.png")},
        {"elsewhere.csv": table("file,grade", lambda n: f"other{n + 50}.png,{n % 2}")},
        {"empty.csv": b""},
    ],
    ids=lambda files: next(iter(files)),
)
def test_tables_that_say_nothing_else_are_named_and_not_asked_about(
    tmp_path: Path, files: dict[str, str | bytes]
) -> None:
    plant(tmp_path, {**pictures(*(f"{'ab'[n % 2]}/{n}.png" for n in range(8))), **files})
    tables = read_images(DataRequest(str(tmp_path)))
    assert tables.names == ("a", "b")
    found = {finding.code: finding for finding in tables.findings}
    assert found["unused-table"].where == tuple(files)
    assert ("unreadable-table" in found) == ("empty.csv" in files)


def test_folders_and_splits_that_a_table_leaves_out_are_named(tmp_path: Path) -> None:
    plant(tmp_path, kaggle())
    request = DataRequest(str(tmp_path), {"image": "id_code", "label": "diagnosis"})
    found = {finding.code: finding for finding in read_images(request).findings}
    assert found["unused-folders"].where == ("test_images/",)
    assert found["unlabelled-split"].where == ("test",)
    assert found["other-files"].where == ("sample_submission.csv",)


def test_a_picture_that_is_nowhere_is_named_with_the_place_looked_for(tmp_path: Path) -> None:
    files = {
        **pictures(*(f"photos/{n}.png" for n in range(7))),
        "list.csv": table("image,label", lambda n: f"{n},{n % 2}"),
    }
    plant(tmp_path, files)
    tables = read_images(DataRequest(str(tmp_path / "list.csv")))
    _, found = build(Spec("image-classification", options())).audit(tables)
    (missing,) = [finding for finding in found if finding.code == "missing-file"]
    assert missing.count == 1 and str(tmp_path / "7") in missing.where[0]


@pytest.mark.parametrize("joint", ["_", " ", "-", ".", " ("])
def test_classes_in_file_names_are_noticed(tmp_path: Path, joint: str) -> None:
    end = ")" if joint == " (" else ""
    plant(
        tmp_path,
        pictures(*(f"images/{name}{joint}{n}{end}.png" for name in ("Abyssinian", "pug_dog") for n in range(4))),
    )
    (found,) = [f for f in read_images(DataRequest(str(tmp_path))).findings if f.code == "classes-in-names"]
    assert found.level == "error" and found.where == ("Abyssinian", "pug_dog") and "--data FILE.csv" in found.message


def test_plain_numbers_are_no_classes_in_names(tmp_path: Path) -> None:
    plant(tmp_path, pictures(*(f"images/IMG_{n}.png" for n in range(6)), *(f"images/{n}.png" for n in range(6))))
    assert "classes-in-names" not in {f.code for f in read_images(DataRequest(str(tmp_path))).findings}


SIGNS: dict[str, tuple[str, Callable[[int], str], str]] = {
    "GTSRB": ("Width,Height,Roi.X1,Roi.Y1,ClassId,Path", lambda n: f"40,40,1,1,{n % 2},p/{n}.png", "ClassId"),
    "boxes of one size": ("file,class_name,difficult,truncated", lambda n: f"{n}.png,c{n % 2},0,1", "class_name"),
    "flags beside": ("name,left,right,dog breed", lambda n: f"{n}.png,{n % 2},{n // 2 % 2},b{n % 2}", "dog breed"),
    "numbers beside": ("f,width,height,species", lambda n: f"{n}.png,{n // 2},{n // 4},{n % 2}", "species"),
    "one flag": ("f,w,CategoryID", lambda n: f"{n}.png,40,{n % 2}", "CategoryID"),
}


@pytest.mark.parametrize("form", SIGNS)
def test_a_column_called_like_a_class_is_the_label_of_the_command(tmp_path: Path, form: str) -> None:
    header, row, label = SIGNS[form]
    plant(tmp_path, {**pictures(*(f"p/{n}.png" for n in range(8))), "Train.csv": table(header, row)})
    with pytest.raises(DataError) as caught:
        read_images(DataRequest(str(tmp_path)))
    assert "so does" not in str(caught.value)
    request, given = followed(str(caught.value))
    assert (request.columns["label"], given) == (label, {})
    assert read_images(request).splits["train"]["label"][:] == [0, 1] * 4


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a0.jpg", "a0.png"], "a0: a0.jpg and a0.png"),
        (["x/a0.png", "y/a0.png"], "a0: x/a0.png and y/a0.png"),
        (["p/a0.tif", "p/a0.webp"], "a0: p/a0.tif and p/a0.webp"),
    ],
)
def test_a_name_that_several_files_fit_is_told_with_them(tmp_path: Path, names: list[str], told: str) -> None:
    files = {**pictures(*names, "a1.png", "a2.png"), "t.csv": table("image,label", lambda n: f"a{n},{n % 2}", 3)}
    tables = read_images(DataRequest(str(plant(tmp_path, files) / "t.csv")))
    (found,) = [finding for finding in tables.findings if finding.code == "unclear-file"]
    assert found.where == (told,)


def test_unread_pictures_alone_are_named_with_their_form(tmp_path: Path) -> None:
    forms = {
        "a.dcm": "DICOM",
        "a": "DICOM: no suffix",
        "a.heic": "HEIC",
        "a.nii.gz": "NIfTI",
        "a.cr2": "raw data",
        "a.bin": "rename",
    }
    for name, told in forms.items():
        content = picture(0) if name == "a.bin" else b"\0" * 128 + b"DICM" + b"\0" * 40
        root = plant(tmp_path / name / "data", {f"{label}/{name}": content for label in ("x", "y")})
        with pytest.raises(DataError, match="holds no image") as caught:
            read_images(DataRequest(str(root)))
        assert told in str(caught.value), name


def test_the_folder_of_classes_is_named_where_there_is_one_class(tmp_path: Path) -> None:
    plant(tmp_path, {**pictures("photos/disc/1.png", "photos/square/1.png"), "papers/read.txt": "x"})
    (found,) = [f for f in read_images(DataRequest(str(tmp_path))).findings if f.code == "classes-in-folders"]
    (source,) = re.findall(r"--data (\S+)$", found.message)
    assert read_images(DataRequest(shlex.split(source)[0])).names == ("disc", "square")


# --- several classes and numbers ------------------------------------------------------------------------------------------


def options(**given: Any) -> dict[str, Any]:
    return load_catalogue().task("image-classification").complete(given)


def roboflow() -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {}
    for split in ("train", "valid", "test"):
        files |= pictures(*(f"{split}/p{n}.png" for n in range(8)))
        files[f"{split}/_classes.csv"] = table("filename,square,disc", lambda n: f"p{n}.png,{n % 2},{(n // 2) % 2}")
    return files


SEVERAL: dict[str, Callable[[], dict[str, str | bytes]]] = {
    "roboflow": roboflow,
    "bars": lambda: {
        **pictures(*(f"p/{n}.png" for n in range(8))),
        "t.csv": table(
            "image,labels", lambda n: f"p/{n}.png,{'|'.join(['square'] * (n % 2) + ['disc'] * (n // 2 % 2))}"
        ),
    },
    "lists": lambda: {
        **pictures(*(f"p/{n}.png" for n in range(8))),
        "t.jsonl": "".join(
            json.dumps({"image": f"p/{n}.png", "labels": ["square"] * (n % 2) + ["disc"] * (n // 2 % 2)}) + "\n"
            for n in range(8)
        ),
    },
    "truth": lambda: {
        **pictures(*(f"p/{n}.png" for n in range(8))),
        "t.csv": table("image,square,disc", lambda n: f"{n},{n % 2 == 1},{n // 2 % 2 == 1}"),
    },
}


@pytest.mark.parametrize("form", SEVERAL)
def test_several_classes_an_image_are_read(tmp_path: Path, form: str) -> None:
    plant(tmp_path, SEVERAL[form]())
    tables = read_images(DataRequest(str(tmp_path)), "multi")
    assert tables.names == ("disc", "square")
    for rows in tables.splits.values():
        assert rows["label"][:] == [[], [1], [0], [0, 1]] * 2
        assert all(Path(row["image"]["path"]).is_file() for row in rows)
    if form == "roboflow":
        assert Path(tables.splits["test"][3]["image"]["path"]).parent.name == "test"


def test_columns_of_0_and_1_are_refused_as_one_class_and_the_way_out_works(tmp_path: Path) -> None:
    plant(tmp_path, roboflow())
    with pytest.raises(DataError) as caught:
        read_images(DataRequest(str(tmp_path)))
    request, given = followed(str(caught.value))
    assert given == {"labels": "multi"}
    assert len(read_images(request, "multi").splits) == 3
    with pytest.raises(DataError, match=r"task_options\.labels=multi"):
        read_images(DataRequest(str(tmp_path / "train" / "_classes.csv")))


def test_folders_called_by_numbers_are_numbers_where_that_is_asked_for(tmp_path: Path) -> None:
    plant(tmp_path, pictures(*(f"{age}/{n}.png" for age in (7, 30, 65) for n in range(2))))
    assert sorted(read_images(DataRequest(str(tmp_path)), "number").splits["train"]["label"]) == [7, 7, 30, 30, 65, 65]
    with pytest.raises(DataError, match="labels is multi"):
        read_images(DataRequest(str(tmp_path)), "multi")


@pytest.mark.parametrize("kind", ["multi", "number"])
def test_a_task_of_several_classes_or_numbers_does_all_that_a_task_does(tmp_path: Path, kind: str) -> None:
    columns = {"multi": "labels", "number": "label"}[kind]
    cells = {"multi": lambda n: "|".join(["a"] * (n % 2) + ["b"] * (n // 2 % 2)), "number": lambda n: str(n * 1.5)}[
        kind
    ]
    plant(
        tmp_path,
        {
            **pictures(*(f"p/{n}.png" for n in range(8))),
            "t.csv": table(f"image,{columns}", lambda n: f"{n},{cells(n)}"),
        },
    )
    task = build(Spec("image-classification", options(labels=kind, mixup=0.2)))
    assert (task.primary_metric, task.one_class_a_row) == ({"multi": "map", "number": "spearman"}[kind], False)
    tables = task.read(DataRequest(str(tmp_path)))
    assert len(set(task.strata(tables.splits["train"]))) > 2
    tables, findings = task.audit(tables)
    assert not [finding for finding in findings if finding.level == "error"]
    facts = task.facts(tables)
    rows = tables.splits["train"]
    name = {"multi": "labels", "number": "value"}[kind]
    for train in (True, False):
        examples = task.examples(rows, ImageInput(32, 32), facts, train)
        batch = examples.collate(range(8), [examples.load(row) for row in range(8)])
        assert set(batch.targets) == {name} and batch.inputs["pixels"].shape == (8, 3, 32, 32)
    model = Builder(load_catalogue()).model(*specs(), facts, 0).eval()
    said = model.head.predict({"pooled": torch.randn(8, model.backbone.provides["pooled"])})
    metrics = task.metrics(facts, torch.device("cpu"))
    metrics.update(said, Batch(batch.rows, batch.inputs, batch.targets))
    assert task.primary_metric in metrics.compute()
    if kind == "multi":
        facts = task.decide(metrics, facts)
        assert 0 <= facts["threshold"] <= 1
    lines = task.decode(said, facts)
    evaluation = Evaluation("test", metrics.compute(), metrics.details(), lines, rows)
    sections = {section.title: section for section in task.sections(evaluation, facts)}
    (shown,) = [block for block in sections["Largest errors"].blocks if isinstance(block, Pictures)]
    assert len(shown.images) == 8
    aligned = task.align(
        Tables({"test": task.read(DataRequest(str(tmp_path))).splits["train"]}, (), tables.names), facts
    )
    assert aligned.splits["test"]["label"][:] == rows["label"][:]
    assert task.chance(facts) < 1


def specs() -> tuple[Spec, Spec]:
    catalogue = load_catalogue()
    return (
        Spec("graftnet-s", catalogue.backbone("graftnet-s").complete({})),
        Spec("linear", catalogue.head("linear").complete({})),
    )
