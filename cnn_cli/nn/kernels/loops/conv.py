"""Convolution by its definition, one multiply-add at a time.

    y[n, r, q, o] = bias[o] + sum over i, j, c of
        x[n, r * stride - top + i * dilation, q * stride - left + j * dilation, first + c]
        * weight[i, j, c, o]

where pixels outside the image count as 0 and `first` is the first input channel of the group
that output channel o belongs to. Each function adds to its last argument.
"""

from __future__ import annotations

from cnn_cli.nn.types import Array, Pair


def conv_forward(
    x: Array, weight: Array, start: Pair, stride: Pair, dilation: Pair, y: Array
) -> None:
    """Add the convolution of `x` to `y`, which holds the bias or zeros.

    Args:
        x: (n, h, w, c).
        weight: (kh, kw, c / groups, o).
        start: rows of zeros above the image and columns of zeros to its left.
        stride, dilation: [h, w].
        y: (n, oh, ow, o), added to.
    """
    n, h, w, c = x.shape
    kh, kw, c_group, o = weight.shape
    o_group = o // (c // c_group)
    _, oh, ow, _ = y.shape
    for image in range(n):
        for row in range(oh):
            for column in range(ow):
                for i in range(kh):
                    x_row = row * stride[0] - start[0] + i * dilation[0]
                    if x_row < 0 or x_row >= h:
                        continue
                    for j in range(kw):
                        x_column = column * stride[1] - start[1] + j * dilation[1]
                        if x_column < 0 or x_column >= w:
                            continue
                        for out in range(o):
                            first = out // o_group * c_group
                            total = y[image, row, column, out]
                            for k in range(c_group):
                                pixel = x[image, x_row, x_column, first + k]
                                total += pixel * weight[i, j, k, out]
                            y[image, row, column, out] = total


def conv_weight_gradient(
    x: Array, dy: Array, start: Pair, stride: Pair, dilation: Pair, dweight: Array
) -> None:
    """Add the gradient of the weight to `dweight`; shapes as in `conv_forward`."""
    n, h, w, c = x.shape
    kh, kw, c_group, o = dweight.shape
    o_group = o // (c // c_group)
    _, oh, ow, _ = dy.shape
    for i in range(kh):
        for j in range(kw):
            for image in range(n):
                for row in range(oh):
                    x_row = row * stride[0] - start[0] + i * dilation[0]
                    if x_row < 0 or x_row >= h:
                        continue
                    for column in range(ow):
                        x_column = column * stride[1] - start[1] + j * dilation[1]
                        if x_column < 0 or x_column >= w:
                            continue
                        for k in range(c_group):
                            for out in range(o):
                                first = out // o_group * c_group
                                pixel = x[image, x_row, x_column, first + k]
                                dweight[i, j, k, out] += pixel * dy[image, row, column, out]


def conv_input_gradient(
    dy: Array, weight: Array, start: Pair, stride: Pair, dilation: Pair, dx: Array
) -> None:
    """Add the gradient of the input to `dx`; shapes as in `conv_forward`."""
    n, h, w, c = dx.shape
    kh, kw, c_group, o = weight.shape
    o_group = o // (c // c_group)
    _, oh, ow, _ = dy.shape
    for image in range(n):
        for row in range(oh):
            for column in range(ow):
                for i in range(kh):
                    x_row = row * stride[0] - start[0] + i * dilation[0]
                    if x_row < 0 or x_row >= h:
                        continue
                    for j in range(kw):
                        x_column = column * stride[1] - start[1] + j * dilation[1]
                        if x_column < 0 or x_column >= w:
                            continue
                        for out in range(o):
                            first = out // o_group * c_group
                            slope = dy[image, row, column, out]
                            for k in range(c_group):
                                dx[image, x_row, x_column, first + k] += (
                                    slope * weight[i, j, k, out]
                                )
