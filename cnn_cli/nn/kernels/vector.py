"""The innermost parts of some loops in vector instructions.

From the plain loops, LLVM keeps neither all sums of a tile of `loops.direct` in registers nor those
of a pixel of `loops.resample` in one. Here they are written in LLVM's intermediate representation,
which is the same for every processor: one vector of `CHANNELS` numbers per pixel, which LLVM
divides into registers, or of `LANES` sums of bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cnn_cli.nn.kernels.loops import direct, resample
from cnn_cli.nn.kernels.loops.direct import PIXELS
from cnn_cli.nn.kernels.loops.resample import HALF, LANES, SHIFT
from cnn_cli.nn.kernels.paths import CHANNELS

FUSED = ("contract",)  # fused multiply-add: rounded once

ALIGNMENT = 4
"""In bytes: vectors of float32 need not be aligned to more than one of them."""


def vectors() -> dict[Callable[..., Any], Any]:
    """Return the intrinsics that numba calls in place of the loops."""
    from numba.extending import intrinsic

    return {
        direct.product_tile: intrinsic(_product_tile),
        direct.channels_tile: intrinsic(_channels_tile),
        resample.sum_pixels: intrinsic(_sum_of_pixels(None)),
        resample.sum_two: intrinsic(_sum_of_pixels(2)),
        resample.sum_three: intrinsic(_sum_of_pixels(3)),
    }


def _product_tile(
    context: Any,
    x: Any,
    source: Any,
    weight: Any,
    bias: Any,
    bounds: Any,
    place: Any,
    steps: Any,
    target: Any,
    y: Any,
) -> Any:
    def write(
        builder: Any,
        x: Any,
        source: Any,
        weight: Any,
        bias: Any,
        bounds: Any,
        place: Any,
        steps: Any,
        target: Any,
        y: Any,
    ) -> None:
        first, start, channel = place
        rows, step, run = steps
        windows = [builder.gep(x, [number]) for number in _loads(builder, source, first)]
        panel = builder.gep(weight, [start])

        def add_row(i: Any, sums: list[Any]) -> list[Any]:
            distance = builder.mul(i, step)
            lines = [builder.gep(window, [distance]) for window in windows]
            row = builder.gep(panel, [_times_channels(builder, builder.mul(i, run))])

            def add_number(k: Any, sums: list[Any]) -> list[Any]:
                factors = _vector(builder, builder.gep(row, [_times_channels(builder, k)]))
                return [
                    _add_product(builder, total, _spread(builder, _load(builder, line, k)), factors)
                    for line, total in zip(lines, sums, strict=True)
                ]

            return _loop(builder, run, sums, add_number)

        before = _vector(builder, builder.gep(bias, [channel]))
        sums = _loop(builder, rows, [before] * PIXELS, add_row)
        _store(builder, sums, bounds, _loads(builder, target, first), builder.gep(y, [channel]))

    return _typed(write, x, source, weight, bias, bounds, place, steps, target, y)


def _channels_tile(
    context: Any,
    x: Any,
    source: Any,
    x_taps: Any,
    weight: Any,
    weight_taps: Any,
    bias: Any,
    bounds: Any,
    place: Any,
    target: Any,
    y: Any,
) -> Any:
    def write(
        builder: Any,
        x: Any,
        source: Any,
        x_taps: Any,
        weight: Any,
        weight_taps: Any,
        bias: Any,
        bounds: Any,
        place: Any,
        target: Any,
        y: Any,
    ) -> None:
        first, channel, count = place
        here = builder.gep(x, [channel])
        windows = [builder.gep(here, [number]) for number in _loads(builder, source, first)]
        weights = builder.gep(weight, [channel])

        def add_tap(k: Any, sums: list[Any]) -> list[Any]:
            tap = _load(builder, x_taps, k)
            factors = _vector(builder, builder.gep(weights, [_load(builder, weight_taps, k)]))
            return [
                _add_product(builder, total, _vector(builder, builder.gep(window, [tap])), factors)
                for window, total in zip(windows, sums, strict=True)
            ]

        before = _vector(builder, builder.gep(bias, [channel]))
        sums = _loop(builder, count, [before] * PIXELS, add_tap)
        _store(builder, sums, bounds, _loads(builder, target, first), builder.gep(y, [channel]))

    return _typed(write, x, source, x_taps, weight, weight_taps, bias, bounds, place, target, y)


def _sum_of_pixels(taps: int | None) -> Callable[..., Any]:
    """Return the intrinsic that sums `taps` weighted pixels; None: the number is in `place`."""

    def sum_pixels(context: Any, x: Any, weight: Any, place: Any, y: Any) -> Any:
        def write(builder: Any, x: Any, weight: Any, place: Any, y: Any) -> None:
            from llvmlite import ir

            source, start, target = place[:3]
            wide = ir.VectorType(ir.IntType(32), LANES)
            pixels, weights = builder.gep(x, [source]), builder.gep(weight, [start])

            def add_pixel(t: Any, sums: list[Any]) -> list[Any]:
                address = builder.gep(pixels, [builder.mul(t, t.type(3))])
                pixel = builder.zext(_vector(builder, address, LANES, 1), wide)
                factor = _spread(builder, _load(builder, weights, t), LANES)
                return [builder.add(sums[0], builder.mul(pixel, factor))]

            sums = [ir.Constant(wide, [int(HALF)] * LANES)]
            if taps is None:
                sums = _loop(builder, place[3], sums, add_pixel)
            else:
                for t in range(taps):
                    sums = add_pixel(source.type(t), sums)
            whole = builder.ashr(sums[0], ir.Constant(wide, [int(SHIFT)] * LANES))
            narrow = builder.trunc(whole, ir.VectorType(ir.IntType(8), LANES))
            address = builder.bitcast(builder.gep(y, [target]), narrow.type.as_pointer())
            builder.store(narrow, address).align = 1

        return _typed(write, x, weight, place, y)

    return sum_pixels


def _typed(write: Callable[..., None], *kinds: Any) -> Any:
    """Return the signature of an intrinsic, and the function that appends its instructions.

    Args:
        write: is given the builder and, for each argument, the address of an array or the values
            of a tuple.
        kinds: numba's types of the arguments.
    """
    from numba.core import cgutils, types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values = [
            cgutils.create_struct_proxy(kind)(context, builder, argument).data
            if isinstance(kind, types.Array)
            else cgutils.unpack_tuple(builder, argument)
            for kind, argument in zip(kinds, arguments, strict=True)
        ]
        write(builder, *values)
        return context.get_dummy_value()

    return types.void(*kinds), generate


def _store(builder: Any, sums: list[Any], bounds: Any, places: list[Any], y: Any) -> None:
    """Clamp the sums and write them to y."""
    low, high = (_spread(builder, bound) for bound in bounds)
    for total, place in zip(sums, places, strict=True):
        # Comparisons with a NaN are false.
        above = builder.select(builder.fcmp_ordered("<", total, low), low, total)
        clamped = builder.select(builder.fcmp_ordered(">", above, high), high, above)
        address = builder.bitcast(builder.gep(y, [place]), clamped.type.as_pointer())
        builder.store(clamped, address).align = ALIGNMENT


def _add_product(builder: Any, total: Any, numbers: Any, factors: Any) -> Any:
    product = builder.fmul(numbers, factors, flags=FUSED)
    return builder.fadd(total, product, flags=FUSED)


def _loop(
    builder: Any, count: Any, values: list[Any], body: Callable[[Any, list[Any]], list[Any]]
) -> list[Any]:
    """`values = body(i, values)` for each i below the count."""
    before = builder.block
    head = builder.append_basic_block("head")
    inside = builder.append_basic_block("inside")
    behind = builder.append_basic_block("behind")
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(count.type)
    i.add_incoming(count.type(0), before)
    now = [builder.phi(value.type) for value in values]
    for phi, value in zip(now, values, strict=True):
        phi.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", i, count), inside, behind)
    builder.position_at_end(inside)
    after = body(i, now)
    i.add_incoming(builder.add(i, count.type(1)), builder.block)
    for phi, value in zip(now, after, strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(behind)
    return now


def _times_channels(builder: Any, number: Any) -> Any:
    return builder.mul(number, number.type(CHANNELS))


def _load(builder: Any, array: Any, number: Any) -> Any:
    return builder.load(builder.gep(array, [number]))


def _loads(builder: Any, array: Any, first: Any) -> list[Any]:
    """`PIXELS` whole numbers of an array."""
    return [_load(builder, array, builder.add(first, first.type(pixel))) for pixel in range(PIXELS)]


def _vector(builder: Any, address: Any, lanes: int = CHANNELS, alignment: int = ALIGNMENT) -> Any:
    """Some numbers from an address on."""
    from llvmlite import ir

    vector = ir.VectorType(address.type.pointee, lanes)
    loaded = builder.load(builder.bitcast(address, vector.as_pointer()))
    loaded.align = alignment
    return loaded


def _spread(builder: Any, number: Any, lanes: int = CHANNELS) -> Any:
    """A vector of one number."""
    from llvmlite import ir

    empty = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    one = builder.insert_element(empty, number, ir.IntType(32)(0))
    return builder.shuffle_vector(one, empty, everywhere)
