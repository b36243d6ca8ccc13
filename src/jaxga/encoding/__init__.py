"""Indirect encodings: evolution moves genes, and a network is made of them before it is scored.

An `Encoding` is a pair of functions, and `encoded` makes any task or game one whose parameters are genes. Mutations,
crossover, step sizes and selections see genes alone; a network exists while it is scored.
"""

from jaxga.encoding.encoded import Encoding, encoded
from jaxga.encoding.shared import everywhere, patches, subspace, tied
from jaxga.encoding.smooth import CPPN, cosines, hypernetwork

__all__ = ["CPPN", "Encoding", "cosines", "encoded", "everywhere", "hypernetwork", "patches", "subspace", "tied"]
