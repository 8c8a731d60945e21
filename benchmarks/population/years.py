"""Day by day: who came, what was ordered, what arrived, what did not align, and where it went."""

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random

from benchmarks.population import people
from benchmarks.population.bulk import Table
from benchmarks.population.exams import (
    CT,
    EXAMS,
    EXPLICIT,
    HELD,
    HOURS,
    OTHER,
    Exam,
    Person,
    Size,
    hl7,
    moment,
    new_uid,
)
from benchmarks.population.places import Place, Surroundings
from benchmarks.population.tallies import add_facts
from orchestrator.kpis.counting import Fact, Outcome, bucket_name, bucket_of
from orchestrator.models import HL7Application, KpiSubject, fold_name, words_to_keep
from reconciliation.matching import SENTENCES
from routing.datasets import ORIGINAL

DAYS = 730
AHEAD = 14  # days for which steps are scheduled already
TO_READY = dt.timedelta(minutes=2)
TO_SETTLED = dt.timedelta(minutes=37)


@dataclass
class Years:
    size: Size
    around: Surroundings
    to: Mapping[str, Table]
    now: dt.datetime  # UTC, without saying so: all times here are
    random: Random
    _people: list[Person] = field(default_factory=list)
    _ids: dict[str, Iterator[int]] = field(default_factory=dict)
    _sequences: dict[int, int] = field(default_factory=dict)
    # Apart, so that all else stays as it is.
    _took: Random = field(default_factory=lambda: Random(2))  # noqa: S311  rows, not secrets

    def fill(self) -> Iterator[int]:
        """Answers the number of studies after each day; the caller writes what waits when it likes."""
        done = 0
        midnight = self.now.replace(hour=0, minute=0, second=0, microsecond=0)
        last = self.now - dt.timedelta(minutes=1)
        for day in range(DAYS):
            wanted = self.size.studies * (day + 1) // DAYS
            start = midnight - dt.timedelta(days=DAYS - 1 - day)
            # Those of today are spread over what has gone by of it: no hospital does a thousand at one moment.
            share = min(1.0, (last - start) / dt.timedelta(days=1))
            for at in self._times(start, wanted - done):
                self._study(self._exam(start + (at - start) * share))
            done = wanted
            yield done
        for day in range(1, AHEAD + 1):
            start = midnight + dt.timedelta(days=day)
            for at in self._times(start, max(1, self.size.studies // DAYS * (AHEAD + 1 - day) // AHEAD)):
                self._waits(at)

    def remember_sequences(self, shift: int) -> None:
        """What each interface's listener goes on from."""
        for pk, last in self._sequences.items():
            HL7Application.objects.filter(pk=pk).update(
                last_sequence=last + shift, last_message_at=self.now.replace(tzinfo=dt.UTC)
            )

    def _times(self, start: dt.datetime, number: int) -> list[dt.datetime]:
        hours = self.random.choices(range(24), HOURS, k=number)
        return sorted(start + dt.timedelta(hours=hour, seconds=self.random.random() * 3600) for hour in hours)

    def _next(self, name: str) -> int:
        return next(self._ids.setdefault(name, count(1)))

    def _chance(self, share: float) -> bool:
        return self.random.random() < share

    def _person(self, at: dt.datetime, place: Place) -> Person:
        """Somebody new, or who was here before."""
        if self._people and not self._chance(0.4):
            return self.random.choice(self._people)
        pk = self._next("patient")
        sex = self.random.choice("FM")
        born = dt.date(2026, 1, 1) - dt.timedelta(days=int(self.random.triangular(0, 36_000, 24_000)))
        said = people.name(self.random, sex)
        person = Person(pk, said, born, sex, f"{place.weight:02d}{pk:07d}")
        self._people.append(person)
        self.to["patients"].add(
            pk, new_uid(self.random), said, fold_name(said), str(born), sex, moment(at), True, moment(at)
        )  # fmt: skip
        for word in words_to_keep(said):
            self.to["patient_words"].add(pk, word)
        self.to["sites"].add(pk, place.pk)
        self.to["identifiers"].add(pk, person.mrn, place.issuer, "MR", True)
        if self._chance(0.2):
            other = next(each for each in self.around.places if each.pk != place.pk)
            self.to["sites"].add(pk, other.pk)
            self.to["identifiers"].add(pk, f"X{pk:07d}", other.issuer, "MR", False)
        self._message("ADT^A04", at, place, person, None)
        self._event("patient.registered", at, "patient", pk, patient=pk)
        return person

    def _exam(self, at: dt.datetime, *, waits: bool = False) -> Exam:
        """An order of two hours ago (or days), of somebody."""
        place = self.random.choices(self.around.places, [each.weight for each in self.around.places])[0]
        weights = [EXAMS[modality][0] for _, modality in place.stations]
        station, modality = self.random.choices(place.stations, weights)[0]
        ordered = min(at, self.now) - dt.timedelta(hours=self.random.choice((1, 2, 5, 26, 70, 200)))
        person = self._person(ordered, place)
        number = self._next("order")
        description = self.random.choice(EXAMS[modality][1])
        visit = self._visit(ordered, place, person) if self._chance(0.5) else None
        accession = f"{place.code[0]}{at:%y%m%d}{number % 1_000_000:06d}"
        uid = f"1.2.826.0.1.3680043.9.7133.1.{number}"
        status = "SCHEDULED" if waits else "COMPLETED"
        self.to["orders"].add(
            number, place.pk, person.pk, visit, place.interface, accession, f"P{number}", f"F{number}", status,
            self.random.choice(("ROUTINE", "ROUTINE", "ROUTINE", "HIGH", "STAT")), "Pain", moment(ordered),
        )  # fmt: skip
        self.to["procedures"].add(number, number, f"RP{number}", uid, modality + "1", description, description)
        local = at.replace(second=0, microsecond=0)
        self.to["steps"].add(
            number, number, place.pk, f"S{number}", status, modality, json.dumps([station]), f"{local:%Y-%m-%d}",
            f"{local:%H:%M:%S}", moment(local), description,
        )  # fmt: skip
        exam = Exam(at, place, person, station, modality, description, accession, uid, number, number, number)
        self._message("ORM^O01", ordered, place, person, exam)
        links = {"site": place.pk, "patient": person.pk, "order": number}
        self._event("order.placed", ordered, "imagingservicerequest", number, **links)
        self._scheduled(exam, ordered, links)
        return exam

    def _scheduled(self, exam: Exam, at: dt.datetime, links: Mapping[str, int]) -> None:
        """A third of a second after its message for one in two, beyond 5 s for one in a hundred."""
        seconds = round(self._took.lognormvariate(-1.1, 1.15), 6)
        interface = f"RIS {exam.place.code.title()}"
        self._event(
            "order.scheduled", at, "imagingservicerequest", exam.order, "ORDERED", "SCHEDULED",
            {"seconds_since_receipt": seconds, "modality": exam.modality}, ("interface", interface), **links,
        )  # fmt: skip
        bucket = bucket_name(bucket_of(seconds))
        fact = Fact(at, at, exam.place.pk, exam.modality, interface, bucket, "", seconds)
        add_facts(self.to["facts"], KpiSubject.ORDER, exam.order, [fact])

    def _visit(self, at: dt.datetime, place: Place, person: Person) -> int:
        pk = self._next("visit")
        inside = self._chance(0.3)
        self.to["visits"].add(
            pk, person.pk, place.pk, f"V{pk:08d}", place.issuer, "FINISHED", "I" if inside else "O",
            "Ward 3" if inside else "Outpatients", moment(at),
        )  # fmt: skip
        return pk

    def _waits(self, at: dt.datetime) -> None:
        """A step of the days to come."""
        self._exam(at, waits=True)

    def _study(self, exam: Exam) -> None:
        """The exam was done and its images came; one in ten studies has an open case, one in eight had one."""
        at, pk = exam.at, self._next("study")
        links = {"site": exam.place.pk, "patient": exam.person.pk, "order": exam.order}
        for name, before, after, minutes in (
            ("started", "SCHEDULED", "STARTED", -20),
            ("completed", "STARTED", "COMPLETED", -5),
        ):
            self._event(
                f"step.{name}",
                at + dt.timedelta(minutes=minutes),
                "scheduledprocedurestep",
                exam.step,
                before,
                after,
                **links,
            )
        share = self.size.open_cases / max(1, self.size.studies)
        held, troubled, was_held = share * 0.7, share * 0.27, 0.12
        drawn = self.random.random()
        if drawn < held:
            claim = self._images(exam, pk, "HELD", "")
            outcome, reason = Outcome.HELD, self._case_of_claim(exam, pk, claim, is_open=True)
        elif drawn < held + was_held:
            rejected = self._chance(0.05)
            claim = self._images(exam, pk, "REJECTED" if rejected else "MATCHED", "" if rejected else "person")
            outcome = Outcome.PERSON
            reason = self._case_of_claim(exam, pk, claim, is_open=False, rejected=rejected)
        else:
            self._images(exam, pk, "MATCHED", "auto")
            outcome, reason = Outcome.AUTO, ""
            if drawn > 1 - troubled:
                kind, code, words = self.random.choice(OTHER)
                self._case(kind, code, words, exam, pk, is_open=True, subject=("study", pk))
        ready = at + TO_READY
        fact = Fact(ready, ready, exam.place.pk, exam.modality, exam.station, outcome, reason)
        add_facts(self.to["facts"], KpiSubject.STUDY, pk, [fact])
        if self._chance(1.0):
            self.to["accesses"].add(
                moment(at + dt.timedelta(hours=1)), self.random.choice(self.around.people), "somebody", "studies.view",
                "study", str(pk), 1,
            )  # fmt: skip

    def _images(self, exam: Exam, pk: int, identity: str, matched_by: str) -> int:
        """The study with its claim, series, instances, events and, when it is matched, deliveries; the claim's key."""
        at, person, matched = exam.at, exam.person, identity == "MATCHED"
        _, _, least, most = EXAMS[exam.modality]
        number = self.random.randint(least, most)
        several = min(number, self.random.choice((1, 1, 2, 3)))
        claim = self._next("claim")
        date, time = f"{at:%Y%m%d}", f"{at:%H%M%S}"
        ready = at + TO_READY
        self.to["studies"].add(
            pk, exam.uid, exam.place.pk, person.pk if matched else None, identity,
            "DELIVERED" if matched else "RECEIVED", date, time, exam.description, json.dumps([exam.modality]), several,
            number, exam.station, moment(at), moment(ready),
        )  # fmt: skip
        said = person.name if matched_by == "auto" else people.mistyped(self.random, person.name)
        told = "" if not matched and self._chance(0.4) else exam.accession
        order = exam.order if matched else None
        self.to["claims"].add(
            claim, pk, f"{claim:064x}", person.mrn, "", said, f"{person.born:%Y%m%d}", person.sex, told, exam.station,
            f"RP{exam.order}", f"S{exam.order}", exam.modality, exam.station, date, time, exam.description, number,
            identity, matched_by, person.pk if matched else None, order, order, order, "[]",
        )  # fmt: skip
        for word in words_to_keep(said):
            self.to["claim_words"].add(claim, word)
        made = self._instances(exam, pk, claim, number, several)
        links = {"site": exam.place.pk, "patient": person.pk if matched else None, "order": order, "study": pk}
        self._event(
            "study.received", ready, "study", pk, "RECEIVING", "RECEIVED", **{**links, "patient": None, "order": None}
        )
        name = {"MATCHED": "matched", "HELD": "held", "REJECTED": "rejected"}[identity]
        detail = {"matched_by": matched_by} if matched else {}
        self._event(f"claim.{name}", ready, "identityclaim", claim, "PENDING", identity, detail, **links)
        self._event(f"study.{name}", ready, "study", pk, "PENDING", identity, **{**links, "order": None})
        self._event("study.reconciled", ready, "study", pk, **{**links, "order": None})
        if matched:
            self._deliveries(exam, pk, made, ready)
        return claim

    def _instances(self, exam: Exam, study: int, claim: int, number: int, several: int) -> range:
        at, made = exam.at, []
        for index in range(several):
            series = self._next("series")
            here = number // several + (index < number % several)
            self.to["series"].add(
                series, study, f"{exam.uid}.{index + 1}", exam.modality, str(index + 1), exam.description, exam.station,
                here,
            )  # fmt: skip
            for each in range(here):
                pk = self._next("instance")
                made.append(pk)
                self.to["instances"].add(
                    pk, study, series, claim, f"{exam.uid}.{index + 1}.{each + 1}", CT, EXPLICIT, str(each + 1),
                    f"{at:%Y/%m/%d}/{pk:032x}", 524_288, f"{pk * 0x9E3779B97F4A7C15 % 2**256:064x}", exam.station,
                    "127.0.0.1", moment(at + dt.timedelta(seconds=each)),
                )  # fmt: skip
        return range(made[0], made[-1] + 1)

    def _deliveries(self, exam: Exam, study: int, made: range, at: dt.datetime) -> None:
        places = [exam.place.archive]
        if self._chance(0.2):
            places.append(self.around.processor)
        if self._chance(0.05):
            places.append(self.around.night_archive)
        if at > self.now - dt.timedelta(days=7) and self._chance(0.1):
            places.append(self.around.dead_archive)
        for destination, device in places:
            dead = device == self.around.dead_archive[1]
            failed = not dead and len(made) > 1 and self._chance(0.008)
            status = "RETRYING" if dead else "FAILED" if failed else "SENT"
            pk, ended = self._next("delivery"), at + dt.timedelta(seconds=self.random.randint(3, 90))
            error = "Connection refused" if dead else "Processing failure (0110H)" if failed else ""
            self.to["deliveries"].add(
                pk, study, exam.place.pk, destination, ORIGINAL, status, "All to the archive", self.around.version,
                moment(at), None if dead else moment(ended), 6 if dead else 1,
                moment(self.now + dt.timedelta(minutes=4)) if dead else None, error,
            )  # fmt: skip
            for place, instance in enumerate(made):
                bad = failed and place == 0
                row = "QUEUED" if dead else "FAILED" if bad else "SENT"
                self.to["delivered"].add(
                    pk, instance, row, None if dead else 0x0110 if bad else 0, error if bad else "", moment(ended)
                )
            self.to["tries"].add(pk, moment(at), moment(ended), 0 if dead else len(made) - failed, status, error)
            links = {"site": exam.place.pk, "patient": exam.person.pk, "study": study}
            self._event("delivery.sending", at, "delivery", pk, "QUEUED", "SENDING", **links)
            self._event(f"delivery.{status.lower()}", ended, "delivery", pk, "SENDING", status, **links)
            if status == "SENT":
                self.to["hops"].add(study, device, ORIGINAL, moment(ended))

    def _case_of_claim(self, exam: Exam, study: int, claim: int, *, is_open: bool, rejected: bool = False) -> str:
        """Answers its reason."""
        kinds = self.random.choices(HELD, [weight for *_, weight in HELD])[0]
        kind, code, _ = kinds
        words = SENTENCES[code]
        case = self._case(kind, code, words, exam, study, is_open=is_open, subject=("identityclaim", claim))
        if not is_open:
            by, at = self.random.choice(self.around.people), exam.at + dt.timedelta(minutes=40)
            parameters = {"code": "QUALITY"} if rejected else {"order": exam.order}
            self.to["decisions"].add(
                claim, case, "reject" if rejected else "match", json.dumps(parameters), "Seen on the request form.",
                by, moment(at),
            )  # fmt: skip
        return code

    def _case(
        self, kind: str, code: str, words: str, exam: Exam, study: int, *, is_open: bool, subject: tuple[str, int]
    ) -> int:
        """Most open cases wait for anybody; the older ones are over their time."""
        pk, at = self._next("case"), exam.at + dt.timedelta(minutes=3)
        drawn = self.random.random()
        status = (
            "RESOLVED"
            if not is_open
            else "OPEN"
            if drawn < 0.8
            else "CLAIMED"
            if drawn < 0.93
            else "SNOOZED"
            if drawn < 0.97
            else "ESCALATED"
        )
        owner = self.random.choice(self.around.people) if status not in ("OPEN", "SNOOZED") else None
        due = at + dt.timedelta(minutes=60)
        if is_open and self._chance(0.1):
            due = self.now + dt.timedelta(minutes=self.random.randint(-30, 3000))
        done = None if is_open else moment(at + TO_SETTLED)
        of_claim = subject[0] == "identityclaim"
        self.to["cases"].add(
            pk, kind, code, words[:300], status, exam.place.pk, owner, *subject, None, None, study,
            subject[1] if of_claim else None, None, exam.modality, exam.station, exam.accession if of_claim else "",
            self.random.randint(30, 90) if of_claim else None, moment(at), moment(due),
            moment(self.now + dt.timedelta(days=1)) if status == "SNOOZED" else None, done, "matched" if done else "",
        )  # fmt: skip
        links = {"site": exam.place.pk, "study": study}
        detail = {"kind": kind, "reason_code": code, "modality": exam.modality, "source": exam.station}
        self._event("case.opened", at, "exceptioncase", pk, "", "OPEN", detail, **links)
        self._count_case(pk, exam, kind, at, None if is_open else at + TO_SETTLED)
        if status != "OPEN":
            name = {"RESOLVED": "resolved", "CLAIMED": "claimed", "SNOOZED": "snoozed", "ESCALATED": "escalated"}[
                status
            ]
            self._event(f"case.{name}", at + TO_SETTLED, "exceptioncase", pk, "OPEN", status, **links)
        return pk

    def _count_case(self, pk: int, exam: Exam, kind: str, at: dt.datetime, done: dt.datetime | None) -> None:
        about = (exam.place.pk, exam.modality, exam.station)
        facts = [Fact(at, done, *about, Outcome.OPENED, kind)]
        if done:
            facts.append(Fact(done, done, *about, Outcome.RESOLVED, kind))
        add_facts(self.to["facts"], KpiSubject.CASE, pk, facts)

    def _message(self, kind: str, at: dt.datetime, place: Place, person: Person, exam: Exam | None) -> None:
        pk = self._next("message")
        sequence = self._sequences[place.interface] = self._sequences.get(place.interface, 0) + 1
        drawn = self.random.random()
        status = (
            "APPLIED"
            if drawn > 0.008
            else "DUPLICATE"
            if drawn > 0.003
            else "REJECTED"
            if drawn > 0.0006
            else "QUARANTINED"
            if drawn > 0.0002
            else "WAITING"
        )
        applied = status == "APPLIED"
        raw, ack = hl7(kind, at, place, person, exam, pk)
        self.to["messages"].add(
            pk, place.interface, place.pk, sequence, f"{place.code}{pk}", kind, raw, f"{pk:064x}", moment(at),
            "127.0.0.1", moment(at), status, ack, "AA", "" if applied else "PV1-19: required field is empty",
            moment(at) if applied else None, person.pk if applied else None, exam.order if exam and applied else None,
        )  # fmt: skip

    def _event(
        self, name: str, at: dt.datetime, subject: str, pk: int, before: str = "", after: str = "",
        detail: Mapping[str, str | float] | None = None, by: tuple[str, str] = ("system", "Fiducial"), /, *,
        site: int | None = None, patient: int | None = None, order: int | None = None, study: int | None = None,
    ) -> None:  # fmt: skip
        told = json.dumps(dict(detail or {}))
        self.to["events"].add(name, moment(at), subject, pk, before, after, *by, told, site, patient, order, study)
