# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""Equality and hash of 5-tuples, word by word."""

import cython
from cython.cimports.libc.string import memcpy


@cython.locals(x=cython.ulonglong[5], y=cython.ulonglong[5])
def flow_equal(a, b):
    memcpy(x, a, 40)
    memcpy(y, b, 40)
    return ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]) | (x[4] ^ y[4])) == 0


@cython.locals(w=cython.ulonglong[5], k=cython.ulonglong, h=cython.ulonglong)
def flow_hash(key, seed):
    """Every multiplication depends on the seed, so nobody can prepare collisions without it."""
    memcpy(w, key, 40)
    k = fold_multiply(seed ^ HASH_A, HASH_B)
    h = fold_multiply(w[0] ^ k, w[1] ^ HASH_A ^ (k << 1))
    h = fold_multiply(w[2] ^ h, w[3] ^ k ^ HASH_B)
    h = fold_multiply(w[4] ^ h, k ^ HASH_C)
    return cython.cast("uint32_t", h ^ (h >> 32))
