"""Where to compute."""

import os
from collections.abc import Mapping
from typing import Literal

import torch
from torch import nn

from mtl_cli.options import ConfigError
from mtl_cli.training.group import local
from mtl_cli.training.heap import keep_freed
from mtl_cli.training.options import Auto, Cpu, Cuda, DeviceOption, Mps, TrainerOptions

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
"""Memory formats by name, the one that a run starts with first."""


def auto(option: Auto) -> torch.device:
    """The first that is there of cuda, mps, cpu."""
    if torch.cuda.is_available():
        return _indexed("cuda", option, torch.cuda.device_count())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return _cpu(option)


def cpu(option: Cpu) -> torch.device:
    """The processor, with the threads that the option asks for."""
    return _cpu(option)


def cuda(option: Cuda) -> torch.device:
    """An NVIDIA or AMD GPU. Raises: ConfigError: there is none, or not that many."""
    if not torch.cuda.is_available():
        raise ConfigError("device=cuda is not here: torch finds no GPU; take device=cpu or device=auto")
    return _indexed("cuda", option, torch.cuda.device_count())


def mps(option: Mps) -> torch.device:
    """Apple's GPU. Raises: ConfigError: there is none."""
    if not torch.backends.mps.is_available():
        raise ConfigError("device=mps is not here: torch finds no Apple GPU; take device=cpu or device=auto")
    return _indexed("mps", option, 1)


def place(model: nn.Module, device: torch.device, memory_format: str) -> None:
    """Moves a model to a device, its convolutions' weights into that format, which their outputs then take.

    memory_format: one of FORMATS.
    """
    lay_out(model.to(device), FORMATS[memory_format])


def lay_out(model: nn.Module, form: torch.memory_format) -> None:
    """Puts weights of four dimensions into that format; parameters stay the objects that they are."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=form)


def settled_precision(options: TrainerOptions, device: torch.device) -> Literal["fp32", "bf16", "fp16"]:
    """The precision that was asked for; where that is auto, bf16 on GPUs with instructions for it, else fp32.

    On a CPU auto is fp32: bf16 is faster on few of them, and changes the numbers on all.
    """
    if options.precision != "auto":
        return options.precision
    has = device.type == "cuda" and (
        torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
    )
    return "bf16" if has else "fp32"


def settled_format(options: TrainerOptions, decided: Mapping[str, str]) -> str:
    """The memory format that was asked for; where that is auto the one decided, and the first until one is."""
    return decided.get("memory_format", "contiguous") if options.memory_format == "auto" else options.memory_format


def repeatable(on: bool) -> None:
    """Takes only algorithms that give the same bits each time, or any; for the whole process.

    What has no such algorithm on the device raises RuntimeError when it is run.
    """
    if on:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    torch.use_deterministic_algorithms(on)
    torch.backends.cudnn.benchmark = False


def _cpu(option: DeviceOption) -> torch.device:
    keep_freed()
    _share_cores(option)
    return torch.device("cpu")


def _indexed(kind: str, option: DeviceOption, count: int) -> torch.device:
    """The one that was asked for; of several processes on a machine each has its own."""
    rank, size = local()
    if size > 1 and option.index is not None:
        raise ConfigError(f"device.index={option.index} is one, and {size} processes need one each: leave it out")
    if size > count:
        raise ConfigError(f"{size} processes need a device each, and torch finds {count}: start fewer")
    index = rank if option.index is None else option.index
    if index >= count:
        raise ConfigError(f"device.index={index} is not here: torch finds {count}, counted from 0")
    _share_cores(option)
    device = torch.device(kind, index)
    if kind == "cuda":
        torch.cuda.set_device(device)
    return device


def _share_cores(option: DeviceOption) -> None:
    """Processes on one machine have a share of its cores each, unless told how many."""
    _, size = local()
    if option.threads is not None:
        torch.set_num_threads(option.threads)
    elif size > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // size))
