"""Inference engines as peers, for a module with fixed shapes: OpenVINO and ONNX Runtime (extra ``bench``), and TensorRT
on a GPU, where it is installed."""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from awsrn_fast import backends, native

Engine = Callable[[Tensor], Tensor]


def available() -> dict[str, Callable[[nn.Module, Tensor, torch.dtype], Engine]]:
    """Installed engines that honour the instruction set our kernels may use, by name."""
    known = {"OpenVINO": ("openvino", openvino)}
    # It cannot be restricted to a lesser instruction set (instructions.py), so it is no peer for one.
    if native.cpu is None or native.isa == native.cpu.available_isas()[-1]:
        known["ONNX Runtime"] = ("onnxruntime", onnxruntime)
    needs = {"ONNX Runtime": ("onnx", "onnxscript")}
    return {
        name: build
        for name, (package, build) in known.items()
        if all(importlib.util.find_spec(p) for p in (package, *needs.get(name, ())))
    }


def openvino(module: nn.Module, x: Tensor, dtype: torch.dtype) -> Engine:
    """``module`` compiled for inputs like ``x [N, C, H, W]`` with torch's number of threads, in fp32 or bf16."""
    import openvino

    with backends.use_backend("reference"), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = openvino.convert_model(module.eval(), example_input=x, input=[tuple(x.shape)])
    options = {
        "INFERENCE_PRECISION_HINT": {torch.float32: "f32", torch.bfloat16: "bf16"}[dtype],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino.compile_model(model, "CPU", options).create_infer_request()

    def run(x: Tensor) -> Tensor:
        request.infer([x.numpy()], share_inputs=True, share_outputs=True)
        return torch.from_numpy(request.get_output_tensor(0).data)

    return run


def onnxruntime(module: nn.Module, x: Tensor, dtype: torch.dtype) -> Engine:
    """``module`` in fp32 for inputs like ``x [N, C, H, W]`` with torch's number of threads."""
    import onnxruntime

    if dtype != torch.float32:
        raise ValueError("ONNX Runtime's CPU provider computes in fp32")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")  # after a run: the next contender's turn
    session = onnxruntime.InferenceSession(_as_onnx(module, x), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def has_tensorrt() -> bool:
    """Whether TensorRT can build engines here."""
    return all(importlib.util.find_spec(package) for package in ("tensorrt", "onnx", "onnxscript"))


def tensorrt(module: nn.Module, x: Tensor, dtype: torch.dtype) -> Engine:
    """``module`` as a TensorRT 10 engine for inputs like ``x [N, C, H, W]``, fp32 on a GPU, products in ``dtype``.

    Raises:
        RuntimeError: TensorRT refuses the network; its first reason.
    """
    import tensorrt

    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(_as_onnx(module, x)):
        raise RuntimeError(f"TensorRT: {parser.get_error(0)}")
    config = builder.create_builder_config()
    if dtype != torch.float32:
        flags = tensorrt.BuilderFlag
        config.set_flag(flags.FP16 if dtype == torch.float16 else flags.BF16)
    made = builder.build_serialized_network(network, config)
    if made is None:
        raise RuntimeError("TensorRT: no engine was built")
    engine = tensorrt.Runtime(logger).deserialize_cuda_engine(made)
    context = engine.create_execution_context()
    given, result = (engine.get_tensor_name(i) for i in range(2))
    y = torch.empty(tuple(context.get_tensor_shape(result)), dtype=torch.float32, device=x.device)

    def run(x: Tensor) -> Tensor:
        context.set_tensor_address(given, x.data_ptr())
        context.set_tensor_address(result, y.data_ptr())
        context.execute_async_v3(torch.cuda.current_stream(x.device).cuda_stream)
        return y

    return run


def _as_onnx(module: nn.Module, x: Tensor) -> bytes:
    file = io.BytesIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with backends.use_backend("reference"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(module.eval(), (x,), dynamo=True, verbose=False)
    program.save(file)
    return file.getvalue()
