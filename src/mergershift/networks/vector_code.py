"""Loops over pixels of a few channels, compiled for this machine's processor with LLVM.

Each of PyTorch's operators passes over the memory once. What several of them do to a pixel is written here as one loop,
which computes with the vector of the pixel's channels. LLVM compiles it within tenths of a second for the processor's
own vectors, and needs no compiler on the machine.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import torch
from llvmlite import binding, ir
from torch import Tensor

from mergershift import __version__
from mergershift.core.kept import kept

_INDEX = ir.IntType(64)
_STORED: dict[torch.dtype, Any] = {
    torch.float32: ir.FloatType(),
    torch.float64: ir.DoubleType(),
    torch.bfloat16: ir.IntType(16),
    torch.uint8: ir.IntType(8),
    torch.int16: ir.IntType(16),
    torch.int32: ir.IntType(32),
    torch.int64: ir.IntType(64),
}
Value = Any
"""A value of the code that is written; llvmlite has no types."""


class VectorCode:
    """Writes a function of pointers to tensors and of whole numbers, which loops over images `first` to `last` - 1.

    Args:
        channels: number of values of a pixel, which a vector holds.
        tensors: names of the tensors with the types of their values.
        numbers: names of the whole numbers.
        computed: type that values are computed with.
    """

    def __init__(
        self,
        channels: int,
        tensors: Mapping[str, torch.dtype],
        numbers: Sequence[str],
        computed: torch.dtype = torch.float32,
    ) -> None:
        self.channels, self.computed, self._tensors = channels, computed, dict(tensors)
        names = [*tensors, "first", "last", *numbers]
        types = [ir.PointerType() for _ in tensors] + [_INDEX] * (len(names) - len(tensors))
        self._module = ir.Module()
        function = ir.Function(self._module, ir.FunctionType(ir.VoidType(), types), "function")
        for argument in function.args[: len(tensors)]:
            argument.add_attribute("noalias")
        self._arguments: dict[str, Value] = dict(zip(names, function.args, strict=True))
        self.builder = ir.IRBuilder(function.append_basic_block())

    def __getitem__(self, name: str) -> Value:
        return self._arguments[name]

    @staticmethod
    def number(value: int) -> Value:
        """A whole number."""
        return ir.Constant(_INDEX, value)

    def sum(self, *terms: Value) -> Value:
        """The sum of whole numbers."""
        return functools.reduce(self.builder.add, terms)

    def product(self, *factors: Value) -> Value:
        """The product of whole numbers."""
        return functools.reduce(self.builder.mul, factors)

    def half(self, value: Value) -> Value:
        """Half of a whole number, without what remains."""
        return self.builder.lshr(value, self.number(1))

    def vector(self, value: float) -> Value:
        """The same value in every channel."""
        return ir.Constant(self._kind(self.computed), [float(value)] * self.channels)

    def byte(self, value: int) -> Value:
        """The same byte in every channel."""
        return ir.Constant(self._kind(torch.uint8), [value] * self.channels)

    @contextmanager
    def loop(self, start: Value, stop: Value) -> Iterator[Value]:
        """Repeat what is written inside for each whole number from `start` to `stop` - 1."""
        builder = self.builder
        before = builder.block
        head, body, after = (builder.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(_INDEX)
        index.add_incoming(start, before)
        builder.cbranch(builder.icmp_signed("<", index, stop), body, after)
        builder.position_at_end(body)
        yield index
        index.add_incoming(builder.add(index, self.number(1)), builder.block)
        builder.branch(head)
        builder.position_at_end(after)

    def load(self, name: str, pixel: Value) -> Value:
        """The channels of a pixel: whole numbers as they are, or values to compute with."""
        dtype = self._tensors[name]
        values = self.builder.load(self._place(name, pixel), align=dtype.itemsize, typ=self._kind(dtype))
        if dtype == torch.bfloat16:  # the upper half of a value in single precision
            words = ir.VectorType(ir.IntType(32), self.channels)
            wide = self.builder.shl(self.builder.zext(values, words), self._words(16))
            return self.builder.bitcast(wide, self._kind(torch.float32))
        return values

    def load_number(self, name: str, index: Value) -> Value:
        """A whole number of a tensor of 64-bit numbers."""
        place = self.builder.gep(self[name], [index], inbounds=True, source_etype=_INDEX)
        return self.builder.load(place, typ=_INDEX)

    def store(self, name: str, pixel: Value, values: Value) -> None:
        """Write the channels of a pixel; in bfloat16 they are rounded to the nearest, ties to even."""
        dtype = self._tensors[name]
        if dtype == torch.bfloat16:
            values = self._rounded(values)
        self.builder.store(values, self._place(name, pixel), align=dtype.itemsize)

    def accumulate(self, name: str, pixel: Value, values: Value) -> None:
        """Add values to the channels of a pixel of a tensor in double precision."""
        if self.computed != torch.float64:
            values = self.builder.fpext(values, self._kind(torch.float64))
        self.store(name, pixel, self.builder.fadd(self.load(name, pixel), values))

    def multiply_add(self, factor: Value, values: Value, added: Value) -> Value:
        """`factor` * `values` + `added`, rounded once where the processor can."""
        product = self.builder.fmul(factor, values, flags=("contract",))
        return self.builder.fadd(product, added, flags=("contract",))

    def variable(self) -> Value:
        """A vector that loops can change: `set`, `get`."""
        with self.builder.goto_entry_block():
            return self.builder.alloca(self._kind(self.computed))

    def set(self, variable: Value, values: Value) -> None:
        """Give a variable new values."""
        self.builder.store(values, variable)

    def get(self, variable: Value) -> Value:
        """The values of a variable."""
        return self.builder.load(variable, typ=self._kind(self.computed))

    def _kind(self, dtype: torch.dtype) -> Any:
        return ir.VectorType(_STORED[dtype], self.channels)

    def _words(self, value: int) -> Value:
        return ir.Constant(ir.VectorType(ir.IntType(32), self.channels), [value] * self.channels)

    def _place(self, name: str, pixel: Value) -> Value:
        # Of an array, not of a vector, which would be as long as the next power of two.
        kind = ir.ArrayType(_STORED[self._tensors[name]], self.channels)
        return self.builder.gep(self[name], [pixel], inbounds=True, source_etype=kind)

    def _rounded(self, values: Value) -> Value:
        builder = self.builder
        bits = builder.bitcast(values, ir.VectorType(ir.IntType(32), self.channels))
        odd = builder.and_(builder.lshr(bits, self._words(16)), self._words(1))
        rounded = builder.add(builder.add(bits, self._words(0x7FFF)), odd)
        # Rounding could carry the bits of NaN into those of another number.
        rounded = builder.select(
            builder.fcmp_unordered("uno", values, values), self._words(0x7FC00000), rounded
        )
        return builder.trunc(builder.lshr(rounded, self._words(16)), self._kind(torch.bfloat16))

    def compile(self) -> CompiledLoops:
        """Compile what has been written."""
        self.builder.ret_void()
        return CompiledLoops(str(self._module), [*self._tensors.values()], len(self._arguments))


class CompiledLoops:
    """Compiled code, which is called with tensors and whole numbers."""

    def __init__(self, code: str, tensors: Sequence[torch.dtype], arguments: int) -> None:
        self._types = tensors
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        machine = {"cpu": binding.get_host_cpu_name(), "features": _features().flatten()}
        target = binding.Target.from_default_triple().create_target_machine(**machine, opt=3)
        depends_on = [code, *machine.values(), str(binding.llvm_version_info), __version__]
        self._engine = binding.create_mcjit_compiler(binding.parse_assembly(""), target)
        machine_code = kept(depends_on, lambda: _compiled(code, target))
        self._engine.add_object_file(binding.ObjectFileRef.from_data(machine_code))
        self._engine.finalize_object()
        kinds = [ctypes.c_void_p] * len(tensors) + [ctypes.c_int64] * (arguments - len(tensors))
        self._function = ctypes.CFUNCTYPE(None, *kinds)(self._engine.get_function_address("function"))

    def __call__(self, images: int, tensors: Sequence[Tensor], numbers: Sequence[int] = ()) -> None:
        """Run for a number of images, by as many threads as PyTorch uses.

        Raises TypeError if a tensor has another type than the code was written for, or is not contiguous.
        """
        for tensor, dtype in zip(tensors, self._types, strict=True):
            if tensor.dtype != dtype or not tensor.is_contiguous() or tensor.device.type != "cpu":
                raise TypeError(
                    f"contiguous {dtype} on the CPU expected, found {tensor.dtype} {tensor.stride()}"
                )
        pointers = [tensor.data_ptr() for tensor in tensors]
        threads = min(torch.get_num_threads(), images)
        if threads <= 1:
            self._function(*pointers, 0, images, *numbers)
            return
        bounds = [images * thread // threads for thread in range(threads + 1)]
        calls = [
            _threads(os.getpid(), threads).submit(self._function, *pointers, first, last, *numbers)
            for first, last in itertools.pairwise(bounds)
        ]
        wait(calls)  # also those after one that fails: they write into the tensors
        for call in calls:
            call.result()


def _compiled(code: str, target: binding.TargetMachine) -> bytes:
    """Machine code of what has been written."""
    module = binding.parse_assembly(code)
    passes = binding.create_pass_builder(target, binding.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(module, passes)
    machine_code: bytes = target.emit_object(module)
    return machine_code


def _features() -> binding.FeatureMap:
    """The processor's instruction sets, without those that PyTorch has been told to leave unused."""
    features = binding.get_host_cpu_features()
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "DEFAULT"):
        features.update({name: False for name in features if name.startswith(("avx512", "evex512"))})
    return features


@functools.lru_cache(maxsize=1)
def _threads(process: int, number: int) -> ThreadPoolExecutor:
    """The threads of a process: those of the process that has forked this one do not run here."""
    return ThreadPoolExecutor(number)
