"""Clans, families, their members and the structures among them: everything the mirror publishes."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from npm_core import alphabet
from npm_core.errors import DataError, SettingsError
from npm_core.progress import track
from npm_core.settings import knob, require_non_negative, require_positive, require_share
from npm_core.universe import evolution, folds
from npm_core.universe.evolution import Drift, Member, Strength
from npm_core.universe.folds import Element, Fold

CLANS = (
    ("NADP_Rossmann", "CL0063", "alpha-beta"),
    ("P-loop_NTPase", "CL0023", "alpha-beta"),
    ("HTH", "CL0123", "alpha-alpha"),
    ("AB_hydrolase", "CL0028", "alpha-beta"),
    ("OB", "CL0021", "beta-beta"),
    ("TetR_C", "CL0174", "alpha-alpha"),
)
"""Name, accession and class of fold; the folds themselves are invented."""

CLUSTER_IDENTITY = 0.5
CLUSTER_COVERAGE = 0.8
"""UniRef50: 50 % identity to, and 80 % overlap with, the longest sequence of the cluster."""

ATTEMPTS = 20
"""Folds drawn before a template counts as impossible."""


@dataclass(frozen=True, kw_only=True)
class UniverseSettings:
    """What the generated universe holds."""

    seed: int = knob(0, "everything is drawn from it")
    clans: int = knob(4, "number of clans, at most 6")
    families_per_clan: int = knob(6, "families of each clan")
    lone_families: int = knob(4, "families of no clan")
    min_depth: int = knob(1, "members of the smallest family")
    max_depth: int = knob(1000, "members of the largest family; the others lie between")
    depth_power: float = knob(
        1.75, "1: depths in even ratios; above 1 there are more shallow families"
    )
    decoys: int = knob(80, "sequences unrelated to anything")
    structures: int = knob(3, "most structures of one family")
    families_without_structure: int = knob(9, "one family in this many has none")
    field_scale: float = knob(
        0.9, "standard deviation of the preferences of one position, log probability"
    )
    coupling_scale: float = knob(
        0.3, "standard deviation of the coupling of a median contact, log probability"
    )
    coupling_spread: float = knob(
        0.9, "standard deviation of the logarithm of the strength of a contact"
    )
    clan_share: float = knob(
        0.4, "share of the variance of the preferences that families of a clan have in common"
    )
    branch_scale: float = knob(0.3, "mean branch length of the phylogeny, Gibbs draws a site")
    indel_rate: float = knob(0.3, "insertions and deletions per unit of branch length")
    tail_length: float = knob(6.0, "mean residues before and after the domain")
    tail_turnover: float = knob(
        0.2, "replacements of a tail by an unrelated one per unit of branch length"
    )

    def __post_init__(self) -> None:
        require_positive(self, "families_without_structure")
        require_non_negative(self, *(field.name for field in fields(self)))
        require_share(self, "clan_share")
        if not 0 <= self.clans <= len(CLANS):
            raise SettingsError(f"clans: {self.clans}, expected 0 to {len(CLANS)}")
        if self.clans * self.families_per_clan + self.lone_families < 1:
            raise SettingsError("a universe needs at least one family")
        if not 1 <= self.min_depth <= self.max_depth:
            raise SettingsError(
                f"min_depth {self.min_depth} and max_depth {self.max_depth}: expected "
                "1 <= min_depth <= max_depth"
            )

    @property
    def strength(self) -> Strength:
        return Strength(
            self.field_scale, self.coupling_scale, self.coupling_spread, self.clan_share
        )

    @property
    def drift(self) -> Drift:
        return Drift(self.indel_rate, self.tail_length, self.tail_turnover)

    def rng(self, *path: int) -> np.random.Generator:
        """A generator of its own for each part, so that a change in one leaves the others alone."""
        return np.random.default_rng([self.seed, *path])


@dataclass(frozen=True)
class Clan:
    """A fold that several families share. Families of no clan have one to themselves."""

    name: str
    accession: str
    kind: str
    elements: tuple[Element, ...]


@dataclass(frozen=True, eq=False)
class Protein:
    """A sequence of the universe.

    Attributes:
        accession: UniProt accession.
        sequence: Upper-case letters.
        cluster: Accession of its UniRef50 representative.
        identity: To the representative, over the domain; 1 for the representative.
        family: Index in `Universe.families`; None for a decoy.
        member: The domain; None for a decoy.
    """

    accession: str
    sequence: str
    cluster: str
    identity: float
    family: int | None = None
    member: Member | None = None

    @property
    def entry_name(self) -> str:
        return f"{self.accession}_9ZZZZ"


@dataclass(frozen=True, eq=False)
class Family:
    """One protein family.

    Attributes:
        accession: Pfam accession, e.g. "PF90001".
        name: Pfam identifier.
        clan: The clan whose fold it has.
        in_clan: False for a lone family.
        fold: (L residues) C-alpha trace of its columns.
        proteins: Members in a fixed order.
        structures: Those of `proteins` that have a structure.
    """

    accession: str
    name: str
    clan: Clan
    in_clan: bool
    fold: Fold
    proteins: tuple[Protein, ...]
    structures: tuple[Protein, ...]


@dataclass(frozen=True, eq=False)
class Universe:
    """All families, and all proteins in the order of their accessions."""

    settings: UniverseSettings
    families: tuple[Family, ...]
    proteins: tuple[Protein, ...]

    def describe(self, protein: Protein) -> str:
        """Recommended name, as databases print it."""
        if protein.family is None:
            return "Uncharacterized protein"
        return f"{self.families[protein.family].name} domain-containing protein"


def generate(settings: UniverseSettings) -> Universe:
    """The universe of these settings; the same on every machine."""
    clans = _clans(settings)
    depths = family_depths(settings)
    grown: list[tuple[Clan, Fold, list[Member]]] = []
    for index, clan in enumerate(track(clans, total=len(clans), what="families evolved")):
        fold = _family_fold(clan, settings.rng(2, index))
        grown.append((clan, fold, _members(settings, index, clan, fold, depths[index])))
    clusters = [_cluster(members) for _, _, members in grown]
    letters = settings.rng(4)
    decoys = [
        evolution.random_letters(int(length), letters)
        for length in letters.integers(60, 181, settings.decoys)
    ]
    accessions = _accessions(sum(len(members) for _, _, members in grown) + len(decoys), settings)
    families = []
    for index, (clan, fold, members) in enumerate(grown):
        names = [next(accessions) for _ in members]
        proteins = tuple(
            Protein(names[own], member.sequence, names[seed], identity, index, member)
            for own, (member, (seed, identity)) in enumerate(
                zip(members, clusters[index], strict=True)
            )
        )
        families.append(_family(settings, index, clan, fold, proteins))
    unrelated = []
    for sequence in decoys:
        accession = next(accessions)
        unrelated.append(Protein(accession, sequence, accession, 1.0))
    everything = [protein for family in families for protein in family.proteins] + unrelated
    return Universe(
        settings,
        tuple(families),
        tuple(sorted(everything, key=lambda protein: protein.accession)),
    )


def family_depths(settings: UniverseSettings) -> list[int]:
    """Members of each family: every clan gets shallow and deep ones."""
    count = settings.clans * settings.families_per_clan + settings.lone_families
    ranks = np.arange(count) / max(count - 1, 1)
    ratio = settings.max_depth / settings.min_depth
    ladder = np.round(settings.min_depth * ratio ** (ranks**settings.depth_power)).astype(int)
    # Dealt out like cards, so that no clan has only deep families.
    hands: list[list[int]] = [[] for _ in range(settings.clans)]
    lone: list[int] = []
    stacks = [*hands, lone]
    room = [settings.families_per_clan] * settings.clans + [settings.lone_families]
    turn = 0
    for depth in ladder[::-1]:
        while len(stacks[turn]) >= room[turn]:
            turn = (turn + 1) % len(stacks)
        stacks[turn].append(int(depth))
        turn = (turn + 1) % len(stacks)
    return [depth for stack in stacks for depth in stack]


def _clans(settings: UniverseSettings) -> list[Clan]:
    """The clan of each family, clan by clan, lone families last."""
    clans = []
    for index in range(settings.clans):
        name, accession, kind = CLANS[index]
        elements = _buildable(kind, index, settings.rng(1, index))
        clans += [Clan(name, accession, kind, elements)] * settings.families_per_clan
    for index in range(settings.lone_families):
        kind = ("beta-beta", "alpha-alpha")[index % 2]
        elements = _buildable(kind, index // 2, settings.rng(1, settings.clans + index))
        clans.append(Clan(f"lone_{index + 1}", "", kind, elements))
    return clans


def _buildable(kind: str, variant: int, rng: np.random.Generator) -> tuple[Element, ...]:
    """A template with a trace."""
    for _ in range(ATTEMPTS):
        elements = folds.template(kind, variant, rng)
        try:
            folds.build(elements, rng)
        except DataError:
            continue
        return elements
    raise DataError(f"no {kind} fold could be traced in {ATTEMPTS} attempts; try another seed")


def _family_fold(clan: Clan, rng: np.random.Generator) -> Fold:
    for _ in range(ATTEMPTS):
        try:
            return folds.build(folds.relative(clan.elements, rng), rng)
        except DataError:
            continue
    raise DataError(
        f"no relative of the fold of {clan.name} could be traced in {ATTEMPTS} attempts; "
        "try another seed"
    )


def _members(
    settings: UniverseSettings, index: int, clan: Clan, fold: Fold, depth: int
) -> list[Member]:
    position = (
        index // settings.families_per_clan
        if index < settings.clans * settings.families_per_clan
        else settings.clans + index
    )
    shared = evolution.clan_fields(len(clan.elements), settings.rng(5, position))
    element, offset = fold.places.T
    rng = settings.rng(3, index)
    potts = evolution.potts_of_fold(fold.contacts, shared[element, offset], settings.strength, rng)
    return evolution.evolve(
        potts,
        fold.in_loop,
        depth=depth,
        branch_scale=settings.branch_scale,
        drift=settings.drift,
        rng=rng,
    )


def _cluster(members: list[Member]) -> list[tuple[int, float]]:
    """Representative (index) of each member and the identity to it: greedy, longest first."""
    columns = np.stack([member.columns for member in members])
    order = sorted(range(len(members)), key=lambda index: -len(members[index].sequence))
    seeds: list[int] = []
    found: dict[int, tuple[int, float]] = {}
    for index in order:
        found[index] = (index, 1.0)
        if seeds:
            both = (columns[seeds] != alphabet.GAP) & (columns[index] != alphabet.GAP)
            same = (columns[seeds] == columns[index]) & both
            identity = same.sum(1) / np.maximum(both.sum(1), 1)
            for place in np.argsort(-identity, kind="stable"):
                if identity[place] < CLUSTER_IDENTITY:
                    break
                seed = seeds[place]
                if _overlap(members[index], members[seed], int(both[place].sum())):
                    found[index] = (seed, float(identity[place]))
                    break
        if found[index][0] == index:
            seeds.append(index)
    return [found[index] for index in range(len(members))]


def _overlap(member: Member, seed: Member, aligned: int) -> bool:
    """Whether enough of the longer sequence is aligned: common columns and tails of one origin."""
    for tail, other in ((member.left, seed.left), (member.right, seed.right)):
        if tail.origin == other.origin:
            aligned += min(len(tail.letters), len(other.letters))
    return aligned >= CLUSTER_COVERAGE * max(len(member.sequence), len(seed.sequence))


def _accessions(count: int, settings: UniverseSettings) -> Iterator[str]:
    """Distinct accessions of UniProt's ten-character form, in an order that tells nothing."""
    digits = "0123456789"
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    names = []
    for number in settings.rng(6).permutation(count):
        number, last = divmod(int(number), 10)
        number, third = divmod(number, 26)
        number, second = divmod(number, 26)
        number, first = divmod(number, 26)
        if number:
            raise SettingsError(f"{count} sequences are more than there are accessions for")
        names.append(f"A0A0X0{letters[first]}{letters[second]}{letters[third]}{digits[last]}")
    return iter(names)


def _family(
    settings: UniverseSettings, index: int, clan: Clan, fold: Fold, proteins: tuple[Protein, ...]
) -> Family:
    in_clan = index < settings.clans * settings.families_per_clan
    if in_clan:
        name = f"{clan.name.replace('-', '_')}_{index % settings.families_per_clan + 1}"
    else:
        name = f"Lone_{index - settings.clans * settings.families_per_clan + 1}"
    has_structure = (index + 1) % settings.families_without_structure != 0
    structures = _structures(proteins, settings) if has_structure else ()
    return Family(f"PF{90001 + index}", name, clan, in_clan, fold, proteins, structures)


def _structures(proteins: tuple[Protein, ...], settings: UniverseSettings) -> tuple[Protein, ...]:
    """One protein from each of the largest clusters: the first the representative itself, the
    next, where there are any, members at least 60 % identical to theirs."""
    clusters: dict[str, list[Protein]] = {}
    for protein in proteins:
        clusters.setdefault(protein.cluster, []).append(protein)
    largest = sorted(clusters.values(), key=lambda cluster: (-len(cluster), cluster[0].accession))
    chosen = []
    for place, cluster in enumerate(largest[: settings.structures]):
        close = [protein for protein in cluster if protein.identity >= 0.6]
        representative = next(p for p in close if p.accession == p.cluster)
        others = [p for p in close if p.accession != p.cluster]
        chosen.append(others[0] if place and others else representative)
    return tuple(chosen)
