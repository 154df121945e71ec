"""Augmentation gives the pixels of the plain way, whatever is done at once, kept, or loaded elsewhere."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, Image
from PIL import Image as Pillow
from torchvision.transforms import v2

from graftwork.data.fingerprint import CONTENT
from graftwork.data.loader import load_batches
from graftwork.data.sampler import Sampler
from graftwork.data.seeds import ROW, derive
from graftwork.interfaces import ImageInput
from graftwork.machine.generator import seed_cpu
from graftwork_images.augment import CROP_RATIO, CROP_SCALE, CropFlip, ImageOptions, PadCropFlip, move
from graftwork_images.examples import ImageExamples

BILINEAR = v2.InterpolationMode.BILINEAR
MORE = {
    "light": [],
    "strong": [v2.RandAugment(num_ops=2, magnitude=9), v2.RandomErasing(p=0.25)],
    "trivial": [v2.TrivialAugmentWide()],
}


def smooth(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """As a decoder gives it: channels last."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = np.array(Pillow.fromarray(noise).resize((width, height), Pillow.Resampling.BICUBIC))
    return torch.from_numpy(picture).permute(2, 0, 1)


def make_rows(count: int, size: tuple[int, int]) -> Dataset:
    images = []
    for row in range(count):
        buffer = io.BytesIO()
        Pillow.fromarray(smooth(*size, seed=row).permute(1, 2, 0).numpy()).save(buffer, "JPEG")
        images.append(buffer.getvalue())
    columns = {
        "image": [{"bytes": data, "path": None} for data in images],
        "label": [row % 2 for row in range(count)],
        CONTENT: [hashlib.sha256(data).hexdigest()[:32] for data in images],
    }
    return Dataset.from_dict(columns).cast_column("image", Image(decode=False))


@pytest.mark.parametrize("shape", [(64, 64), (40, 90), (120, 30), (7, 60)])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("augment", ["light", "strong", "trivial"])
def test_a_random_part_is_torchvisions_pixel_for_pixel_and_draw_for_draw(
    shape: tuple[int, int], flip: bool, augment: str
) -> None:
    crop = v2.RandomResizedCrop(32, CROP_SCALE, CROP_RATIO, interpolation=BILINEAR, antialias=True)
    theirs = v2.Compose([crop, *([v2.RandomHorizontalFlip()] if flip else []), *MORE[augment]])
    ours = v2.Compose([CropFlip(32, BILINEAR, flip), *MORE[augment]])
    image = smooth(*shape)
    for seed in range(40):
        torch.manual_seed(seed)
        expected, state = theirs(image), torch.get_rng_state()
        torch.manual_seed(seed)
        assert torch.equal(ours(image), expected)
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("flip", [True, False])
def test_a_batch_that_is_moved_at_once_is_its_rows_moved_one_by_one(flip: bool) -> None:
    augment = PadCropFlip(16, pad=2, flip=flip)
    images = torch.stack([smooth(16, 16, seed) for seed in range(50)])
    torch.manual_seed(0)
    alone = torch.stack([augment(image) for image in images])
    torch.manual_seed(0)
    moves = [augment.draw() for _ in images]
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    assert torch.equal(move(images, moves), alone)
    for image, (down, right, mirrored), found in zip(padded, moves, alone, strict=True):
        crop = image[:, 2 - down : 18 - down, 2 - right : 18 - right]
        assert torch.equal(found, crop.flip(-1) if mirrored else crop)


def test_views_with_and_without_moves_are_collated_together() -> None:
    rows = make_rows(4, (20, 20))
    examples = ImageExamples(rows, ImageInput(16, 16), 2, ImageOptions("light", True, 0, 0.0, 0.0), train=True)
    plain, mirrored = examples.view(0), examples.view(1)
    seed_cpu(3)
    loaded = [plain.load(0), mirrored.load(1), examples.view(2).load(2)]
    batch = plain.collate([0, 1, 2], loaded).inputs["pixels"]
    assert torch.equal(batch[0], plain.load(0)[0])
    assert torch.equal(batch[1], plain.load(1)[0].flip(-1))
    assert torch.equal(batch[2], move(plain.load(2)[0][None], [loaded[2][2]])[0])


@pytest.mark.parametrize("augment", ["none", "light", "strong"])
@pytest.mark.parametrize("size", [32, 96], ids=["small", "photo"])
def test_epochs_are_the_same_with_nothing_kept_with_memory_with_a_store_and_with_workers(
    augment: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path))
    rows, options = make_rows(24, (120, 150)), ImageOptions(augment, True, 0, 0.0, 0.0)
    sampler = Sampler(24, 8, seed=1)

    def epochs(table: Dataset, memory: int, workers: int = 0) -> list[torch.Tensor]:
        examples = ImageExamples(table, ImageInput(size, size), 2, options, True, memory)
        specs = [spec for epoch in range(4) for spec in sampler.epoch(epoch)]
        return [batch.inputs["pixels"] for batch in load_batches(examples, specs, 1, workers)]

    some = 5 * 3 * (size * size if size == 32 or augment == "none" else 120 * 150)
    expected = epochs(rows, 0)
    assert len({pixels.numpy().tobytes() for pixels in expected}) == 12, "an epoch differs from the next"
    ways = [(rows.remove_columns(CONTENT), some, 0), (rows, 10**9, 0), (rows, some, 0), (rows, some, 0)]
    ways += [(rows, some, 2)] if augment == "light" else []
    for table, memory, workers in ways:
        found = epochs(table, memory, workers)
        assert all(torch.equal(mine, right) for mine, right in zip(found, expected, strict=True))
    assert list(tmp_path.glob("pictures/*/segment-*")), "and the store was used"


def test_a_rows_augmentation_follows_its_seed_whatever_stands_beside_it() -> None:
    examples = ImageExamples(
        make_rows(6, (20, 20)), ImageInput(16, 16), 2, ImageOptions("light", True, 0, 0.0, 0.0), train=True
    )

    def batch(rows: list[int]) -> torch.Tensor:
        loaded = []
        for row in rows:
            seed_cpu(derive(ROW, 0, 0, row))
            loaded.append(examples.load(row))
        return examples.collate(rows, loaded).inputs["pixels"]

    assert torch.equal(batch([0, 1, 2, 3])[2], batch([5, 2])[1])
