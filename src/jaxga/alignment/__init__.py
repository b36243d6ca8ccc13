"""Networks that are equal except for the order of their hidden units.

If two hidden units are swapped, with all their incoming and outgoing weights, the outputs of the network do not change.
Two networks can therefore compute the same function with their units in different orders. Crossover then mixes units
that have nothing to do with each other, and the mean of the two networks is useless.

The functions here need networks that are a *chain*: dense layers and convolutions, one after another. Their kernels
are ``[in, out]`` and ``[h, w, in, out]``, each with or without a ``bias [out]``. The channels of a convolution may be
flattened into a dense layer, whose input is then ``[positions, channels]``, flattened (channels last). Operations
between the layers, such as activations and pooling, must be the same for every unit. No connection may bypass a layer;
this is not checked, because params do not show it.
"""

from jaxga.alignment.between import Line, interpolate
from jaxga.alignment.dropout import any_share, first_units, ordered_dropout
from jaxga.alignment.orders import align, aligned, canonical

__all__ = ["Line", "align", "aligned", "any_share", "canonical", "first_units", "interpolate", "ordered_dropout"]
