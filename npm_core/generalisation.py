"""The generalisation loss of a Potts model: that of rows of its family which it was not made from.

By it the paper defines the inductive generalisation gain (section 3): L(W(x)) < L(W*), though the
Neural Potts Model learnt from no more rows of the family than the independent one was fitted to.
"""

import numpy as np

from npm_core.alphabet import GAP
from npm_core.arrays import Bools
from npm_core.plm import pseudolikelihood_loss
from npm_core.potts import Potts, require_length
from npm_core.tables import Family


def generalisation_loss(potts: Potts, rows: Family) -> float:
    r"""Mean pseudolikelihood loss of test rows, in nats a residue.

    .. math:: \frac{1}{L \sum_m w^m} \sum_m w^m \sum_i -\log p(x^m_i | x^m_{-i})

    over the L positions at which any of the rows has a residue. Where the target has residues but
    the family no column every row has a gap; what a model says of that does not count.

    Args:
        potts: Of the rows' length.
        rows: The test rows, with their weights; at least one has a residue.

    Raises:
        DataError: The model has another length.
    """
    require_length(potts, rows.length)
    counted = (rows.residues != GAP).any(0)
    loss = pseudolikelihood_loss(
        given_gaps(potts, ~counted), rows.residues[:, counted], rows.weights.astype(np.float64)
    )
    return loss / (rows.meff * int(counted.sum()))


def given_gaps(potts: Potts, gaps: Bools) -> Potts:
    """The Potts model of the other positions, given that these (L,) hold gaps."""
    if not gaps.any():
        return potts
    others = ~gaps
    fields = potts.fields[others] + potts.couplings[np.ix_(others, gaps)][..., GAP].sum(1)
    return Potts(fields, potts.couplings[np.ix_(others, others)])
