"""Indirect encodings: evolution changes genes, and genes are decoded to a network before it is scored.

An `Encoding` is a pair of functions. `encoded` turns a task or game into one whose parameters are genes. Mutations,
crossover, step sizes and selections see genes alone. A network exists only while it is scored.
"""

from jaxga.encoding.encoded import Encoding, encoded
from jaxga.encoding.shared import everywhere, patches, subspace, tied
from jaxga.encoding.smooth import CPPN, cosines, hypernetwork

__all__ = ["CPPN", "Encoding", "cosines", "encoded", "everywhere", "hypernetwork", "patches", "subspace", "tied"]
