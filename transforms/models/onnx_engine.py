"""Running ONNX files, with OpenVINO on a CPU: reading one, having it take bytes of images, and compiling it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from faceveil.transforms.errors import ModelError, OutOfMemoryError
from faceveil.transforms.models.engines import (
    Contract,
    ConversionError,
    Engine,
    Precision,
    first_line,
    load_prepared,
)
from faceveil.transforms.models.frameworks import load_openvino
from faceveil.transforms.runtime.memory import is_out_of_memory


@dataclass(frozen=True)
class InputForm:
    """What a model's one input is, and what is made of the bytes of an image for it.

    Attributes:
        axes: what its axes are, by their initials: ``NCHW``, ``NHWC``, ``CHW`` or ``HWC``.
        size: height and width in pixels; None for any.
        mean: is subtracted from each channel.
        scale: each channel is divided by it after that.
    """

    axes: str
    size: tuple[int, int] | None
    mean: tuple[float, ...]
    scale: tuple[float, ...]


def open_onnx(path: str) -> Any:
    """OpenVINO's model of an ONNX file that `read_onnx` has found to be sound.

    Raises:
        ModelError: OpenVINO cannot read it.
    """
    try:
        model = load_openvino().Core().read_model(path)
        for number, port in enumerate(model.outputs):
            if not port.names:
                port.set_names({f"output{number}"})
    except RuntimeError as error:
        raise _unusable(path, error) from error
    return model


def set_image_size(model: Any, axes: str, size: tuple[int, int] | None, path: str) -> None:
    """Has a model take one image of a size.

    Args:
        model: as `open_onnx` returns it; its outputs get the shapes that follow.
        axes: as of an `InputForm`.
        size: likewise.
        path: of its file, for messages.

    Raises:
        ModelError: it does not.
    """
    sides = dict(zip("HW", size or (-1, -1), strict=True), N=1, C=3)
    shape = [sides[axis] for axis in axes]
    try:
        model.reshape({model.inputs[0].any_name: shape})
    except RuntimeError as error:
        raise _unusable(f"{path} with an input of {shape}", error) from error


def with_image_input(model: Any, form: InputForm, path: str) -> Any:
    """The model with an input of uint8 ``[1, H, W, 3]``, or ``[H, W, 3]`` where it has no axis of images.

    Channels have the order that it wants them in. OpenVINO 2026.4 could reverse them, too, but where nothing comes
    between that and such a step of the model's own, on CHW, it leaves out one of both.

    Args:
        model: as `open_onnx` returns it; it is changed.
        form: what its input is.
        path: of its file, for messages.

    Raises:
        ModelError: it takes no images of that size.
    """
    openvino = load_openvino()
    set_image_size(model, form.axes, form.size, path)
    try:
        processor = openvino.preprocess.PrePostProcessor(model)
        given = processor.input()
        images = form.axes.replace("C", "") + "C"
        given.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout(images))
        given.model().set_layout(openvino.Layout(form.axes))
        steps = given.preprocess().convert_element_type(openvino.Type.f32)
        if any(form.mean):
            steps = steps.mean(list(form.mean))
        if any(each != 1 for each in form.scale):
            steps.scale(list(form.scale))
        return processor.build()
    except RuntimeError as error:
        raise _unusable(f"{path} for images", error) from error


def load_onnx(model: Any, path: str, contract: Contract, precision: Precision, threads: int) -> Engine:
    """Compiles a model and tries it out.

    Args:
        model: as `with_image_input` returns it.
        path: of its file, for messages.
        contract: what it has to be.
        precision: as `load_model` takes it.
        threads: how many threads will call ``run`` at once.

    Raises:
        ModelError: it cannot be compiled, breaks its contract, or cannot run as asked.
        OutOfMemoryError: memory ran out.
    """
    try:
        return load_prepared(model, path, contract, precision, threads)
    except (ConversionError, RuntimeError) as error:
        raise _unusable(path, error.__cause__ if isinstance(error, ConversionError) else error) from error


def _unusable(what: str, error: BaseException | None) -> ModelError:
    said = first_line(error) if isinstance(error, Exception) else "it cannot be compiled"
    if is_out_of_memory(error):
        raise OutOfMemoryError(f"{what}: memory ran out as it was loaded ({said}); the file may be damaged") from error
    return ModelError(
        f"OpenVINO cannot run {what}: {said}; export it with the operators of ONNX alone, for one image at a time"
    )
