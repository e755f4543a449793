"""col2im, window by window: the loop form of `kernels.im2col.col2im`."""

from __future__ import annotations

from cnn_cli.nn.types import Array, Pair


def col2im(columns: Array, start: Pair, stride: Pair, dilation: Pair, row: int, out: Array) -> None:
    """Add windows (groups, n, rows, ow, kh, kw, c / groups) -> (n, h, w, c); adds to `out`.

    Args:
        columns: the gradient of each window, by group.
        start: rows of padding above the images and columns to their left.
        stride, dilation: [h, w].
        row: the first output row of `columns`.
        out: the gradient of the unpadded images.
    """
    groups, images, rows, ow, kh, kw, c = columns.shape
    _, h, w, _ = out.shape
    for g in range(groups):
        for n in range(images):
            for oi in range(rows):
                for i in range(kh):
                    r = (row + oi) * stride[0] - start[0] + i * dilation[0]
                    if r < 0 or r >= h:
                        continue
                    line = out[n, r]
                    for oj in range(ow):
                        left = oj * stride[1] - start[1]
                        window = columns[g, n, oi, oj, i]
                        if groups == 1 and dilation[1] == 1:
                            # The pixels of a row of the window are contiguous.
                            first = max(0, -left)
                            end = max(first, min(kw, w - left))
                            run = window.reshape(-1)[first * c : end * c]
                            pixels = line.reshape(-1)[(left + first) * c : (left + end) * c]
                            for k in range(pixels.size):
                                pixels[k] += run[k]
                            continue
                        for j in range(kw):
                            q = left + j * dilation[1]
                            if q < 0 or q >= w:
                                continue
                            pixels = line[q, g * c : (g + 1) * c]
                            for k in range(c):
                                pixels[k] += window[j, k]
