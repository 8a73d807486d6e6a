"""Engines: what runs a SavedModel, OpenVINO or TensorFlow, whatever the model is for."""

from __future__ import annotations

import contextlib
import functools
import logging
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any, Literal, TypeVar

from faceveil.transforms.errors import ModelError
from faceveil.transforms.memory import is_out_of_memory
from faceveil.transforms.models.frameworks import load_openvino, load_tensorflow

EngineName = Literal["auto", "openvino", "tensorflow"]
Precision = Literal["auto", "float32", "bfloat16"]

_log = logging.getLogger(__name__)

E = TypeVar("E")


class ConversionError(Exception):
    """OpenVINO cannot run this model, or not as TensorFlow does."""


def choose_engine(
    model_dir: str,
    engine: EngineName,
    precision: Precision,
    converted: Callable[[], E],
    original: Callable[[], E],
    compare: Callable[[E, E], None] | None,
) -> E:
    """Loads a SavedModel with OpenVINO where that runs it as TensorFlow does, otherwise with TensorFlow.

    Args:
        model_dir: the SavedModel's folder.
        engine: ``auto`` takes OpenVINO, or TensorFlow (with a warning) where OpenVINO does not run the model so.
        precision: as asked for.
        converted: loads it with OpenVINO.
        original: loads it with TensorFlow.
        compare: raises ConversionError unless both compute the same; None where they are known to.

    Raises:
        ModelError: the model does not load, breaks its contract, or cannot run as asked.
    """
    if not (Path(model_dir) / "saved_model.pb").is_file():
        raise ModelError(f"{model_dir} is no SavedModel: it holds no saved_model.pb")
    if engine == "tensorflow":
        return original()
    truth = original() if compare else None
    try:
        chosen = converted()
        if compare and truth is not None:
            compare(chosen, truth)
        return chosen
    except ConversionError as error:
        if engine == "openvino":
            raise ModelError(f"{error}; --engine tensorflow may run it") from error
        if precision == "bfloat16":
            raise ModelError(f"{error}; TensorFlow may, but not with --precision bfloat16") from error
        _log.warning("%s; TensorFlow runs it instead, more slowly on a CPU", error)
        return truth if truth is not None else original()


class OpenVinoModel:
    """A SavedModel on the CPU, one core per call.

    Attributes:
        device: the CPU's full name.
        precision: ``float32`` or ``bfloat16``, of the arithmetic; ``int8 and …`` for a quantised model.
        output_names: all names of its outputs.
    """

    def __init__(
        self, model_dir: str, precision: Precision, threads: int, prepare: Callable[[Any], None] = lambda _: None
    ) -> None:
        """Reads and compiles it.

        Args:
            model_dir: its folder.
            precision: of the arithmetic.
            threads: how many threads will call at once.
            prepare: checks the model that was read, and may reshape it.

        Raises:
            ConversionError: OpenVINO cannot convert or compile it.
            ModelError: the CPU lacks the precision.
        """
        core = load_openvino().Core()
        self.device = core.get_property("CPU", "FULL_DEVICE_NAME")
        native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bfloat16" and not native:
            raise ModelError(f"--precision bfloat16: this CPU ({self.device}) has no bfloat16; use float32")
        floats = "bfloat16" if native and precision != "float32" else "float32"
        try:
            model = core.read_model(model_dir)
            prepare(model)
            quantised = any(operation.get_type_name() == "FakeQuantize" for operation in model.get_ops())
            self.precision = f"int8 and {floats}" if quantised else floats
            self.output_names = frozenset(name for output in model.outputs for name in output.names)
            self._compile = functools.partial(_compile, core, model, floats, threads)
            self._requests: SimpleQueue[Any] | None = self._compile()
            self._changing = Lock()
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise ConversionError(f"OpenVINO cannot run {model_dir}: {first_line(error)}") from error

    @contextlib.contextmanager
    def request(self) -> Iterator[Any]:
        """An infer request for as long as the block runs; waits for one if all are busy.

        Who loads a model has to run it once before threads share it: two that make a process's first call at once may
        block each other for good (OpenVINO 2026.4's bindings set NumPy up under a lock of C++ and Python's own).
        """
        with self._changing:
            requests = self._requests = self._requests or self._compile()
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


def _compile(core: Any, model: Any, floats: str, threads: int) -> SimpleQueue[Any]:
    """A request for each of the threads that will call at once."""
    compiled = core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": {"bfloat16": "bf16", "float32": "f32"}[floats],
            # One single-threaded stream per caller, not pinned to cores: pinning gained nothing measurable, and
            # other processes share the machine.
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        },
    )
    requests: SimpleQueue[Any] = SimpleQueue()
    for _ in range(threads):
        requests.put(compiled.create_infer_request())
    return requests


class TensorFlowModel:
    """A SavedModel as it is, on a GPU if TensorFlow sees one, otherwise on one core per call.

    Attributes:
        device: the kind of processor, by its full name.
        on_gpu: whether it is a GPU.
        serve: the signature ``serving_default``.
    """

    def __init__(self, model_dir: str, precision: Precision, threads: int) -> None:
        """Loads it.

        Raises:
            ModelError: it does not load, has no such signature, or the precision is not TensorFlow's.
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
        self.serve = self._model.signatures["serving_default"]


_PREAMBLE = ("Exception from", "Check ", "FrontEnd API failed", "Model wasn't fully converted", "Summary:")
"""How lines of OpenVINO's errors begin that do not say what is wrong."""


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
