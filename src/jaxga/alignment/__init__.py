"""Networks that are the same but for the order of their hidden units.

Hidden units may change places, with all weights that come in and go out, and the network stays what it was. So two
networks that agree can look strangers: crossover mixes what does not belong together, and a mean of both is useless.

Here a network is a *chain*: dense layers, ``kernel [in, out]``, and convolutions, ``kernel [h, w, in, out]``, each with
a ``bias [out]`` or none, one after another. The channels of a convolution may be flattened into a dense layer whose
rows are ``[positions, channels]``, as channels last make them. What is between the layers must be the same for every
unit: an activation, a pooling. The params do not tell whether anything bypasses a layer; nothing may.
"""

from jaxga.alignment.between import Line, interpolate
from jaxga.alignment.dropout import any_share, first_units, ordered_dropout
from jaxga.alignment.orders import align, aligned, canonical

__all__ = ["Line", "align", "aligned", "any_share", "canonical", "first_units", "interpolate", "ordered_dropout"]
