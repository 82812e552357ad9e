"""Products of small matrices in compiled code.

BLAS copies its factors into an order of its own before it multiplies. With a minibatch of 16 rows that takes as
long as the product. Here the product is computed in tiles, each of which stays in the registers of the processor
while rows of the second factor are read where they are.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import config, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from mfenvs.engine.compile import solver

COLUMNS = 16
"""Number of columns of a tile."""


class Tiles(NamedTuple):
    """The shapes in which tiles are kept in registers."""

    tall: int
    """Number of rows of most tiles."""
    short: int
    """Number of rows of the tiles that make up what tall ones leave."""
    lanes: int
    """Numbers in a register; a divisor of ``COLUMNS``."""


AVX2, AVX512 = Tiles(6, 4, 8), Tiles(8, 8, 16)
"""At least eight registers of sums, as many as keep two units of fused multiplication and addition busy, and no
more than there are."""


def _tiles_of_this_processor() -> Tiles:
    features: str = cpu_target.target_context.codegen().magic_tuple()[2]
    return AVX512 if "+avx512f" in features.split(",") else AVX2


def tile_product(height: int, lanes: int) -> Callable[..., Any]:
    """Make an instruction that writes a tile of a product out = A B, for use in compiled functions.

    Parameters
    ----------
    height:
        Number of rows of the tile.
    lanes:
        Numbers in a register.

    Returns
    -------
    The instruction.

    Its arguments are a, the steps in memory from one row of A and from one column to the next, b, out, the first
    row and the first column of the tile, and the number of columns of A. Arrays must be C-contiguous; A is a, or
    a^T, by the steps. Nothing is checked when it runs.
    """

    @intrinsic
    def write_tile(
        typing: Any, a: Any, row_step: Any, column_step: Any, b: Any, out: Any, row: Any, column: Any, n: Any
    ) -> Any:
        """The types of the instruction's arguments, which are checked, and what writes its machine code."""
        for array in (a, b, out):
            if array.layout != "C":
                raise TypingError(f"a tile is of C-contiguous arrays, got {array}")
        number = types.intp
        signature = types.void(a, number, number, b, out, number, number, number)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            """Write the machine code: sums in registers over the columns of A, then their way to memory."""
            a, row_step, column_step, b, out, row, column, n = arguments
            a, b, out = (
                context.make_array(kind)(context, builder, array)
                for kind, array in ((signature.args[0], a), (signature.args[3], b), (signature.args[4], out))
            )
            register = ir.VectorType(context.get_value_type(signature.args[4].dtype), lanes)
            undefined = ir.Constant(register, ir.Undefined)
            first_lane = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            n_registers = COLUMNS // lanes

            def at(data: Any, index: Any, step: Any) -> Any:
                """Address of ``data[index * step]``."""
                return builder.gep(data, [builder.mul(index, step)])

            def as_registers(address: Any) -> list[Any]:
                """Addresses of the registers' parts of a row of the tile that begins at an address."""
                starts = (context.get_constant(number, k * lanes) for k in range(n_registers))
                return [builder.bitcast(builder.gep(address, [k]), register.as_pointer()) for k in starts]

            rows = [context.get_constant(number, i) for i in range(height)]
            kept: Callable[..., Any] = cgutils.alloca_once
            sums = [[kept(builder, register) for _ in range(n_registers)] for _ in rows]
            for of_row in sums:
                for total in of_row:
                    builder.store(ir.Constant(register, [0.0] * lanes), total)
            first = at(a.data, row, row_step)
            of_b, of_out = (builder.extract_value(array.shape, 1) for array in (b, out))
            with cgutils.for_range(builder, n) as loop:
                row_of_b = builder.gep(at(b.data, loop.index, of_b), [column])
                read = [builder.load(address, align=4) for address in as_registers(row_of_b)]
                column_of_a = at(first, loop.index, column_step)
                for i, of_row in zip(rows, sums, strict=True):
                    factor = builder.load(at(column_of_a, i, row_step))
                    lane = builder.insert_element(undefined, factor, ir.Constant(ir.IntType(32), 0))
                    repeated = builder.shuffle_vector(lane, undefined, first_lane)
                    for total, values in zip(of_row, read, strict=True):
                        # "contract" allows the fused operation where the processor has it.
                        product = builder.fmul(repeated, values, flags=("contract",))
                        builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
            for i, of_row in zip(rows, sums, strict=True):
                begins = builder.gep(at(out.data, builder.add(row, i), of_out), [column])
                for total, address in zip(of_row, as_registers(begins), strict=True):
                    builder.store(builder.load(total), address, align=4)
            return context.get_dummy_value()

        return signature, generate

    write: Callable[..., Any] = write_tile
    return write


TILES = _tiles_of_this_processor()
write_tall, write_short = (tile_product(height, TILES.lanes) for height in (TILES.tall, TILES.short))
IS_COMPILED = not config.ENABLE_CUDASIM  # type: ignore[attr-defined]
"""Where kernels are simulated in Python there are no tiles."""
MOST_SHORT = 2
"""Number of short tiles in a column of tiles, at most."""


@solver
def number_of_short(out: Any) -> Any:
    """How many short tiles are beside tall ones in each column of tiles; -1 if there are no whole tiles."""
    if IS_COMPILED and out.shape[1] % COLUMNS == 0:
        for n_short in range(MOST_SHORT + 1):
            left = out.shape[0] - n_short * TILES.short
            if left >= 0 and left % TILES.tall == 0:
                return n_short
    return -1


@solver
def write_product(a: Any, row_step: Any, column_step: Any, n: Any, b: Any, out: Any, n_short: Any) -> None:
    """Write a product tile by tile; a, its steps and the number of columns n are those of :func:`tile_product`."""
    first_tall = n_short * TILES.short
    for column in range(0, out.shape[1], COLUMNS):
        for row in range(0, first_tall, TILES.short):
            write_short(a, row_step, column_step, b, out, row, column, n)
        for row in range(first_tall, out.shape[0], TILES.tall):
            write_tall(a, row_step, column_step, b, out, row, column, n)


@solver
def multiply(a: Any, b: Any, out: Any) -> None:
    """Write a b to ``out``; all are C-contiguous and of one type of numbers."""
    n_short = number_of_short(out)
    if n_short < 0:
        np.dot(a, b, out)
    else:
        write_product(a, a.shape[1], 1, a.shape[1], b, out, n_short)


@solver
def multiply_transposed(a: Any, b: Any, out: Any) -> None:
    """Write a^T b to ``out``; all are C-contiguous and of one type of numbers."""
    n_short = number_of_short(out)
    if n_short < 0:
        np.dot(a.T, b, out)
    else:
        write_product(a, 1, a.shape[1], a.shape[0], b, out, n_short)
