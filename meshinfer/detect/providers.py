"""What a model can run on: the runtime's execution providers that this program knows, and what each must be told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Provider(NamedTuple):
    """One way of running a model on one kind of device."""

    short: str
    """As people and files write it."""
    name: str
    """As the runtime writes it."""
    options: Mapping[str, str] = {}
    serial: bool = False
    """Its sessions may be used by one thread at a time."""


CPU = Provider("cpu", "CPUExecutionProvider")

PROVIDERS: tuple[Provider, ...] = (
    Provider("tensorrt", "TensorrtExecutionProvider"),
    Provider("tensorrt-rtx", "NvTensorRTRTXExecutionProvider"),
    # TF32 keeps 10 bits of a number: results would differ from those of other peers for little speed.
    Provider("cuda", "CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
    Provider("migraphx", "MIGraphXExecutionProvider"),
    Provider("rocm", "ROCMExecutionProvider"),
    Provider("openvino-gpu", "OpenVINOExecutionProvider", {"device_type": "GPU"}),
    Provider("openvino", "OpenVINOExecutionProvider", {"device_type": "CPU", "num_of_threads": "1"}),
    Provider("coreml", "CoreMLExecutionProvider"),
    Provider("directml", "DmlExecutionProvider", serial=True),
    Provider("qnn", "QNNExecutionProvider"),
    Provider("cann", "CANNExecutionProvider"),
    Provider("onednn", "DnnlExecutionProvider"),
    Provider("xnnpack", "XnnpackExecutionProvider", {"intra_op_num_threads": "1"}),
    CPU,
)
"""Others that a runtime offers are left alone: AzureExecutionProvider sends tensors to a service, for one."""


def usable(available: Iterable[str]) -> tuple[Provider, ...]:
    """The known ones among those a runtime names; the CPU, which every runtime has, comes last."""
    names = set(available) | {CPU.name}
    return tuple(provider for provider in PROVIDERS if provider.name in names)


def named(short: str) -> Provider:
    """Raises KeyError for one that is not in the table."""
    return {provider.short: provider for provider in PROVIDERS}[short]
