"""Measure the ranges of the inputs of an encoder's kernels on calibration texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bertbundle.contract.types import Arrays, InputFeatures
from bertbundle_export.encoder.int8 import ChannelRanges
from bertbundle_export.encoder.kernels import PublicKernels

__all__ = ["ObservingKernels", "calibration_rows"]


class ObservingKernels(PublicKernels):
    """Computes in float32, and keeps the range of each input channel of each kernel."""

    def __init__(self) -> None:
        self._kernels: list[Any] = []
        self._lows: list[Any] = []
        self._highs: list[Any] = []

    def dense(self, x: Any, kernel: Any, bias: Any, *, activation: str | None = None, **options: Any) -> Any:
        """See `Kernels.dense`."""
        from bertbundle_export.tensorflow_import import tf

        index = next((index for index, other in enumerate(self._kernels) if other is kernel), len(self._kernels))
        if index == len(self._kernels):
            with tf.init_scope():
                self._kernels.append(kernel)
                self._lows.append(tf.Variable(tf.zeros(kernel.shape[0]), trainable=False))
                self._highs.append(tf.Variable(tf.zeros(kernel.shape[0]), trainable=False))
        low, high = self._lows[index], self._highs[index]
        low.assign(tf.minimum(low, tf.reduce_min(x, axis=0)))
        high.assign(tf.maximum(high, tf.reduce_max(x, axis=0)))
        return super().dense(x, kernel, bias, activation=activation, **options)

    def ranges(self, variables: Mapping[str, Any]) -> ChannelRanges:
        """Return what was observed, by the names of the kernels."""
        names = {id(variable): name for name, variable in variables.items()}
        return {
            names[id(kernel)]: (low.numpy(), high.numpy())
            for kernel, low, high in zip(self._kernels, self._lows, self._highs, strict=True)
        }


def calibration_rows(features: Sequence[InputFeatures]) -> Iterable[Arrays]:
    """Return every distinct row without its padding, as a batch of one."""
    rows: dict[bytes, Arrays] = {}
    for batch in features:
        for index, tokens in enumerate(batch.inputs["attention_mask"].sum(axis=1)):
            row = {name: values[index : index + 1, :tokens] for name, values in batch.inputs.items()}
            rows[row["input_ids"].tobytes()] = row
    return rows.values()
