"""Data made on the spot, for the tiny modes and for the questions that need many rows: pictures, boxes, texts, an encoder.

Everything is a function of its arguments, and nothing that is there already is made again.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

DONE = "made.json"
WORDS = ("film", "plot", "cast", "score", "scene", "story", "actor", "light", "sound", "joke", "marvel", "dreck")


def once(folder: Path, about: Mapping[str, object], make: Callable[[Path], None]) -> Path:
    """A folder that `make` fills; one that was left half made, or made by other arguments, is made anew."""
    stamp = folder / DONE
    wanted = json.dumps(dict(about), sort_keys=True, default=str)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make(folder)
    stamp.write_text(wanted, encoding="utf-8")
    return folder


def noise_folders(root: Path, rows: Mapping[str, int], size: int = 48, classes: int = 2) -> Path:
    """Image folders root/pictures/SPLIT/CLASS/*.jpg of soft noise around a class's colour, no two pictures alike.

    Args:
        rows: pictures of each split, over all classes.
        size: pixels, both sides.
    """
    about = {"rows": dict(rows), "size": size, "classes": classes}
    return once(root / "pictures", about, lambda folder: _noise(folder, rows, size, classes))


def _noise(folder: Path, rows: Mapping[str, int], size: int, classes: int) -> None:
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    coarse = max(8, size // 8)  # blown up, so that a JPEG file is about as large as a photo's
    for split, number in rows.items():
        for name in range(classes):
            (folder / split / f"class{name}").mkdir(parents=True)
        for row in range(number):
            label = row % classes
            colour = np.array([(label * 97) % 128, (label * 61) % 128, (label * 29) % 128], dtype=np.uint8)
            pixels = generator.integers(0, 128, (coarse, coarse, 3), dtype=np.uint8) + colour
            picture = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR)
            picture.save(folder / split / f"class{label}" / f"{row:06d}.jpg", quality=90)


def voc(root: Path, rows: Mapping[str, int], size: int = 64) -> Path:
    """A Pascal VOC folder: noise with one or two bright squares of two classes.

    Args:
        rows: pictures of each split (`train`, `val`, `test`).
        size: pixels, both sides.
    """
    return once(root / "voc", {"rows": dict(rows), "size": size}, lambda folder: _voc(folder, rows, size))


def _voc(folder: Path, rows: Mapping[str, int], size: int) -> None:
    import numpy as np
    from PIL import Image

    places = {name: folder / name for name in ("JPEGImages", "Annotations", "ImageSets/Main")}
    for place in places.values():
        place.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for split, number in rows.items():
        names = [f"{split}{row:05d}" for row in range(number)]
        (places["ImageSets/Main"] / f"{split}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        for index, name in enumerate(names):
            pixels = generator.integers(0, 100, (size, size, 3), dtype=np.uint8)
            objects = []
            for kind in range(1 + index % 2):
                side = int(generator.integers(size // 4, size // 2))
                left, top = (int(value) for value in generator.integers(0, size - side, 2))
                pixels[top : top + side, left : left + side, (index + kind) % 2] = 255
                objects.append(_voc_object(("red", "green")[(index + kind) % 2], left, top, side))
            Image.fromarray(pixels).save(places["JPEGImages"] / f"{name}.jpg", quality=90)
            facts = f"<size><width>{size}</width><height>{size}</height><depth>3</depth></size>"
            text = f"<annotation><filename>{name}.jpg</filename>{facts}{''.join(objects)}</annotation>\n"
            (places["Annotations"] / f"{name}.xml").write_text(text, encoding="utf-8")


def _voc_object(name: str, left: int, top: int, side: int) -> str:
    corners = {"xmin": left, "ymin": top, "xmax": left + side, "ymax": top + side}
    box = "".join(f"<{key}>{value}</{key}>" for key, value in corners.items())
    return f"<object><name>{name}</name><difficult>0</difficult><bndbox>{box}</bndbox></object>"


def random_weights(name: str, root: Path, seed: int = 0) -> Path:
    """A state dict of a torchvision model with random weights, a function of the seed, in torchvision's key names."""
    import torch
    from safetensors.torch import save_file
    from torchvision import models

    path = root / f"{name}-random-seed{seed}.safetensors"
    if not path.is_file():
        torch.manual_seed(seed)
        temporary = path.with_suffix(".tmp")
        save_file(models.get_model(name, weights=None).state_dict(), str(temporary))
        temporary.rename(path)
    return path


def reviews(root: Path, rows: Mapping[str, int], words: tuple[int, int] = (6, 20)) -> Path:
    """Tables of texts root/reviews/SPLIT.tsv with the columns `text` and `label`, of two classes, no two rows alike.

    Args:
        words: of a text, fewest and most.
    """
    return once(root / "reviews", {"rows": dict(rows), "words": words}, lambda folder: _reviews(folder, rows, words))


def _reviews(folder: Path, rows: Mapping[str, int], length: tuple[int, int]) -> None:
    chance = random.Random(0)
    for split, number in rows.items():
        lines = ["text\tlabel\n"]
        for row in range(number):
            words = " ".join(chance.choices(WORDS[:10], k=chance.randint(*length)))
            lines.append(f"{words} {('marvel', 'dreck')[row % 2]}\t{('good', 'bad')[row % 2]}\n")
        (folder / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")


def encoder(root: Path, sizes: Mapping[str, int] | None = None, vocabulary: int = 0) -> Path:
    """A folder as transformers saves it: a BERT with random weights and a tokenizer of whole words.

    Args:
        sizes: of the BERT, as BertConfig names them; two small layers when None.
        vocabulary: token numbers; at least those of the tokenizer.
    """
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    sizes = {**small, "max_position_embeddings": 64} if sizes is None else dict(sizes)
    about = {"sizes": sizes, "vocabulary": vocabulary}
    return once(root / "encoder", about, lambda folder: _encoder(folder, sizes, vocabulary))


def _encoder(folder: Path, sizes: Mapping[str, int], vocabulary: int) -> None:
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    numbers = {word: number for number, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = transformers.PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig.from_dict({"vocab_size": max(len(numbers), vocabulary), **sizes})
    transformers.BertModel(config).save_pretrained(folder)
