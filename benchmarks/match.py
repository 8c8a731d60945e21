"""The matcher on claims whose order is known: how long a match takes, and how many are right, held and wrong.

A claim is an order's own data with at most one fault; 200 candidates are offered. No peer does this: ratios are null.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.ours import Installation
from benchmarks.rounds import OURS, Plan, Row, summary
from reconciliation.matching import Candidate, Claim, Identifier, match

_CANDIDATES = 200
_FAMILY = ("BERG", "LINDQVIST", "NOVAK", "OKAFOR", "ROSSI", "SCHMIDT", "TANAKA", "VARGA")
_GIVEN = ("ADA", "BORIS", "CLARA", "DAVID", "ELENA", "FARID", "GRETA", "HUGO")
_DAY = "20261127"


def _orders(number: int, chance: random.Random) -> list[Candidate]:
    return [
        Candidate(
            key=key,
            identifiers=frozenset({Identifier("NORTH", f"{100_000 + key}")}),
            patient_name=f"{chance.choice(_FAMILY)}^{chance.choice(_GIVEN)}",
            birth_date=f"19{chance.randint(30, 99)}{chance.randint(1, 12):02}{chance.randint(1, 28):02}",
            sex=chance.choice("MF"),
            accession_number=f"A{key}",
            study_instance_uid=f"2.25.{10**20 + key}",
            requested_procedure_id=f"R{key}",
            sps_id=f"S{key}",
            modality="CT",
            stations=("CT_1",),
            start_date=_DAY,
        )
        for key in range(number)
    ]


def _claim(order: Candidate) -> Claim:
    (identifier,) = order.identifiers
    return Claim(
        identifier=identifier,
        patient_name=order.patient_name,
        birth_date=order.birth_date,
        sex=order.sex,
        accession_number=order.accession_number,
        study_instance_uid=order.study_instance_uid,
        requested_procedure_id=order.requested_procedure_id,
        sps_id=order.sps_id,
        modality="CT",
        station="CT_1",
        study_date=_DAY,
    )


def _of_another(claim: Claim, other: Candidate) -> Claim:
    """The wrong entry chosen at the modality: all order numbers are another order's."""
    return replace(
        claim, accession_number=other.accession_number, study_instance_uid=other.study_instance_uid,
        requested_procedure_id=other.requested_procedure_id, sps_id=other.sps_id,
    )  # fmt: skip


# Each takes the claim and another patient's order.
_FAULTS: Mapping[str, Callable[[Claim, Candidate], Claim]] = {
    "none": lambda claim, other: claim,
    "typo in the name": lambda claim, other: replace(
        claim, patient_name=claim.patient_name[:2] + claim.patient_name[3:]
    ),
    "no accession number": lambda claim, other: replace(claim, accession_number=""),
    "no study UID of ours": lambda claim, other: replace(claim, study_instance_uid="2.25.1"),
    "identifier without issuer": lambda claim, other: replace(claim, identifier=Identifier("", claim.identifier.value)),
    "another order's numbers": _of_another,
    "another accession number": lambda claim, other: replace(claim, accession_number=other.accession_number),
    "another patient's identifier": lambda claim, other: replace(claim, identifier=next(iter(other.identifiers))),
}


# Of those, what leaves an order factor and two patient factors, and no conflict: to hold it is a failure too. All else
# is for a person: a match by itself is wrong there, whichever order it finds.
_SUFFICIENT = frozenset({"none", "no accession number", "no study UID of ours"})


def run(plan: Plan, ours: Installation, folder: Path) -> Iterator[Row]:
    chance = random.Random(1)  # noqa: S311  the same claims in every run
    orders = _orders(_CANDIDATES, chance)
    counts = {"right": 0, "held": 0, "wrong": 0}
    times: list[float] = []
    sufficient: list[bool] = []
    for number in range(plan.claims):
        truth, other = chance.sample(orders, 2)
        kind, fault = list(_FAULTS.items())[number % len(_FAULTS)]
        claim = fault(_claim(truth), other)
        started = time.perf_counter()
        found = match(claim, orders).match
        times.append((time.perf_counter() - started) * 1000)
        is_right = kind in _SUFFICIENT and found is not None and found.candidate.key == truth.key
        if kind in _SUFFICIENT:
            sufficient.append(is_right)
        counts["held" if found is None else "right" if is_right else "wrong"] += 1
    times.sort()
    settings = (
        f"{_CANDIDATES} candidates, {plan.claims} claims with {len(_FAULTS) - 1} kinds of faults; pure, no database"
    )
    for metric, rank in (("p50", 0.5), ("p95", 0.95)):
        yield summary(f"match, {metric}", OURS, settings, metric, "ms", [times[int(rank * (len(times) - 1))]], None)
    for outcome, count in counts.items():
        yield summary(f"match, {outcome}", OURS, settings, "count", "claims", [count], None)
    share = 100 * sum(sufficient) / len(sufficient)
    yield summary("match, right where data suffice", OURS, settings, "share", "%", [share], None)
