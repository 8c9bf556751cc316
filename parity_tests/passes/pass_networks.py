"""Channels-last networks as a channels-last front-end emits them: each convolution between two Transposes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from pass_models import Sketch

TO_FIRST = [0, 3, 1, 2]
TO_LAST = [0, 2, 3, 1]


class ChannelsLast(Sketch):
    """Sketch with layers that take and give [batch, height, width, channels]."""

    def __init__(self, opset: int = 18, *, norm: str = "operator", seed: int = 0) -> None:
        """``norm``: "operator" for BatchNormalization between Transposes, "arithmetic" for Mul and Add."""
        super().__init__(opset)
        self.norm = norm
        self.random = np.random.default_rng(seed)
        self.channels: dict[str, int] = {}

    def image(self, size: int, channels: int = 3) -> str:
        x = self.input("image", ["batch", size, size, channels])
        self.channels[x] = channels
        return x

    def _keep(self, x: str, channels: int) -> str:
        self.channels[x] = channels
        return x

    def weights(self, *shape: int) -> str:
        fan = int(np.prod(shape[1:]))
        return self.const((self.random.standard_normal(shape) * np.sqrt(2.0 / fan)).astype(np.float32))

    def vector(self, length: int, *, positive: bool = False) -> str:
        numbers = self.random.uniform(0.5, 1.5, length) if positive else self.random.standard_normal(length) * 0.1
        return self.const(numbers.astype(np.float32))

    def conv(
        self, x: str, filters: int, kernel: int, *, stride: int = 1, pads: Sequence[int] | None = None, group: int = 1
    ) -> str:
        channels = self.channels[x]
        weight = self.weights(filters, channels // group, kernel, kernel)
        bias = [self.vector(filters)] if group == 1 else []
        first = self.op("Transpose", x, perm=TO_FIRST)
        pads = pads if pads is not None else [kernel // 2] * 4
        y = self.op(
            "Conv", first, weight, *bias, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=list(pads), group=group
        )
        return self._keep(self.op("Transpose", y, perm=TO_LAST), filters)

    def batch_norm(self, x: str) -> str:
        channels = self.channels[x]
        scale = [self.vector(channels, positive=True), self.vector(channels), self.vector(channels)]
        variance = self.vector(channels, positive=True)
        if self.norm == "operator":
            first = self.op("Transpose", x, perm=TO_FIRST)
            y = self.op("BatchNormalization", first, *scale, variance, epsilon=1e-3)
            return self._keep(self.op("Transpose", y, perm=TO_LAST), channels)
        centred = self.op("Sub", x, scale[2])
        return self._keep(self.op("Add", self.op("Mul", centred, scale[0]), scale[1]), channels)

    def relu(self, x: str) -> str:
        return self._keep(self.op("Relu", x), self.channels[x])

    def relu6(self, x: str) -> str:
        return self._keep(self.op("Clip", x, self.const(np.float32(0)), self.const(np.float32(6))), self.channels[x])

    def add(self, x: str, y: str) -> str:
        return self._keep(self.op("Add", x, y), self.channels[x])

    def zero_padding(self, x: str, before: int, after: int) -> str:
        if self.opset >= 18:
            pads, axes = self.ints(before, before, after, after), self.ints(1, 2)
            y = self.op("Pad", x, pads, "", axes)
        else:
            y = self.op("Pad", x, self.ints(0, before, before, 0, 0, after, after, 0))
        return self._keep(y, self.channels[x])

    def max_pool(self, x: str, kernel: int, stride: int) -> str:
        first = self.op("Transpose", x, perm=TO_FIRST)
        y = self.op("MaxPool", first, kernel_shape=[kernel] * 2, strides=[stride] * 2)
        return self._keep(self.op("Transpose", y, perm=TO_LAST), self.channels[x])

    def reduce_mean(self, x: str, axes: Sequence[int], *, keep: bool) -> str:
        if self.opset >= 18:
            y = self.op("ReduceMean", x, self.ints(*axes), keepdims=int(keep))
        else:
            y = self.op("ReduceMean", x, axes=list(axes), keepdims=int(keep))
        return self._keep(y, self.channels[x])

    def squeeze_excite(self, x: str, reduced: int) -> str:
        channels = self.channels[x]
        pooled = self.reduce_mean(x, (1, 2), keep=False)
        seen = self._keep(self.op("Reshape", pooled, self.ints(-1, 1, 1, channels)), channels)
        small = self.conv(seen, reduced, 1)
        active = self._keep(self.op("Mul", small, self.op("Sigmoid", small)), reduced)
        gate = self.op("Sigmoid", self.conv(active, channels, 1))
        return self._keep(self.op("Mul", x, gate), channels)

    def dense(self, x: str, units: int) -> str:
        weight = self.const((self.random.standard_normal((self.channels[x], units)) * 0.1).astype(np.float32))
        y = self.op("Add", self.op("MatMul", x, weight), self.vector(units))
        return self._keep(y, units)

    def head(self, x: str, classes: int) -> onnx.ModelProto:
        pooled = self.reduce_mean(x, (1, 2), keep=False)
        self.op("Softmax", self.dense(pooled, classes), axis=-1, out="probabilities")
        self.output("probabilities")
        return self.proto()


def resnet50(opset: int = 18, *, norm: str = "operator", width: int = 4, size: int = 33) -> onnx.ModelProto:
    """The graph of Keras' ResNet50 with narrow layers: 53 convolutions, as many BatchNormalizations."""
    g = ChannelsLast(opset, norm=norm)
    x = g.zero_padding(g.image(size), 3, 3)
    x = g.relu(g.batch_norm(g.conv(x, width, 7, stride=2, pads=[0] * 4)))
    x = g.max_pool(g.zero_padding(x, 1, 1), 3, 2)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        filters = width * 2**stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            shortcut = x if block else g.batch_norm(g.conv(x, 4 * filters, 1, stride=stride))
            y = g.relu(g.batch_norm(g.conv(x, filters, 1, stride=stride)))
            y = g.relu(g.batch_norm(g.conv(y, filters, 3)))
            y = g.batch_norm(g.conv(y, 4 * filters, 1))
            x = g.relu(g.add(shortcut, y))
    return g.head(x, 10)


def mobilenet_v2(
    opset: int = 18, *, norm: str = "operator", size: int = 32, squeeze: bool = False, rescale: bool = False
) -> onnx.ModelProto:
    """The graph of Keras' MobileNetV2 with narrow layers; with ``squeeze`` and ``rescale`` much like EfficientNet."""
    g = ChannelsLast(opset, norm=norm)
    x = g.image(size)
    if rescale:
        x = g._keep(g.op("Sub", g.op("Mul", x, g.const(np.float32(1 / 127.5))), g.vector(3)), 3)
    x = g.relu6(g.batch_norm(g.conv(g.zero_padding(x, 0, 1), 8, 3, stride=2, pads=[0] * 4)))
    for filters, blocks, stride, expansion in ((8, 1, 1, 1), (12, 2, 2, 6), (16, 3, 2, 6), (24, 2, 1, 6)):
        for block in range(blocks):
            entry, step = x, stride if not block else 1
            channels = g.channels[x] * expansion
            if expansion != 1:
                x = g.relu6(g.batch_norm(g.conv(x, channels, 1)))
            if step == 2:
                x = g.zero_padding(x, 0, 1)
            x = g.conv(x, channels, 3, stride=step, pads=[0] * 4 if step == 2 else None, group=channels)
            x = g.relu6(g.batch_norm(x))
            if squeeze:
                x = g.squeeze_excite(x, 4)
            x = g.batch_norm(g.conv(x, filters, 1))
            if g.channels[entry] == filters and step == 1:
                x = g.add(entry, x)
    return g.head(g.relu6(g.batch_norm(g.conv(x, 32, 1))), 10)
