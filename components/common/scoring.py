"""Scoring raw text: from strings to class probabilities, and how fast.

Only numpy, tokenizers and onnxruntime are needed here, so that a serving process starts in a fraction of a second.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfp_textclf.components.common.artifacts import read_json
from kfp_textclf.components.common.encoding import Encoded, TextEncoder
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.hardware import available_cpus

CALIBRATION = "calibration.json"  # of a model directory
TEMPERATURES = (0.001, 1000)  # least and greatest; calibration fits none near them
FOREIGN = "its files may be of several models; name the directory of an exported model"
ONNX_FILES = ("model.int8.onnx", "model.int4.onnx", "model.fp16.onnx", "model.onnx")  # in order of preference


class Classifier:
    """Anything that turns texts into class probabilities: an encoder, a temperature, and logits of a padded batch.

    Batches hold texts of similar length, up to a number of tokens, the longest first. An int8 model's answer depends a
    little on the batch, as its activations are scaled by it: models are judged in the batches that they serve with.

    The temperature divides the logits before the softmax. It makes the probabilities those of being right (Guo et al.
    2017, "On Calibration of Modern Neural Networks") and changes no label.
    """

    encoder: TextEncoder
    temperature: float = 1.0

    @property
    def labels(self) -> list[str]:
        """Class names."""
        return self.encoder.labels

    def logits(self, batch: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return logits of shape (batch, classes) for model inputs of shape (batch, tokens)."""
        raise NotImplementedError

    def text_logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return logits of shape (texts, classes), rows in the order of ``texts``."""
        return self.encoded_logits(self.encoder.encode(texts))

    def encoded_logits(self, encoded: Encoded) -> NDArray[np.float32]:
        """Return logits of shape (texts, classes), rows in the order of the texts."""
        result = np.empty((len(encoded.ids), len(self.labels)), dtype=np.float32)
        for rows in encoded.batches():
            result[rows] = self.logits(encoded.padded(rows))
        return result

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return probabilities of shape (texts, classes), rows in the order of ``texts``."""
        return softmax(self.text_logits(texts), self.temperature)


class OnnxClassifier(Classifier):
    """A classifier in a directory: ``model.int8.onnx`` or ``model.onnx``, ``tokenizer.json`` and ``config.json``.

    ``calibration.json``, where there is one, holds the temperature.
    """

    def __init__(self, directory: str | Path, threads: int | None = None) -> None:
        """Open the model.

        Args:
            directory: Where the files lie.
            threads: How many to use; the CPUs that this process may use when not given.

        Raises:
            UserError: A file is missing or unreadable, or they do not belong together.
        """
        directory = Path(directory)
        self.path = onnx_file(directory)
        self.encoder = TextEncoder(directory)
        self.temperature = read_temperature(directory)
        self.threads = threads or available_cpus()
        self.session = self._session(self.threads)
        self.inputs = {node.name for node in self.session.get_inputs()}
        self.text_logits([""])  # a model that cannot answer is refused here, for a hundredth of the time to load

    def logits(self, batch: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return logits of shape (batch, classes) for model inputs of shape (batch, tokens), by all threads."""
        return self._run(self.session, batch)

    def encoded_logits(self, encoded: Encoded) -> NDArray[np.float32]:
        """Return logits of shape (texts, classes), rows in the order of the texts: a thread for each batch.

        Threads that work on batches of their own never wait for each other, so that many texts take less time, and a
        neighbour on one of the cores slows one thread alone.
        """
        batches = encoded.batches()
        if len(batches) < self.threads or self.threads == 1:
            return super().encoded_logits(encoded)
        from concurrent.futures import ThreadPoolExecutor

        session = self._session_of_one_thread
        result = np.empty((len(encoded.ids), len(self.labels)), dtype=np.float32)

        def work(rows: NDArray[np.int64]) -> None:
            result[rows] = self._run(session, encoded.padded(rows))

        with ThreadPoolExecutor(self.threads) as workers:
            list(workers.map(work, batches))
        return result

    @cached_property
    def _session_of_one_thread(self) -> Any:
        return self._session(1)

    def _run(self, session: Any, batch: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        feed = {name: array for name, array in batch.items() if name in self.inputs}
        try:
            logits = np.asarray(session.run(["logits"], feed)[0])
        except Exception as error:  # as in `_session`
            raise UserError(f"{self.path}: cannot answer ({_reason(error)}); {FOREIGN}") from error
        expected = (len(batch["input_ids"]), len(self.labels))
        if logits.shape != expected:
            raise UserError(
                f"{self.path}: gives logits of shape {logits.shape}, not {expected} (texts, labels in config.json); "
                f"{FOREIGN}"
            )
        return logits

    def _session(self, threads: int) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised; a second line about them would be one too many
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning starves neighbours
        try:
            return onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises bare Exception subclasses without a common base
            raise UserError(f"{self.path}: is not a readable ONNX model ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """Return what onnxruntime says, without what it says about itself."""
    return str(error).rpartition("Status Message: ")[2][:200].strip()


@dataclass(frozen=True)
class Scored:
    """What a classifier answered, and how fast.

    Attributes:
        logits: Shape (rows, classes).
        probabilities: The same shape, calibrated.
        latency_ms_p50: Median time of one text alone, raw text in, label out, in milliseconds.
        latency_ms_p99: 99th percentile of the same.
        rows_per_second: Throughput over all rows, batched, raw text in.
        latency_ms: Every 5th percentile of the same times, from the fastest to the slowest.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    latency_ms_p50: float
    latency_ms_p99: float
    rows_per_second: float
    latency_ms: list[float]

    @property
    def speed(self) -> dict[str, float]:
        """The three speed figures by name."""
        names = ("latency_ms_p50", "latency_ms_p99", "rows_per_second")
        return {name: getattr(self, name) for name in names}


def score(
    classifier: Classifier, texts: Sequence[str], latency_samples: int = 200, known: dict[str, Encoded] | None = None
) -> Scored:
    """Score all texts in batches, then some of them one by one, and time both.

    Args:
        classifier: What answers.
        texts: Of all rows.
        latency_samples: How many are scored one by one, about.
        known: The texts encoded, by `TextEncoder.digest`; what is missing is added. Classifiers that share a tokenizer
            share its work, and the time that it took counts for each of them.
    """
    classifier.probabilities(texts[:64])  # warm-up: allocations and kernel selection
    known = {} if known is None else known
    if classifier.encoder.digest not in known:
        known[classifier.encoder.digest] = classifier.encoder.encode(texts)
    encoded = known[classifier.encoder.digest]
    started = time.perf_counter()
    logits = classifier.encoded_logits(encoded)
    probabilities = softmax(logits, classifier.temperature)
    seconds = encoded.seconds + time.perf_counter() - started
    step = max(1, len(texts) // latency_samples)
    latencies = [_milliseconds(classifier, text) for text in texts[::step]]
    return Scored(
        logits=logits,
        probabilities=probabilities,
        latency_ms_p50=float(np.percentile(latencies, 50)),
        latency_ms_p99=float(np.percentile(latencies, 99)),
        rows_per_second=len(texts) / seconds,
        latency_ms=np.percentile(latencies, range(0, 101, 5)).tolist(),
    )


def _milliseconds(classifier: Classifier, text: str) -> float:
    started = time.perf_counter()
    int(classifier.probabilities([text])[0].argmax())
    return (time.perf_counter() - started) * 1000


def softmax(logits: NDArray[Any], temperature: float = 1.0) -> NDArray[Any]:
    """Return the softmax of ``logits / temperature`` over the last axis, in the precision of the logits."""
    exponents = np.exp((logits - logits.max(axis=-1, keepdims=True)) / temperature)
    return exponents / exponents.sum(axis=-1, keepdims=True)


def read_temperature(directory: Path) -> float:
    """Return the temperature in ``calibration.json`` of a model directory; 1 for a model without that file.

    Raises:
        UserError: The file holds no temperature.
    """
    path = directory / CALIBRATION
    if not path.exists():
        return 1.0
    content = read_json(path)
    temperature: Any = content.get("temperature") if isinstance(content, dict) else None
    least, greatest = TEMPERATURES
    if type(temperature) not in (int, float) or not least <= temperature <= greatest:
        raise UserError(f"{path}: holds no temperature from {least} to {greatest}; export the model again")
    return float(temperature)


def onnx_file(directory: Path) -> Path:
    """Return the ONNX file of a model directory, the quantised one before the other.

    Raises:
        UserError: There is none.
    """
    for name in ONNX_FILES:
        if (directory / name).is_file():
            return directory / name
    raise UserError(
        f"{directory}: holds neither {ONNX_FILES[0]} nor {ONNX_FILES[-1]}; name the directory of an exported model"
    )
