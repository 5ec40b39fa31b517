"""An exported file, from here or from a stranger, as a model that can be asked and timed.

Files are data here: nothing of them is unpickled or executed as Python, they can name no other file and bring no
operations of their own, and their sizes are limited. Forms that cannot be opened in this way are refused.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitedge_core.errors import VitEdgeError
from vitedge_core.export import package
from vitedge_core.export.passport import NAMES, PREFIX, Passport, preparation_from
from vitedge_core.export.runtimes import OnnxRuntime, OpenVino
from vitedge_core.models.build import input_size
from vitedge_core.models.load import preprocessing
from vitedge_core.recipe import Recipe

MAX_ONNX = 2**31 - 1  # bytes; protobuf holds no more
MAX_XML, MAX_BIN = 64 * 2**20, 4 * 2**30
MOST_UNFOLDED = 30  # times the bytes of an archive: weights hardly shrink, a file of zeros shrinks a thousandfold
KNOWN_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}  # whose operations ONNX Runtime brings itself
REFUSED = {
    ".pt2": "A .pt2 from elsewhere is not opened, because torch.export.load unpickles it and can run code; "
    "ask for ONNX, OpenVINO or the package.",
    ".pte": "A .pte from elsewhere is not opened, because ExecuTorch's runtime does not check the offsets in it and a "
    "bad one can overwrite memory; ask for ONNX, OpenVINO or the package.",
    ".pt": "A .pt from elsewhere may hold code and is no exported model here; ask for ONNX, OpenVINO or the package.",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file as a model.

    model: takes prepared images [B, 3, side, side]. passport: what the file says of itself, where it was written here.
    size: bytes. side, classes: 0 where the file leaves them open. batch: images it always wants at once; 0 for any.
    """

    path: Path
    form: str
    model: nn.Module
    passport: Passport | None
    size: int
    side: int
    classes: int
    batch: int = 0

    @property
    def recipe(self) -> Recipe | None:
        """What was done to it, where the file says so."""
        return self.passport.recipe if self.passport else None


def load(path: Path) -> Loaded:
    """Open a file: ONNX, OpenVINO's .xml with its .bin beside it or both in a .zip, or a package, a folder or a .zip.

    Raises:
        VitEdgeError: It is none, too large, damaged, or of a form that is not opened; one sentence.
    """
    path = Path(path).expanduser()
    ending = path.suffix.lower()
    if ending in REFUSED:
        raise VitEdgeError(REFUSED[ending])
    if path.is_dir():
        return _read_package(path, path)
    if ending == ".zip":
        return _archive(path)
    if ending == ".onnx":
        return _onnx(path)
    if ending == ".xml":
        return _openvino(path)
    raise VitEdgeError(
        f"{path.name[:80]} is no file that is opened here; name an .onnx, the .xml of OpenVINO, or a package."
    )


def answers_of(path: Path, images: Tensor) -> Tensor:
    """Logits [n, K] of a file that was just written, opened with every check that a stranger's gets.

    Raises:
        VitEdgeError: It cannot be opened, or does not take any number of images.
    """
    loaded = load(path)
    if loaded.batch:
        raise VitEdgeError(
            f"The file was not kept: it takes batches of {loaded.batch} images only, and any number was asked for; "
            "choose the package or PyTorch export."
        )
    with torch.inference_mode():
        return loaded.model(images)


def _bytes(path: Path, most: int) -> bytes:
    """What a plain file holds, if it is one and not too large."""
    if not path.is_file():
        raise VitEdgeError(f"There is no file {path}.")
    size = path.stat().st_size
    if size > most:
        raise VitEdgeError(f"{path.name[:80]} has {size:,} bytes; such a file may have {most:,}.")
    return path.read_bytes()


def _onnx(path: Path) -> Loaded:
    import onnx

    data = _bytes(path, MAX_ONNX)
    none = f"{path.name[:80]} is no ONNX file, or a damaged one; export the model again."
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        raise VitEdgeError(none) from error
    if not model.graph.node or not model.opset_import:
        raise VitEdgeError(none)
    _refuse_foreign(model)
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise VitEdgeError(none) from error
    passport = Passport.of({entry.key: entry.value for entry in model.metadata_props})
    if passport is not None and passport.content != onnx_content(model):
        raise VitEdgeError(
            f"{path.name[:80]} is not the file that was written: its graph was changed; export it again."
        )
    shapes = [_onnx_shape(value) for value in _inputs(model)], [_onnx_shape(value) for value in model.graph.output]
    batch, side, classes = _fitting(path, *shapes)
    return Loaded(path, "onnx", OnnxRuntime(data, batch), passport, len(data), side, classes, batch)


def onnx_content(model: Any) -> str:
    """SHA-256 of the graph of an ONNX model, weights and all."""
    return hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()


def _inputs(model: Any) -> list[Any]:
    """What the caller gives; old files list their weights among it."""
    own = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in own]


def _refuse_foreign(model: Any) -> None:
    """Refuse tensors that lie in other files, and operations that would have to be brought along."""
    own = {function.domain for function in model.functions}
    for message in _messages(model):
        kind = message.DESCRIPTOR.name
        if kind == "TensorProto" and (message.data_location == message.EXTERNAL or message.external_data):
            raise VitEdgeError(
                "This ONNX file keeps weights in another file, which is not followed; save it with its weights inside."
            )
        if kind == "NodeProto" and message.domain not in KNOWN_DOMAINS | own:
            raise VitEdgeError(
                f"This ONNX file needs operations of {message.domain[:60]!r}, and no foreign library is loaded; export "
                "it with ONNX's own operations."
            )


def _messages(message: Any) -> Iterator[Any]:
    """The message and all inside it."""
    waiting = [message]
    while waiting:
        found = waiting.pop()
        yield found
        for field, value in found.ListFields():
            if field.message_type is None or field.message_type.GetOptions().map_entry:
                continue
            waiting.extend([value] if hasattr(value, "ListFields") else value)


def _onnx_shape(value: Any) -> tuple[int, ...] | None:
    """Sizes of a float32 tensor, 0 for those left open; None for anything else."""
    kind = value.type.tensor_type
    if kind.elem_type != 1 or not kind.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else 0 for dim in kind.shape.dim)


def _fitting(path: Path, inputs: list[Any], outputs: list[Any]) -> tuple[int, int, int]:
    """Batch, side and classes, each 0 where it is left open.

    Raises:
        VitEdgeError: It does not take one batch of RGB images and give one row of logits for each.
    """
    wrong = VitEdgeError(
        f"{path.name[:80]} does not take images [n, 3, side, side] and give logits [n, classes], both float32, so it "
        "cannot be measured here."
    )
    if len(inputs) != 1 or len(outputs) != 1:
        raise wrong
    taken, given = inputs[0], outputs[0]
    if taken is None or given is None or len(taken) != 4 or len(given) != 2:
        raise wrong
    batch, channels, height, width = taken
    if channels not in {0, 3} or height != width or height > 4096 or not 0 <= batch <= 4096:
        raise wrong
    return batch, height, given[1]


def _openvino(path: Path) -> Loaded:
    import openvino

    xml, weights = _bytes(path, MAX_XML), _bytes(path.with_suffix(".bin"), MAX_BIN)
    try:
        # as bytes, so that it can name no path
        model = openvino.Core().read_model(model=xml, weights=openvino.Tensor(np.frombuffer(weights, np.uint8)))
        shapes = [_openvino_shape(port) for port in model.inputs], [_openvino_shape(port) for port in model.outputs]
        texts = {PREFIX + name: _openvino_text(model, name) for name in NAMES}
    except Exception as error:
        raise VitEdgeError(f"{path.name[:80]} is no model of OpenVINO, or a damaged one; export it again.") from error
    passport = Passport.of(texts)
    if passport is not None and passport.content != hashlib.sha256(weights).hexdigest():
        raise VitEdgeError(f"{path.stem[:80]}.bin is not the one that was written with the .xml; export it again.")
    batch, side, classes = _fitting(path, *shapes)
    size = len(xml) + len(weights)
    return Loaded(path, "openvino", OpenVino(model, batch), passport, size, side, classes, batch)


def _openvino_shape(port: Any) -> tuple[int, ...] | None:
    if port.element_type.get_type_name() != "f32" or port.partial_shape.rank.is_dynamic:
        return None
    return tuple(0 if dim.is_dynamic else dim.get_length() for dim in port.partial_shape)


def _openvino_text(model: Any, name: str) -> str:
    place = [PREFIX.rstrip("."), name]
    return str(model.get_rt_info(place).value) if model.has_rt_info(place) else ""


def _archive(path: Path) -> Loaded:
    """A package, or the two files of OpenVINO as the Build page saves them."""
    with tempfile.TemporaryDirectory(prefix="vitedge-") as scratch:
        folder = Path(scratch)
        _unzip(path, folder)
        graphs = list(folder.glob("*.xml"))
        return replace(_openvino(graphs[0]), path=path) if graphs else _read_package(path, folder)


def _is_pair(names: list[str]) -> bool:
    """Whether they are an .xml and its .bin, in no folder."""
    files = [Path(name) for name in names]
    inside = [file.name for file in files] == names
    return inside and sorted(file.suffix for file in files) == [".bin", ".xml"] and files[0].stem == files[1].stem


def _unzip(path: Path, folder: Path) -> None:
    """The files of an archive; other names in it are refused, so that none can lead outside."""
    if not path.is_file():
        raise VitEdgeError(f"There is no file {path}.")
    damaged = VitEdgeError(f"{path.name[:80]} is no package of VitEdge, or a damaged one; export the model again.")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if not (set(names) <= package.FILES or _is_pair(names)) or len(set(names)) != len(names):
                raise damaged
            if sum(entry.file_size for entry in entries) > MOST_UNFOLDED * path.stat().st_size:
                raise VitEdgeError(
                    f"{path.name[:80]} unfolds to far more than a package holds; export the model again."
                )
            archive.extractall(folder)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError) as error:
        raise damaged from error


def _read_package(path: Path, folder: Path) -> Loaded:
    model, recipe = package.read(folder)
    card = package.card_of(folder)
    classes = int(getattr(model, "num_classes", 0))
    try:
        wanted = preparation_from(card["preparation"])
    except (KeyError, TypeError, ValueError):  # an older package, or somebody's own words
        wanted = preprocessing(recipe.model)
    passport = Passport("package", recipe, wanted, classes, card)
    size = sum((folder / name).stat().st_size for name in package.FILES if (folder / name).is_file())
    return Loaded(path, "package", model, passport, size, input_size(model)[1], classes)
