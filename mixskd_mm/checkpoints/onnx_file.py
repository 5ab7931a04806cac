"""ONNX files: written with what is known of the network, and run by onnxruntime."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mixskd_mm.differences import export_onnx
from mixskd_mm.errors import InputError, last_line

from .requirement import required

if TYPE_CHECKING:
    from .formats import Trained

# What both supported torch versions write and current runtimes read.
OPSET = 17


def onnx_bytes(classifier: nn.Module, shape: tuple[int, int, int], metadata: dict[str, str]) -> bytes:
    """The classifier as an ONNX file: ``images`` ``(batch, C, H, W)``, normalised, to ``logits`` ``(batch, K)``.

    Args:
        classifier (nn.Module): In eval mode.
        shape (tuple[int, int, int]): (C, H, W), which the file fixes; the size of a batch is free.
        metadata (dict[str, str]): To be noted in the file.

    Raises:
        InputError: if onnx is not installed, or has no counterpart of an operation.
    """
    onnx = required('onnx', 'onnx')
    file = io.BytesIO()
    try:
        export_onnx(
            classifier,
            (torch.zeros(2, *shape),),
            file,
            opset_version=OPSET,
            input_names=['images'],
            output_names=['logits'],
            dynamic_axes={'images': {0: 'batch'}, 'logits': {0: 'batch'}},
        )
    except RuntimeError as error:
        network = type(classifier.backbone).__name__
        raise InputError(f'this {network} cannot be written as ONNX, opset {OPSET}: {last_line(error)}') from error
    model = onnx.load_from_string(file.getvalue())
    onnx.helper.set_model_props(model, {**metadata, 'opset': str(OPSET)})
    onnx.checker.check_model(model)
    return model.SerializeToString()


def onnx_session(path: str, trained: Trained) -> Callable[[Tensor], Tensor]:
    """The file as onnxruntime runs it on the CPU. Raises InputError if that is not installed."""
    runtime = required('onnxruntime', 'onnx')
    session = runtime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return lambda images: torch.from_numpy(session.run(['logits'], {'images': images.numpy()})[0])
