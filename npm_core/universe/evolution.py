"""Sequences of a fold: Potts couplings on its contacts, MCMC down a phylogenetic tree."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from npm_core import alphabet
from npm_core.alphabet import GAP
from npm_core.arrays import Float64, States
from npm_core.universe.folds import LONGEST

AMINO_ACIDS = GAP
"""States 0..19 of `alphabet` are the amino acids."""

NEAREST_COUPLED = 3
"""Residues closer along the chain touch whatever their amino acids, so they are not coupled."""

LOCAL_SEPARATION = 6
LOCAL_SHARE = 0.5
"""Contacts closer along the chain than 6 (turns of a helix) are this much weaker."""

BURN_IN = 30
"""Sweeps that bring the root of a family to equilibrium."""

FREQUENCIES = {
    "A": 8.25, "R": 5.53, "N": 4.06, "D": 5.46, "C": 1.38, "Q": 3.93, "E": 6.72, "G": 7.07,
    "H": 2.27, "I": 5.91, "L": 9.65, "K": 5.80, "M": 2.41, "F": 3.86, "P": 4.74, "S": 6.65,
    "T": 5.36, "W": 1.10, "Y": 2.92, "V": 6.86,
}  # fmt: skip
"""Percent of each amino acid in proteins (Swiss-Prot)."""

HYDROPATHY = {
    "A": 1.8, "R": -4.5, "N": -3.5, "D": -3.5, "C": 2.5, "Q": -3.5, "E": -3.5, "G": -0.4,
    "H": -3.2, "I": 4.5, "L": 3.8, "K": -3.9, "M": 1.9, "F": 2.8, "P": -1.6, "S": -0.8,
    "T": -0.7, "W": -0.9, "Y": -1.3, "V": 4.2,
}  # fmt: skip
"""Kyte and Doolittle 1982."""

VOLUME = {
    "A": 88.6, "R": 173.4, "N": 114.1, "D": 111.1, "C": 108.5, "Q": 143.8, "E": 138.4, "G": 60.1,
    "H": 153.2, "I": 166.7, "L": 166.7, "K": 168.6, "M": 162.9, "F": 189.9, "P": 112.7, "S": 89.0,
    "T": 116.1, "W": 227.8, "Y": 193.6, "V": 140.0,
}  # fmt: skip
"""cubic angstrom, Zamyatnin 1972."""

CHARGE = {"R": 1.0, "K": 1.0, "D": -1.0, "E": -1.0}


def _scale(values: dict[str, float]) -> Float64:
    """(20,) values in the order of `alphabet`, mean 0 and variance 1."""
    scale = np.array([values.get(letter, 0.0) for letter in alphabet.ALPHABET[:AMINO_ACIDS]])
    return (scale - scale.mean()) / scale.std()


def _background() -> Float64:
    values = np.array([FREQUENCIES[letter] for letter in alphabet.ALPHABET[:AMINO_ACIDS]])
    return values / values.sum()


BACKGROUND = _background()
"""(20,) frequencies of the amino acids."""


@dataclass(frozen=True)
class Strength:
    """How strongly a family's structure shapes its sequences, all in units of log probability.

    Attributes:
        fields: Standard deviation of the preferences of one position.
        couplings: Standard deviation over amino-acid pairs of the coupling of a median contact.
        spread: Standard deviation of the logarithm of a contact's strength. A few strong contacts
            are what a shallow alignment can show; without spread all appear at the same depth.
        shared: Share (0 to 1) of the fields' variance that the families of a clan have in common.
    """

    fields: float
    couplings: float
    spread: float
    shared: float


@dataclass(frozen=True, eq=False)
class SparsePotts:
    """A Potts model coupled only along contacts, laid out for sampling.

    Attributes:
        fields: (L, 20).
        neighbours: (L, K) positions in contact, padded with 0.
        couplings: (L, K, 21, 20): the neighbour's state, then one's own; 0 for a gap or padding.
    """

    fields: Float64
    neighbours: NDArray[np.int64]
    couplings: Float64

    @property
    def length(self) -> int:
        return len(self.fields)

    def logits(self, states: States, sites: NDArray[np.int64]) -> Float64:
        """(B, 20) log probability, but for a constant, of the amino acids at one site a row.

        Args:
            states: (B, L).
            sites: (B,).
        """
        around = np.take_along_axis(states, self.neighbours[sites], axis=1)
        slots = np.arange(self.neighbours.shape[1])
        return self.fields[sites] + self.couplings[sites[:, None], slots, around].sum(1)


def clan_fields(elements: int, rng: np.random.Generator) -> Float64:
    """(2 x elements, offsets, 20) preferences by place in a clan's template, variance 1."""
    return rng.standard_normal((2 * elements, LONGEST, AMINO_ACIDS))


def potts_of_fold(
    contacts: NDArray[np.bool_], shared: Float64, strength: Strength, rng: np.random.Generator
) -> SparsePotts:
    """Couplings from hydrophobicity, charge and volume on contacts; fields from burial and chance.

    The energies are those of every family; their weights and the strength of each contact are a
    family's own.

    Args:
        contacts: (L, L).
        shared: (L, 20) preferences the family inherits from its clan.
    """
    length = len(contacts)
    hydropathy, charge, volume = _scale(HYDROPATHY), _scale(CHARGE), _scale(VOLUME)
    weights = rng.lognormal(0.0, 0.3, 3)
    # Like meets like in hydropathy, unlike in charge and in volume.
    energy = (
        weights[0] * np.multiply.outer(hydropathy, hydropathy)
        - weights[1] * np.multiply.outer(charge, charge)
        - weights[2] * np.multiply.outer(volume, volume)
    )
    energy *= strength.couplings / energy.std()
    apart = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    coupled = contacts & (apart >= NEAREST_COUPLED)
    scale = np.triu(rng.lognormal(0.0, strength.spread, (length, length)), 1)
    scale = (scale + scale.T) * np.where(apart < LOCAL_SEPARATION, LOCAL_SHARE, 1.0)
    width = max(1, int(coupled.sum(1).max()))
    neighbours = np.zeros((length, width), dtype=np.int64)
    couplings = np.zeros((length, width, AMINO_ACIDS + 1, AMINO_ACIDS))
    for site in range(length):
        around = np.flatnonzero(coupled[site])
        neighbours[site, : around.size] = around
        couplings[site, : around.size, :AMINO_ACIDS] = scale[site, around, None, None] * energy
    degree = coupled.sum(1)
    burial = (degree - degree.mean()) / max(degree.std(), 1e-9)
    own = rng.standard_normal((length, AMINO_ACIDS))
    preference = np.sqrt(strength.shared) * shared + np.sqrt(1 - strength.shared) * own
    fields = np.log(BACKGROUND) + 0.4 * np.multiply.outer(burial, hydropathy)
    return SparsePotts(fields + strength.fields * preference, neighbours, couplings)


def sample(
    potts: SparsePotts, states: States, attempts: NDArray[np.int64], rng: np.random.Generator
) -> States:
    """Gibbs sampling: `attempts[b]` times, redraw a random site of row b given the rest.

    Gaps stay gaps: a deleted site is no longer there to mutate.

    Args:
        states: (B, L).
        attempts: (B,).
    """
    order = np.argsort(-attempts, kind="stable")
    current = states[order]
    remaining = attempts[order]
    for step in range(int(attempts.max(initial=0))):
        active = int(np.searchsorted(-remaining, -step))
        rows = np.arange(active)
        sites = rng.integers(0, potts.length, active)
        logits = potts.logits(current[:active], sites)
        weights = np.exp(logits - logits.max(1, keepdims=True))
        ladder = weights.cumsum(1)
        chosen = (ladder < rng.random((active, 1)) * ladder[:, -1:]).sum(1)
        occupied = current[rows, sites] != GAP
        current[rows[occupied], sites[occupied]] = chosen[occupied]
    result = np.empty_like(states)
    result[order] = current
    return result


@dataclass(frozen=True)
class Tree:
    """A rooted binary tree; parents come before their children.

    Attributes:
        parents: (nodes,), -1 for the root.
        lengths: (nodes,) of the branch above each node, in sweeps of the sequence.
        leaves: (depth,) nodes without children.
    """

    parents: NDArray[np.int64]
    lengths: Float64
    leaves: NDArray[np.int64]

    def generations(self) -> list[NDArray[np.int64]]:
        """Nodes by their number of ancestors, the root first."""
        level = np.zeros(len(self.parents), dtype=np.int64)
        for node in range(1, len(level)):
            level[node] = level[self.parents[node]] + 1
        return [np.flatnonzero(level == depth) for depth in range(int(level.max()) + 1)]


def yule_tree(leaves: int, branch_scale: float, rng: np.random.Generator) -> Tree:
    """Split random leaves until there are enough; branches are gamma distributed.

    Args:
        branch_scale: Mean branch length, sweeps.
    """
    parents = [-1]
    tips = [0]
    while len(tips) < leaves:
        parent = tips.pop(int(rng.integers(len(tips))))
        tips += [len(parents), len(parents) + 1]
        parents += [parent, parent]
    lengths = rng.gamma(2.0, branch_scale / 2, len(parents))
    lengths[0] = 0.0
    return Tree(np.array(parents), lengths, np.array(sorted(tips)))


@dataclass(frozen=True)
class Tail:
    """Residues before or after a domain; tails of one origin are related by descent."""

    origin: int
    letters: str


@dataclass(frozen=True, eq=False)
class Member:
    """One protein of a family: a domain between two tails.

    Attributes:
        columns: (L,) states of the family's columns, gap where deleted.
        inserts: Letters inserted after a column (0-based).
    """

    columns: States
    inserts: dict[int, str]
    left: Tail
    right: Tail

    @property
    def domain(self) -> str:
        letters = alphabet.decode(self.columns)
        return "".join(
            letter.replace("-", "") + self.inserts.get(column, "")
            for column, letter in enumerate(letters)
        )

    @property
    def sequence(self) -> str:
        return self.left.letters + self.domain + self.right.letters

    @property
    def start(self) -> int:
        """First residue of the domain, 1-based."""
        return len(self.left.letters) + 1

    @property
    def end(self) -> int:
        return len(self.left.letters) + len(self.domain)


@dataclass(frozen=True)
class Drift:
    """What changes beside substitutions.

    Attributes:
        indels: Insertions and deletions in loops, per sweep of branch length.
        tail_length: Mean residues of a tail.
        tail_turnover: Rate at which a tail is replaced by an unrelated one, per sweep.
    """

    indels: float
    tail_length: float
    tail_turnover: float


@dataclass
class _Lineage:
    """What a node of the tree passes on beside its columns."""

    left: Tail
    right: Tail
    inserts: dict[int, str] = field(default_factory=dict)
    deleted: frozenset[int] = frozenset()


def evolve(
    potts: SparsePotts,
    in_loop: NDArray[np.bool_],
    *,
    depth: int,
    branch_scale: float,
    drift: Drift,
    rng: np.random.Generator,
) -> list[Member]:
    """Members of one family: a root in equilibrium, then MCMC along the branches of a tree.

    Args:
        in_loop: (L,), the columns in which insertions and deletions are tolerated.
        depth: Number of members.
        branch_scale: Mean branch length, in sweeps (one Gibbs draw a site).
    """
    tree = yule_tree(depth, branch_scale, rng)
    lineages = _lineages(tree, in_loop, drift, rng)
    states = np.zeros((len(tree.parents), potts.length), dtype=np.uint8)
    start = rng.choice(AMINO_ACIDS, (1, potts.length), p=BACKGROUND).astype(np.uint8)
    states[0] = sample(potts, start, np.array([BURN_IN * potts.length]), rng)[0]
    for nodes in tree.generations()[1:]:
        inherited = states[tree.parents[nodes]]
        for row, node in enumerate(nodes):
            inherited[row, list(lineages[node].deleted)] = GAP
        attempts = rng.poisson(tree.lengths[nodes] * potts.length)
        states[nodes] = sample(potts, inherited, attempts, rng)
    return [
        Member(states[leaf], lineages[leaf].inserts, lineages[leaf].left, lineages[leaf].right)
        for leaf in tree.leaves
    ]


def random_letters(length: int, rng: np.random.Generator) -> str:
    """Unrelated residues of average composition."""
    return alphabet.decode(rng.choice(AMINO_ACIDS, length, p=BACKGROUND).astype(np.uint8))


def _lineages(
    tree: Tree, in_loop: NDArray[np.bool_], drift: Drift, rng: np.random.Generator
) -> list[_Lineage]:
    """Tails, insertions and deletions of every node."""
    loop = np.flatnonzero(in_loop)
    origins = iter(range(4 * len(tree.parents)))

    def new_tail(first: str) -> Tail:
        length = int(rng.geometric(1 / (1 + drift.tail_length))) - 1
        return Tail(next(origins), first + random_letters(length, rng))

    def passed_on(tail: Tail, length: float, first: str) -> Tail:
        if rng.random() < 1 - np.exp(-drift.tail_turnover * length):
            return new_tail(first)
        letters = list(tail.letters)
        for site in rng.integers(0, max(len(letters), 1), rng.poisson(length * len(letters))):
            letters[site] = random_letters(1, rng)
        return Tail(tail.origin, first + "".join(letters)[len(first) :])

    lineages = [_Lineage(new_tail("M"), new_tail(""))]
    for node in range(1, len(tree.parents)):
        parent, length = lineages[tree.parents[node]], float(tree.lengths[node])
        child = _Lineage(
            passed_on(parent.left, length, "M"),
            passed_on(parent.right, length, ""),
            dict(parent.inserts),
            parent.deleted,
        )
        for site in rng.choice(loop, rng.poisson(drift.indels * length)) if loop.size else ():
            if rng.random() < 0.5:
                run = range(site, site + int(rng.integers(1, 3)))
                gone = {column for column in run if column < len(in_loop) and in_loop[column]}
                child.deleted |= gone
            else:
                child.inserts[int(site)] = random_letters(int(rng.integers(1, 4)), rng)
        lineages.append(child)
    return lineages
