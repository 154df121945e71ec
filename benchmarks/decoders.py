"""What loading a picture costs: JPEG decoders against each other, augmentation one by one against graft's, epochs with and
without kept pixels.

Everything runs here, one thread, arms in turns A B C A B C, in processor seconds (others on the machine count little); only
epochs are in seconds of the clock, because a disk is waited for. Decoders that are not installed are left out. All arms of a
part must give the same pixels, which is checked: how many pictures differ from Pillow's stands in the table.

    python benchmarks/decoders.py --data DATA/clothing DATA/bccd DATA/camvid --repeats 9 --out benchmarks/results/decoders
"""

from __future__ import annotations

import io
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from arms import TINY, parse, parser_for
from measure import Row, environment, table, this_command, write_results
from tiny import noise_folders

Arms = Mapping[str, Callable[[], Any]]


def decoders() -> dict[str, tuple[str, Callable[[bytes], Any]]]:
    """By name: version, and bytes to uint8 [height, width, 3]."""
    import numpy as np
    import torch
    import torchvision
    from PIL import Image, __version__
    from torchvision import io as torchvision_io

    from graftwork.vision.decode import decode_rgb

    def by_pillow(data: bytes) -> Any:
        with Image.open(io.BytesIO(data)) as image:
            return np.array(image.convert("RGB"))

    def by_torchvision(data: bytes) -> Any:
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return torchvision_io.decode_jpeg(encoded, "RGB").permute(1, 2, 0).numpy()

    found: dict[str, tuple[str, Callable[[bytes], Any]]] = {
        "Pillow": (__version__, by_pillow),
        "graftwork": ("here", lambda data: decode_rgb({"bytes": data}).permute(1, 2, 0).numpy()),
    }
    if hasattr(torchvision_io, "decode_jpeg"):
        found["torchvision"] = (torchvision.__version__, by_torchvision)
    return found | installed()


def installed() -> dict[str, tuple[str, Callable[[bytes], Any]]]:
    """Decoders that graftwork does not need."""
    import importlib

    import numpy as np
    import torch

    def module(name: str) -> Any:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError, RuntimeError):  # torchcodec built for another torch raises the latter
            return None

    found: dict[str, tuple[str, Callable[[bytes], Any]]] = {}
    if simplejpeg := module("simplejpeg"):
        found["simplejpeg"] = (simplejpeg.__version__, lambda data: simplejpeg.decode_jpeg(data, "RGB"))
    if cv2 := module("cv2"):
        cv2.setNumThreads(1)
        colours = cv2.IMREAD_COLOR_RGB
        found["opencv"] = (cv2.__version__, lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), colours))
    if imagecodecs := module("imagecodecs"):
        found["imagecodecs"] = (imagecodecs.__version__, lambda data: imagecodecs.jpeg8_decode(data))
    if torchcodec := module("torchcodec"):

        def by_torchcodec(data: bytes) -> Any:
            encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            return torchcodec.decoders.decode_image(encoded).permute(1, 2, 0).numpy()

        found["torchcodec"] = (torchcodec.__version__, by_torchcodec)
    return found


def in_turns(arms: Arms, repeats: int, clock: Callable[[], float] = time.process_time) -> dict[str, list[float]]:
    """Seconds of every arm in every round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for round_ in range(repeats + 1):
        for name, run in arms.items():
            start = clock()
            run()
            if round_:
                seconds[name].append(clock() - start)
    return seconds


def lines(seconds: Mapping[str, Sequence[float]], pictures: int, base: str) -> list[Row]:
    """A row an arm: milliseconds a picture, and the median over rounds of its share of the base's time."""
    return [
        {
            "arm": name,
            "ms a picture": 1000 * median(taken) / pictures,
            f"of {base}": median(mine / other for mine, other in zip(taken, seconds[base], strict=True)),
        }
        for name, taken in seconds.items()
    ]


def compare_decoders(folder: Path, most: int, repeats: int) -> list[Row]:
    """Every decoder on the JPEG files of a folder."""
    import numpy as np

    files = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg")][:most]
    if not files:
        raise SystemExit(f"{folder} holds no JPEG")
    known = decoders()
    expected = [known["Pillow"][1](data) for data in files]
    differing = {
        name: sum(not np.array_equal(decode(data), pixels) for data, pixels in zip(files, expected, strict=True))
        for name, (_, decode) in known.items()
    }
    arms = {
        name: partial(lambda decode: [decode(data) for data in files], decode) for name, (_, decode) in known.items()
    }
    return [
        {
            "data": folder.name,
            "files": len(files),
            **line,
            "differ": differing[line["arm"]],
            "version": known[line["arm"]][0],
        }
        for line in lines(in_turns(arms, repeats), len(files), "Pillow")
    ]


def compare_augmentation(repeats: int) -> list[Row]:
    """Batches from kept pixels: torchvision's transforms, one picture after the other, against graft's."""
    import torch
    from torchvision.transforms import v2

    from graftwork.vision.kept import stack_channels_last
    from graftwork_images.augment import CROP_RATIO, CROP_SCALE, CropFlip, PadCropFlip, move

    mode = v2.InterpolationMode.BILINEAR
    generator = torch.Generator().manual_seed(0)
    small, large = (
        [
            torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=generator).permute(2, 0, 1)
            for _ in range(count)
        ]
        for shape, count in (((32, 32), 128), ((448, 597), 32))
    )
    shift, crop = PadCropFlip(32, 4, True), CropFlip(224, mode, True)
    shifted = v2.Compose([v2.RandomCrop(32, 4), v2.RandomHorizontalFlip()])
    cropped = v2.Compose([v2.RandomResizedCrop(224, CROP_SCALE, CROP_RATIO, mode), v2.RandomHorizontalFlip()])
    parts: dict[str, tuple[int, Arms]] = {
        "128 pictures of 32 pixels, pad, crop, mirror": (
            128,
            {
                "torchvision": lambda: torch.stack([shifted(image) for image in small]),
                "graftwork, one by one": lambda: torch.stack([shift(image) for image in small]),
                "graftwork": lambda: move(stack_channels_last(small), [shift.draw() for _ in small]),
            },
        ),
        "32 pictures of 448 pixels, crop to 224, mirror": (
            32,
            {
                "torchvision": lambda: torch.stack([cropped(image) for image in large]),
                "graftwork": lambda: stack_channels_last([crop(image) for image in large]),
            },
        ),
    }
    found = []
    for name, (count, arms) in parts.items():
        results = []
        for arm, run in arms.items():
            torch.manual_seed(0)
            if "torchvision" not in arm or count == 32:  # the draws for small pictures are not torchvision's
                results.append(run())
        assert all(torch.equal(result, results[0]) for result in results), name
        found += [{"batch": name, **line} for line in lines(in_turns(arms, 5 * repeats), count, "torchvision")]
    return found


def compare_epochs(folder: Path, runs: Path, repeats: int, epochs: int) -> list[Row]:
    """Epochs of training batches of one folder: nothing kept, a quarter kept in memory, the rest of it on disk too."""
    from graftwork.data.loader import load_batches
    from graftwork.data.sampler import Sampler
    from graftwork.interfaces import DataRequest, ImageInput
    from graftwork_images.audit import audit_images
    from graftwork_images.augment import ImageOptions
    from graftwork_images.examples import ImageExamples
    from graftwork_images.read import read_images

    tables, _ = audit_images(read_images(DataRequest(str(folder))))
    rows, input = tables.splits["train"], ImageInput(224, 256)
    options = ImageOptions(augment="light", flip=True, train_size=0, mixup=0.0, cutmix=0.0)
    quarter = len(rows) * 3 * 448 * 448 // 4
    arms = {
        "nothing kept": (rows, 0),
        "a quarter in memory": (rows.remove_columns("content"), quarter),
        "a quarter in memory, then on disk": (rows, quarter),
        "on disk from an earlier run": (rows, quarter),
    }
    os.environ["GRAFTWORK_CACHE"] = str(runs / "cache")
    taken: dict[str, list[list[float]]] = {name: [] for name in arms}
    for _ in range(repeats):
        shutil.rmtree(runs / "cache", ignore_errors=True)
        for name, (table_, memory) in arms.items():
            examples = ImageExamples(table_, input, len(tables.names), options, True, memory)
            sampler = Sampler(len(examples), 32, 0)
            each = []
            for epoch in range(epochs):
                start = time.perf_counter()
                for _batch in load_batches(examples, sampler.epoch(epoch), 0, 0):
                    pass
                each.append(1000 * (time.perf_counter() - start) / len(examples))
            taken[name].append(each)
    return [
        {"arm": name, **{f"epoch {epoch + 1}, ms a picture": median(each[epoch] for each in rounds) for epoch in range(epochs)}}
        for name, rounds in taken.items()
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_for(__doc__)
    parser.add_argument(
        "--data", type=Path, nargs="+", default=None, help="folders with JPEGs; the first: image folders"
    )
    parser.add_argument("--most", type=int, default=200, help="files of each folder")
    parser.add_argument("--epochs", type=int, default=4, help="of each way to keep pixels")
    given = parse(parser, arguments, {"most": 4, "epochs": 3})
    given.threads = 1
    if given.data is None:
        if not given.tiny:
            parser.error("give --data, or --tiny")
        given.data = [noise_folders(given.runs, {"train": 8, "validation": 4, "test": 4})]

    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # torchvision's decoder announces its end at every call
    where = environment()
    decoded = [line for folder in given.data for line in compare_decoders(folder, given.most, given.repeats)]
    augmented = compare_augmentation(given.repeats)
    epochs = compare_epochs(given.data[0], given.runs, given.repeats, given.epochs)
    page = {
        "Decoding": "\n\n".join([*([TINY] if given.tiny else []), table(decoded)]),
        "Augmenting": table(augmented),
        f"Epochs of {given.data[0].name} at 224 pixels, seconds of the clock": table(epochs),
        "Command": f"    {this_command()}",
    }
    found = {"rows": decoded, "augmented": augmented, "epochs": epochs, "tiny": given.tiny}
    found |= {"environment": where, "command": this_command()}
    print(write_results(given.out, "decoders", "What loading a picture costs", page, found))


if __name__ == "__main__":
    main()
