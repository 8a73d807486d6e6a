"""Engines: what runs a SavedModel, OpenVINO or TensorFlow, whatever the model is for."""

from __future__ import annotations

import contextlib
import functools
import logging
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from faceveil.transforms.errors import ModelError
from faceveil.transforms.models.compiled import Compiled, KeptModel
from faceveil.transforms.models.frameworks import load_openvino, load_tensorflow
from faceveil.transforms.models.saved_model import files_digest
from faceveil.transforms.runtime.memory import is_out_of_memory

EngineName = Literal["auto", "openvino", "tensorflow"]
Precision = Literal["auto", "float32", "bfloat16"]

_LOGGER = logging.getLogger(__name__)

T = TypeVar("T")


class ConversionError(Exception):
    """OpenVINO cannot run this model, or not as TensorFlow does."""


class Port(NamedTuple):
    """One input or output of a model.

    Attributes:
        names: all names that it has.
        kind: of its elements, as NumPy names it; empty for TensorFlow's outputs, where it is not needed.
        shape: its sides, None for any length; None where it may have any number of dimensions, or for such outputs.
    """

    names: tuple[str, ...]
    kind: str = ""
    shape: list[int | None] | None = None


class Signature(NamedTuple):
    """What a model takes and returns."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


class Engine(Protocol):
    """A loaded model. ``run`` may be called from several threads at once.

    Attributes:
        name: ``openvino`` or ``tensorflow``.
        precision: ``float32`` or ``bfloat16``, of the arithmetic; ``int8 and …`` for a quantised model.
        device: the kind of processor, by its full name: results are equal to the bit only on equal kinds.
        on_gpu: whether that is a GPU, where more images per call are faster.
        signature: what it takes and returns.
    """

    name: str
    precision: str
    device: str
    on_gpu: bool
    signature: Signature

    def run(self, inputs: Mapping[str, Any], take: Callable[[dict[str, Any]], T]) -> T:
        """Computes the outputs of arrays by name.

        Args:
            inputs: arrays by their ports' names.
            take: makes of the outputs, arrays by name, what is returned. It has to copy what is to last: the arrays are
                the engine's, and hold other results later. (Copying all that a detector returns takes 5 of 97 ms.)

        Raises:
            ModelError: the model fails.
        """


@dataclass(frozen=True)
class Contract:
    """What a kind of model has to be.

    Attributes:
        check: raises ModelError unless a signature is such a model's; also gets the model's folder, to name it.
        try_out: runs a model that was loaded once, and raises ModelError if what it returns breaks the contract.
        outputs: the names of those that are asked for; None for all.
        one_by_one: whether OpenVINO gets batches of one, which are as fast on a CPU.
    """

    check: Callable[[Signature, str], None]
    try_out: Callable[[Engine], object]
    outputs: tuple[str, ...] | None = None
    one_by_one: bool = False


def load_model(
    model_dir: str,
    contract: Contract,
    compare: Callable[[Engine, Engine], None] | None,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    threads: int = 1,
) -> Engine:
    """Loads a SavedModel, with OpenVINO where that runs it as TensorFlow does, otherwise with TensorFlow.

    Args:
        model_dir: the SavedModel's folder.
        contract: what it has to be.
        compare: raises ConversionError unless both engines compute the same in float32, OpenVINO's first; None where
            they are known to, and the model is one that the package brings, which is kept as it was compiled.
        engine: ``auto`` takes OpenVINO, or TensorFlow (with a warning) where OpenVINO does not run the model so.
        precision: ``auto`` is bfloat16 with OpenVINO on a CPU that has it, else float32; TensorFlow takes
            float32 only.
        threads: how many threads will call ``run`` at once; each call computes on one core (or on the GPU).

    Raises:
        ModelError: the model does not load, breaks its contract, or cannot run as asked.
    """
    if not (Path(model_dir) / "saved_model.pb").is_file():
        raise ModelError(f"{model_dir} is no SavedModel: it holds no saved_model.pb")
    if engine == "tensorflow":
        return _original(model_dir, contract, precision, threads)
    truth = _original(model_dir, contract, "float32", threads) if compare else None
    try:
        chosen = _converted(model_dir, contract, precision, threads, keep=compare is None)
        if compare and truth is not None:
            # In float32, as the original: what bfloat16 rounds says nothing of the conversion.
            is_exact = chosen.precision == "float32"
            compare(chosen if is_exact else _converted(model_dir, contract, "float32", threads=1), truth)
        return chosen
    except ConversionError as error:
        if engine == "openvino":
            raise ModelError(f"{error}; --engine tensorflow may run it") from error
        if precision == "bfloat16":
            raise ModelError(f"{error}; TensorFlow may, but not with --precision bfloat16") from error
        _LOGGER.warning("%s; TensorFlow runs it instead, more slowly on a CPU", error)
        return truth or _original(model_dir, contract, "float32", threads)


def _original(model_dir: str, contract: Contract, precision: Precision, threads: int) -> Engine:
    loaded = _TensorFlowEngine(model_dir, contract, precision, threads)
    contract.try_out(loaded)
    return loaded


def _converted(model_dir: str, contract: Contract, precision: Precision, threads: int, keep: bool = False) -> Engine:
    loaded = _OpenVinoEngine(model_dir, contract, precision, threads, keep=keep)
    try:
        contract.try_out(loaded)
    except (RuntimeError, ModelError) as error:
        if is_out_of_memory(error):
            raise
        # OpenVINO can convert a model wrongly, too; if the model is at fault, TensorFlow will say so.
        raise ConversionError(f"OpenVINO cannot run {model_dir}: {first_line(error)}") from error
    return loaded


def load_prepared(model: Any, name: str, contract: Contract, precision: Precision, threads: int) -> Engine:
    """Compiles a model that OpenVINO has read already, and tries it out; arguments as for ``load_model``.

    Raises:
        ConversionError: OpenVINO cannot compile it.
        ModelError: it breaks its contract, or the CPU lacks the precision.
    """
    loaded = _OpenVinoEngine(name, contract, precision, threads, model)
    contract.try_out(loaded)
    return loaded


class _OpenVinoEngine:
    """Runs a model on the CPU, one core per call.

    Shapes stay dynamic: a model compiled for one shape is 5 to 10 % faster, but takes 0.7 s and 100 MB for each
    of the dozens of shapes that photos of many aspect ratios have.
    """

    name = "openvino"
    on_gpu = False

    def __init__(
        self,
        model_dir: str,
        contract: Contract,
        precision: Precision,
        threads: int,
        model: Any = None,
        keep: bool = False,
    ) -> None:
        """Reads it, unless OpenVINO's model of it is given, and compiles it, unless it was kept as it was compiled.

        Raises:
            ConversionError: OpenVINO cannot convert or compile it.
            ModelError: the CPU lacks the precision, or the model breaks its contract.
        """
        core = load_openvino().Core()
        self.device = core.get_property("CPU", "FULL_DEVICE_NAME")
        native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bfloat16" and not native:
            raise ModelError(f"--precision bfloat16: this CPU ({self.device}) has no bfloat16; use float32")
        floats = "bfloat16" if native and precision != "float32" else "float32"
        config = _config(floats, threads)
        identity = f"{files_digest(Path(model_dir))} {contract.one_by_one}" if keep else ""
        kept = KeptModel(core, identity, config) if keep else None
        self._prepare = functools.partial(_prepared, core, model_dir, model, contract, config, kept)
        self._threads = threads
        try:
            compiled = self._prepare()
            self.signature = openvino_signature(compiled.model)
            self.precision = f"int8 and {floats}" if compiled.is_quantised else floats
            names = [name for port in self.signature.outputs for name in port.names]
            self._outputs = [name for name in names if contract.outputs is None or name in contract.outputs]
            self._requests: SimpleQueue[Any] | None = _requests_of(compiled, threads)
            self._changing = Lock()
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise ConversionError(f"OpenVINO cannot run {model_dir}: {first_line(error)}") from error

    def run(self, inputs: Mapping[str, Any], take: Callable[[dict[str, Any]], T]) -> T:
        """See ``Engine.run``."""
        with self._request() as request:
            results = request.infer(dict(inputs), share_outputs=True)
            return take({name: results[name] for name in self._outputs})

    @contextlib.contextmanager
    def _request(self) -> Iterator[Any]:
        """An infer request for as long as the block runs; waits for one if all are busy.

        Who loads a model has to run it once before threads share it: two that make a process's first call at once may
        block each other for good (OpenVINO 2026.4's bindings set NumPy up under a lock of C++ and Python's own).
        """
        with self._changing:
            requests = self._requests = self._requests or _requests_of(self._prepare(), self._threads)
        request = requests.get()
        try:
            yield request
        except BaseException:
            # What has failed half-way, as for want of memory, may compute something else from now on: OpenVINO keeps
            # shapes from one call to the next. So the model is compiled anew before it is used again.
            with self._changing:
                if self._requests is requests:
                    self._requests = None
            raise
        finally:
            requests.put(request)


def _config(floats: str, threads: int) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": {"bfloat16": "bf16", "float32": "f32"}[floats],
        # One single-threaded stream per caller, not pinned to cores: pinning gained nothing measurable, and
        # other processes share the machine.
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
    }


def _prepared(
    core: Any, model_dir: str, model: Any, contract: Contract, config: dict[str, Any], kept: KeptModel | None
) -> Compiled:
    """The compiled model, from where it was kept if it was."""
    if kept and (compiled := kept.load()):
        return compiled
    model = core.read_model(model_dir) if model is None else model
    contract.check(openvino_signature(model), model_dir)
    if contract.one_by_one:
        model.reshape(
            {
                port.any_name: [1, *(-1 if side.is_dynamic else side.get_length() for side in shape[1:])]
                for port in model.inputs
                for shape in [list(port.get_partial_shape())]
            }
        )
    quantised = any(operation.get_type_name() == "FakeQuantize" for operation in model.get_ops())
    compiled = Compiled(core.compile_model(model, "CPU", config), quantised)
    if kept:
        kept.keep(compiled)
    return compiled


def _requests_of(compiled: Compiled, threads: int) -> SimpleQueue[Any]:
    """A request for each of the threads that will call at once."""
    requests: SimpleQueue[Any] = SimpleQueue()
    for _ in range(threads):
        requests.put(compiled.model.create_infer_request())
    return requests


_KINDS = {"u8": "uint8", "f16": "float16", "f32": "float32", "f64": "float64", "i32": "int32", "i64": "int64"}


def openvino_signature(model: Any) -> Signature:
    """What OpenVINO's model takes and returns."""
    return Signature(tuple(map(_openvino_port, model.inputs)), tuple(map(_openvino_port, model.outputs)))


def _openvino_port(port: Any) -> Port:
    shape, kind = port.get_partial_shape(), port.get_element_type().get_type_name()
    sides = None if shape.rank.is_dynamic else [side.get_length() if side.is_static else None for side in shape]
    return Port(tuple(sorted(port.names)), _KINDS.get(kind, kind), sides)


class _TensorFlowEngine:
    """Runs a model as it is, on a GPU if TensorFlow sees one, otherwise on one core per call."""

    name = "tensorflow"
    precision = "float32"

    def __init__(self, model_dir: str, contract: Contract, precision: Precision, threads: int) -> None:
        """Loads it.

        Raises:
            ModelError: it does not load, has no signature, breaks its contract, or the precision is not TensorFlow's.
        """
        if precision == "bfloat16":
            raise ModelError("--precision bfloat16 needs OpenVINO on a CPU that has it; TensorFlow takes float32")
        tf = load_tensorflow()
        gpus = tf.config.list_physical_devices("GPU")
        # These can be set only before TensorFlow's first operation in this process.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
            for gpu in gpus:
                tf.config.experimental.set_memory_growth(gpu, True)
        tf.config.experimental.enable_tensor_float_32_execution(False)
        self.on_gpu = bool(gpus)
        self.device = (
            tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else _cpu_name()
        )
        try:
            self._model = tf.saved_model.load(model_dir)  # held: it owns the variables
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise ModelError(f"TensorFlow cannot load {model_dir}: {first_line(error)}") from error
        if "serving_default" not in self._model.signatures:
            raise ModelError(f"{model_dir} lacks the signature serving_default")
        self._serve = self._model.signatures["serving_default"]
        specs, outputs = self._serve.structured_input_signature[1], self._serve.structured_outputs
        self.signature = Signature(
            tuple(
                Port((name,), spec.dtype.name, None if spec.shape.rank is None else spec.shape.as_list())
                for name, spec in specs.items()
            ),
            tuple(Port((name,)) for name in outputs),
        )
        contract.check(self.signature, model_dir)
        self._outputs = [name for name in outputs if contract.outputs is None or name in contract.outputs]

    def run(self, inputs: Mapping[str, Any], take: Callable[[dict[str, Any]], T]) -> T:
        """See ``Engine.run``."""
        tf = load_tensorflow()
        try:
            results = self._serve(**{name: tf.constant(array) for name, array in inputs.items()})
            outputs = {name: results[name].numpy() for name in self._outputs}
        except tf.errors.OpError as error:
            if is_out_of_memory(error):
                raise
            raise ModelError(f"TensorFlow cannot run the model: {first_line(error)}") from error
        return take(outputs)


_PREAMBLE = (
    *("Exception from", "Check ", "FrontEnd API failed", "Model wasn't fully converted", "Summary:"),
    *("Graph execution error", "Detected at node", "File ", "<stack traces unavailable>"),
)
"""How lines of OpenVINO's and TensorFlow's errors begin that do not say what is wrong."""


def first_line(error: Exception) -> str:
    """What an engine says went wrong, without its traces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = (line.removeprefix("-- ") for line in lines if not line.startswith(_PREAMBLE))
    return next(told, type(error).__name__)


def _cpu_name() -> str:
    """The CPU's full name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
