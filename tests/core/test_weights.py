"""Weights by reference: fetched, verified, read and fitted, with nothing dropped in silence and nothing executed."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from graftwork import GraftworkError, RunFailed, UsageError
from graftwork.interfaces import Backbone, Features, Head, ImageInput, Outputs, Predictions, State, Targets
from graftwork.models.fetch import fetch, fetch_any
from graftwork.models.weights import LoadReport, load_backbone, load_head, read_state, tensors_sha256

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Serve(BaseHTTPRequestHandler):
    hits = 0

    def do_GET(self) -> None:
        type(self).hits += 1
        if self.path == "/absent.pth":
            self.send_error(404)
            return
        self.send_response(200)
        broken = self.path == "/broken.pth"
        self.send_header("Content-Length", str(len(CONTENT) * (2 if broken else 1)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    httpd = HTTPServer(("127.0.0.1", 0), _Serve)
    _Serve.hits = 0
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    forbidding = ("GRAFTWORK_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    for name in (*forbidding, "GRAFTWORK_CACHE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_a_download_happens_once_and_is_verified(server: str, tmp_path: Path) -> None:
    first = fetch(f"{server}/net.pth", SHA256, len(CONTENT), cache=tmp_path)
    assert first.read_bytes() == CONTENT
    assert first.suffix == ".pth"
    assert fetch(f"{server}/net.pth", SHA256, len(CONTENT), cache=tmp_path) == first
    assert _Serve.hits == 1
    assert list(tmp_path.iterdir()) == [first]


def test_the_cache_folder_follows_the_environment(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path))
    assert fetch(f"{server}/net.pth", SHA256, None).parent == tmp_path / "weights"


@pytest.mark.parametrize(
    ("path", "sha256", "size", "message"),
    [
        ("net.pth", "0" * 64, None, "its sha256 is"),
        ("absent.pth", SHA256, None, "404"),
        ("broken.pth", SHA256, None, "broke off after 7000 of 14000 bytes"),
        ("net.pth", SHA256, -1_500_000, "sends more than"),
    ],
)
def test_a_bad_download_is_one_line_and_leaves_nothing(
    server: str, tmp_path: Path, path: str, sha256: str, size: int | None, message: str
) -> None:
    with pytest.raises(RunFailed, match=message) as caught:
        fetch(f"{server}/{path}", sha256, size, cache=tmp_path)
    assert "\n" not in str(caught.value)
    assert "--weights" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_not_used(server: str, tmp_path: Path) -> None:
    fetch(f"{server}/net.pth", SHA256, None, cache=tmp_path).write_bytes(b"damaged")
    with pytest.raises(RunFailed, match="Delete this file"):
        fetch(f"{server}/net.pth", SHA256, None, cache=tmp_path)


def test_without_a_network_the_way_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"cannot be downloaded .*No network\? Pass --weights FILE or --weights none"):
        fetch("https://127.0.0.1:1/net-f37072fd.pth", "f37072fd", 100, cache=tmp_path)


@pytest.mark.parametrize("variable", ["GRAFTWORK_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_uses_what_was_downloaded_and_asks_for_nothing_else(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    path = fetch(f"{server}/net.pth", SHA256, None, cache=tmp_path)
    monkeypatch.setenv(variable, "1")
    assert fetch(f"{server}/net.pth", SHA256, None, cache=tmp_path) == path
    with pytest.raises(RunFailed, match=f"{variable} is set"):
        fetch(f"{server}/other.pth", SHA256, None, cache=tmp_path)
    assert _Serve.hits == 1


def test_plain_http_needs_a_whole_hash(server: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither https nor verified"):
        fetch(f"{server}/net.pth", SHA256[:8], None, cache=tmp_path)


def test_a_hash_may_be_a_prefix_of_eight_digits(tmp_path: Path) -> None:
    file = tmp_path / "net.pth"
    file.write_bytes(CONTENT)
    assert fetch(str(file), SHA256[:8].upper(), None) == file
    with pytest.raises(RunFailed, match="its sha256 is"):
        fetch(str(file), "00000000", None)
    with pytest.raises(UsageError, match="not 8 to 64 hexadecimal"):
        fetch(str(file), SHA256[:7], None)


def test_a_package_file_is_found_without_importing_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "explosive"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "weights" / "net.safetensors").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = fetch("package:explosive/weights/net.safetensors", SHA256, None)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("package:no_such_package_here/net.pth", "no package"),
        ("package:graftwork/no/such.pth", "does not exist"),
        ("package:graftwork/../secret", "not of the form"),
        ("package:graftwork.engine/x", "not of the form"),
        ("package:graftwork", "not of the form"),
        ("/no/such/file.pth", "does not exist"),
        ("/", "is a folder"),
    ],
)
def test_a_reference_to_nothing_is_one_clear_line(source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        fetch(source, None, None)
    assert "\n" not in str(caught.value)


STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def test_safetensors_and_pickled_state_dicts_are_read(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "net.safetensors")
    torch.save(STATE, tmp_path / "net.pth")
    torch.save({"state_dict": STATE, "epoch": 3}, tmp_path / "wrapped.pt")
    torch.save({"model": STATE}, tmp_path / "model.bin")
    for name in ("net.safetensors", "net.pth", "wrapped.pt", "model.bin"):
        assert tensors_sha256(read_state(tmp_path / name)) == tensors_sha256(STATE), name


def test_the_old_pickle_layout_needs_a_trusted_hash(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(UsageError, match="its hash is not known"):
        read_state(tmp_path / "old.pth")
    assert tensors_sha256(read_state(tmp_path / "old.pth", trusted_hash=True)) == tensors_sha256(STATE)


class _Bomb:
    """A pickle that would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def _header(entries: object, length: int | None = None) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


HOSTILE_HEADERS = {
    "empty": b"",
    "short": b"\x01\x02",
    "endless header": struct.pack("<Q", 2**63) + b"{}",
    "header beyond the file": _header({}, 10_000),
    "not json": struct.pack("<Q", 4) + b"][][",
    "a list": _header(["x"]),
    "a tensor beyond the file": _header({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
    "a shape that overflows": _header({"x": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}})
    + b"0000",
    "an unknown type": _header({"x": {"dtype": "EVIL", "shape": [1], "data_offsets": [0, 4]}}) + b"0000",
    "overlapping tensors": _header(
        {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in ("x", "y")}
    )
    + b"0000",
}


@pytest.mark.parametrize("content", HOSTILE_HEADERS.values(), ids=HOSTILE_HEADERS.keys())
def test_a_damaged_safetensors_file_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "net.safetensors"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="is no valid safetensors file") as caught:
        read_state(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth", "net.pt", "net.txt"])
@pytest.mark.parametrize("layout", ["pickle", "old", "zip"])
@pytest.mark.parametrize("trusted", [False, True])
def test_a_hostile_pickle_executes_nothing_under_any_name(
    tmp_path: Path, name: str, layout: str, trusted: bool
) -> None:
    file, mark = tmp_path / name, tmp_path / "executed"
    if layout == "pickle":
        file.write_bytes(pickle.dumps(_Bomb(mark)))
    else:
        torch.save({"x": _Bomb(mark)}, file, _use_new_zipfile_serialization=layout == "zip")
    with pytest.raises(UsageError) as caught:
        read_state(file, trusted_hash=trusted)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_a_state_dict_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    torch.save({**STATE, "note": "hello"}, tmp_path / "net.pth")
    with pytest.raises(UsageError, match="no tensors: note"):
        read_state(tmp_path / "net.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UsageError, match="holds no state dict"):
        read_state(tmp_path / "list.pth")


class Chain(Backbone):
    """Twelve small linear stages."""

    def __init__(self, width: int = 3, depth: int = 12) -> None:
        super().__init__()
        self.input = ImageInput(size=1, resize=1)
        self.provides = {"pooled": width}
        self.body = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def stages(self) -> Sequence[nn.Module]:
        return list(self.body)

    def begin(self, inputs: Mapping[str, Tensor]) -> State:
        return {"x": inputs["pixels"]}

    def advance(self, index: int, state: State, needs: frozenset[str]) -> State:
        return {"x": self.body[index](state["x"])}

    def finish(self, state: State, needs: frozenset[str]) -> Features:
        return {"pooled": state["x"]}


def test_everything_that_does_not_fit_is_counted_and_named() -> None:
    backbone, state = Chain(), dict(Chain().state_dict())
    del state["body.3.bias"]
    state["body.4.weight"] = torch.zeros(5, 3)
    state["classifier.weight"] = torch.zeros(10, 3)
    kept = backbone.state_dict()["body.4.weight"].clone()
    report = load_backbone(backbone, state, "net.pth")
    assert report.fitted == 22
    assert report.missing == ["body.3.bias"]
    assert report.reshaped == [("body.4.weight", (3, 3), (5, 3))]
    assert report.unexpected == ["classifier.weight"]
    assert not report.complete
    for part in ("22 tensors fitted", "body.3.bias", "3×3 here, 5×3 in the file", "classifier.weight"):
        assert part in str(report)
    assert torch.equal(backbone.state_dict()["body.0.weight"], state["body.0.weight"])
    assert torch.equal(backbone.state_dict()["body.4.weight"], kept)


@pytest.mark.parametrize("other", [Chain(width=4), Chain(depth=6), Chain(depth=20)])
def test_weights_of_another_architecture_are_refused(other: Chain) -> None:
    with pytest.raises(UsageError, match=r"net\.pth: these are weights of another architecture: .*body\.") as caught:
        load_backbone(Chain(), other.state_dict(), "net.pth")
    assert isinstance(caught.value, GraftworkError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_before_training(value: float) -> None:
    state = {name: tensor.clone() for name, tensor in Chain().state_dict().items()}
    state["body.4.weight"][0, 0] = value
    with pytest.raises(UsageError, match=r"net\.pth: 1 tensors of these weights hold NaN or infinity: body\.4\.weight"):
        load_backbone(Chain(), state, "net.pth")


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth", "net.bin"])
def test_a_pointer_in_place_of_weights_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(UsageError, match=r"is a Git LFS pointer.*git lfs pull"):
        read_state(tmp_path / name)


def test_half_precision_weights_fit_a_full_precision_backbone() -> None:
    backbone = Chain()
    state = {name: tensor.half() for name, tensor in Chain().state_dict().items()}
    assert load_backbone(backbone, state, "net.pth").complete
    assert backbone.body[0].weight.dtype == torch.float32


def test_a_missing_batch_counter_is_no_finding() -> None:
    backbone = Chain()
    backbone.body.append(nn.BatchNorm1d(3))
    state = {name: tensor for name, tensor in backbone.state_dict().items() if "num_batches" not in name}
    assert load_backbone(backbone, state, "net.pth").complete


def test_the_fingerprint_sees_values_names_types_and_shapes_but_not_order_or_layout() -> None:
    image = torch.arange(24.0).reshape(1, 2, 3, 4)
    base = {"a": image, "b": torch.tensor(True), "c": torch.zeros(0), "d": torch.ones(3, dtype=torch.bfloat16)}
    same = {name: base[name] for name in reversed(base)}
    same["a"] = image.contiguous(memory_format=torch.channels_last)
    assert tensors_sha256(base) == tensors_sha256(same)
    for changed in (
        {**base, "a": image + 1},
        {**base, "a": image.reshape(2, 1, 3, 4)},
        {**base, "b": torch.tensor(1, dtype=torch.uint8)},
        {("e" if name == "d" else name): tensor for name, tensor in base.items()},
        {**base, "a": torch.where(image == 0, -0.0, image)},
    ):
        assert tensors_sha256(base) != tensors_sha256(changed)


def test_the_first_place_that_has_a_file_gives_it_and_missing_packages_are_named(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    here = tmp_path / "weights.bin"
    here.write_bytes(b"some weights")
    digest = hashlib.sha256(b"some weights").hexdigest()
    gone = "package:no_such_package/weights.bin"
    assert fetch_any((gone, str(here)), digest, None) == here
    assert fetch_any((str(here), "https://localhost:1/never"), digest, None) == here
    monkeypatch.setenv("GRAFTWORK_OFFLINE", "1")
    with pytest.raises(RunFailed, match="pip install no-such-package"):
        fetch_any((gone, "https://localhost:1/weights.bin"), digest, None)
    with pytest.raises(UsageError, match="no package 'no_such_package'"):
        fetch_any((gone,), digest, None)


class _Tower(Head):
    """A neck, boxes, and scores that depend on the labels."""

    def __init__(self, classes: int, width: int = 4) -> None:
        super().__init__()
        self.needs = frozenset({"pooled"})
        self.neck = nn.Linear(3, width)
        self.norm = nn.BatchNorm1d(width)
        self.scores = nn.Linear(width, classes)

    def loss(self, features: Features, targets: Targets) -> dict[str, Tensor]:
        raise NotImplementedError

    def outputs(self, features: Features) -> Outputs:
        raise NotImplementedError

    def postprocess(self, outputs: Outputs, features: Features) -> Predictions:
        raise NotImplementedError

    def translate(self, foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name.removeprefix("up."): value for name, value in foreign.items() if not name.startswith("scores")}


def test_a_head_takes_from_another_model_what_it_asks_for_and_the_rest_is_named() -> None:
    theirs, ours = _Tower(5), _Tower(2)
    before = ours.scores.weight.clone()
    report = LoadReport(fitted=7)
    load_head(ours, {**theirs.state_dict(), "odd": torch.ones(1)}, report)
    assert torch.equal(ours.neck.weight, theirs.neck.weight) and torch.equal(ours.scores.weight, before)
    assert report.fitted == 7 + 7 and report.unexpected == ["head.odd"]
    assert report.fresh == ["head.scores.weight", "head.scores.bias"]
    assert "2 of the head start anew: head.scores.weight" in str(report)


def test_a_tensor_of_a_head_with_another_shape_is_named_and_left_alone() -> None:
    ours, report = _Tower(2), LoadReport()
    before = ours.neck.weight.clone()
    load_head(ours, _Tower(2, width=6).state_dict(), report)
    assert torch.equal(ours.neck.weight, before)
    assert ("head.neck.weight", (4, 3), (6, 3)) in report.reshaped and report.fitted == 1  # the norm's step counter


def test_a_head_that_takes_nothing_is_not_mentioned() -> None:
    class Plain(_Tower):
        def translate(self, foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return Head.translate(self, foreign)

    report = LoadReport()
    load_head(Plain(2), _Tower(2).state_dict(), report)
    assert report.complete and not report.fresh and str(report) == "0 tensors fitted"
