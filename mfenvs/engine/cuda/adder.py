"""An array to which many threads add at once, for rules that are written for one thread.

The rule ``count`` of a game adds to its argument ``counts``: ``counts[k] += mass``. On a GPU many agents do so at
the same time, and a plain addition (read, add, write) would lose what another thread added in between. Here the
rule gets an :class:`Adder` in the place of the array. Reading one of its entries gives zero, and writing adds
atomically, so that the same statement is an atomic addition. A slice of it is an adder of that part of the array.
"""

import operator
from typing import Any

from numba import cuda
from numba.cuda import types
from numba.cuda.extending import core_models, intrinsic, overload, register_model


@cuda.jit(device=True)  # type: ignore[untyped-decorator]
def add_atomically(array: Any, index: Any, amount: Any) -> None:
    """Add to an entry of an array, to which other threads add too."""
    cuda.atomic.add(array, index, amount)


class Adder:
    """View of an array whose entries can only be added to, within a kernel. Here it is simulated in Python."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __getitem__(self, index: Any) -> Any:
        return Adder(self.array[index]) if isinstance(index, slice) else self.array.dtype.type(0)

    def __setitem__(self, index: Any, amount: Any) -> None:
        add_atomically(self.array, index, amount)


class AdderType(types.Type):  # type: ignore[misc]
    """The compiler's type of an :class:`Adder`."""

    def __init__(self, array: Any) -> None:
        self.array = array
        super().__init__(name=f"Adder({array})")


@register_model(AdderType)
class _AdderModel(core_models.StructModel):  # type: ignore[misc]
    def __init__(self, manager: Any, adder_type: Any) -> None:
        super().__init__(manager, adder_type, [("array", adder_type.array)])


@intrinsic  # type: ignore[untyped-decorator]
def _adder(typing_context: Any, array: Any) -> Any:
    """Make an adder from an array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        proxy = context.make_helper(builder, signature.return_type)
        proxy.array = arguments[0]
        return proxy._getvalue()

    return AdderType(array)(array), generate


@intrinsic  # type: ignore[untyped-decorator]
def _array_of(typing_context: Any, adder: Any) -> Any:
    """The array of an adder."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_helper(builder, signature.args[0], arguments[0]).array

    return adder.array(adder), generate


# An overload's implementation must have the very signature of the overload, annotations included.


@overload(Adder)  # type: ignore[untyped-decorator]
def _make(array: Any) -> Any:
    def make(array: Any) -> Any:
        return _adder(array)

    return make if isinstance(array, types.Array) else None


@overload(operator.getitem)  # type: ignore[untyped-decorator]
def _read(adder: Any, index: Any) -> Any:
    if not isinstance(adder, AdderType):
        return None
    number = adder.array.dtype

    def part(adder: Any, index: Any) -> Any:
        return _adder(_array_of(adder)[index])

    if isinstance(index, types.SliceType):
        return part

    def zero(adder: Any, index: Any) -> Any:
        return number(0)

    return zero


@overload(operator.setitem)  # type: ignore[untyped-decorator]
def _add(adder: Any, index: Any, amount: Any) -> Any:
    def add(adder: Any, index: Any, amount: Any) -> Any:
        add_atomically(_array_of(adder), index, amount)

    return add if isinstance(adder, AdderType) else None
