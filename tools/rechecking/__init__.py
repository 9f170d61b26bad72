"""The independent checker, one file per idea; `tools/recheck.py` is its command.

Written from the documents (docs/soundness.md, docs/operators.md), not from the library, of which nothing is imported.

Trusted: IEEE double precision; matrix products that are sums of products in some order; sin and cos within 4, tanh, exp
and expm1 within 8 units in the last place. LAPACK is not: a Cholesky factor is a guess, checked by multiplying it out.

reading      files: JSON, safetensors, images, points.csv
arithmetic   rounding: what a sum of so many terms may be off by
norms        proved norms of matrices, and of block-banded ones
convolutions one axis at a time: strips, circulant grids, padding with the map itself
layer        what a kind of operator has to answer; `kinds` holds them, a file per family
chain        layers one after the other: the product of their bounds, and the rounding they add up
together     scales bounded with the linear layer beside them
model        a model directory
certificate  radii, and what is wrong with one that is claimed
command      the command line
"""
