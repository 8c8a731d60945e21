"""`manage.py simulate`: a hospital that talks to Fiducial's sockets as a real one would (docs/simulator.md)."""

import json
import logging
import math
import os
import signal
import time
from argparse import ArgumentTypeError
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event, Lock
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orchestrator.simulator.archives import Archives, introduce_others
from orchestrator.simulator.faults import FAULTS
from orchestrator.simulator.introduction import Introduction, introduce, machine_zone
from orchestrator.simulator.rest import Api
from orchestrator.simulator.waiting import Stopped
from orchestrator.simulator.ward import Hospital, Programme, Report, Targets

_ONCE_PATIENTS, _PATIENTS_PER_DAY = 10, 20
_GENTLE_RATE = 4.0


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ArgumentTypeError("must be a share from 0 to 1")
    return value


def _faults(text: str) -> tuple[float, dict[str, float] | None]:
    """`0.3`, or `name=share,…`: the share of exams in which something goes wrong, and how often each fault comes."""
    if "=" not in text:
        return _share(text), None
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        if name.strip() not in FAULTS:
            raise ArgumentTypeError(f"there is no fault {name.strip()!r}; known are {', '.join(FAULTS)}")
        weights[name.strip()] = _share(share)
    if not 0 < (total := sum(weights.values())) <= 1:
        raise ArgumentTypeError("the shares together must be more than 0 and at most 1")
    return total, weights


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise ArgumentTypeError("must be more than 0")
    return value


def _natural(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ArgumentTypeError("must be at least 1")
    return value


class Command(BaseCommand):
    help = "Run the simulated hospital against the HL7, DICOM and HTTP sockets."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--patients", type=_natural, help="how many patients come (default: no end; 10 with --once)")
        add("--rate", type=_positive, help="exams per minute (default: 4, by the hour of the day; unpaced with --once)")
        add(
            "--faults", type=_faults, default=(0.0, None), metavar="SHARE",
            help="share of exams in which something goes wrong, 0 to 1; or name=share,… for single faults",
        )  # fmt: skip
        add("--seed", type=int, help="same seed, same people, procedures and faults (default: from the clock)")
        add("--once", action="store_true", help="take the patients through, wait for the outcome, report, exit")
        add("--history", type=_natural, metavar="DAYS", help="exams spread over the past DAYS; implies --once")
        add("--report", type=Path, metavar="FILE", help="where the report goes (JSON)")
        add("--wait", type=_positive, default=120.0, help="seconds of patience for anything that should happen")
        add("--archive-port", type=int, default=11113, help="port of the receiving archive, AE title ARCHIVE")
        add("--archives", type=int, choices=(1, 3), default=1, help="3: also NIGHT and LOST, which never answers")
        add(
            "--moody", nargs="?", type=_positive, const=1.0, default=0.0, metavar="RATE",
            help="archives are slow, full or lose their answers now and then; all restart (2: twice as often)",
        )  # fmt: skip
        add("--introduce", action="store_true", help="add the archive to a Fiducial without rules, and a first rule")
        add("--group-cases", action="store_true", help="some studies satisfy two orders (not matched to both yet)")
        add("--reports", action="store_true", help="the report system sends ORU (not taken yet)")
        add("--clerks", type=int, default=0, help="people who work the exceptions queue (default: none)")
        add("--token", default=os.environ.get("FIDUCIAL_TOKEN", ""), help="API token, to read what Fiducial did")

    def handle(self, **options: Any) -> None:
        # Our own lines tell of refused connections; the library's would come once per try.
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
        stop = Event()

        def close(number: int, frame: FrameType | None) -> None:
            stop.set()

        signal.signal(signal.SIGTERM, close)
        signal.signal(signal.SIGINT, close)
        _check_report(options["report"], needed=bool(options["history"]))
        programme, say = _programme(options), self._speaker()
        say(f"the hospital opens: seed {programme.seed}, patients {programme.patients or 'without end'}")
        archives = Archives(say)
        try:
            report = _run(programme, archives, options, stop, say)
        finally:
            stop.set()
            archives.close()
        _tell(report, options["report"], say)
        if report["wrong"] or report["unexplained"]:
            raise CommandError(f"{report['wrong']} wrong, {report['unexplained']} unexplained")
        if programme.once and options["token"] and not report["verified"]:
            raise CommandError("nothing was judged: the API could not be read to the end")

    def _speaker(self) -> Callable[[str], None]:
        """One line per happening, whole lines even from several threads."""
        lock = Lock()

        def say(line: str) -> None:
            with lock:
                self.stdout.write(line)
                self.stdout.flush()

        return say


def _check_report(path: Path | None, *, needed: bool) -> None:
    """Before the first patient comes: only its report says of a history when it happened. Raises CommandError."""
    if path is None and needed:
        raise CommandError("--history needs --report: without the calendar in it nothing can be dated back")
    if path is not None:
        try:
            path.open("a").close()
        except OSError as error:
            raise CommandError(f"the report cannot be written: {path}: {error.strerror}") from error


def _live_by_the_machines_clock() -> None:
    """Django sets every process to its own TIME_ZONE, and this hospital is no part of the product."""
    os.environ["TZ"] = machine_zone()
    time.tzset()


def _run(
    programme: Programme, archives: Archives, options: dict[str, Any], stop: Event, say: Callable[[str], None]
) -> Report:
    """Open the archives, make them known, and let the patients in."""
    there = _open(archives, options["archive_port"], all_three=options["archives"] == 3, once=programme.once)
    _live_by_the_machines_clock()
    targets = _targets(options["token"])
    if targets.token:
        _introduce(targets, programme, archives if there and options["introduce"] else None, stop, say)
    if options["moody"]:
        archives.be_moody(programme.moods, programme.seed, stop)
    report = Hospital(targets, programme, stop, say).run(archives if there else None)
    return {**report, "archives": archives.counts}


def _programme(options: dict[str, Any]) -> Programme:
    once, days = options["once"] or bool(options["history"]), options["history"] or 0
    patients = options["patients"] or (_PATIENTS_PER_DAY * days if days else _ONCE_PATIENTS if once else None)
    return Programme(
        patients=patients,
        rate=options["rate"] or (None if once else _GENTLE_RATE),
        by_the_hour=options["rate"] is None,
        faults=options["faults"][0],
        fault_weights=options["faults"][1],
        group_cases=options["group_cases"],
        reports=options["reports"],
        seed=int(time.time()) if options["seed"] is None else options["seed"],
        once=once,
        history_days=days,
        moods=options["moody"],
        clerks=options["clerks"],
        patience=options["wait"],
        judged=once or options["report"] is not None,
    )


def _targets(token: str) -> Targets:
    def address(name: str, port: int) -> tuple[str, int]:
        host = os.environ.get(f"FIDUCIAL_{name}_HOST") or "127.0.0.1"
        return host, int(os.environ.get(f"FIDUCIAL_{name}_PORT") or port)

    return Targets(
        dicom=address("DICOM", 11112),
        ae_title=os.environ.get("FIDUCIAL_AE_TITLE") or "FIDUCIAL",
        hl7=address("HL7", 2575),
        http=address("HTTP", 8000),
        token=token,
    )


def _open(archives: Archives, port: int, *, all_three: bool, once: bool) -> bool:
    """Open them; False when another hospital on this machine runs one already and this run is a short one."""
    try:
        archives.open(port, all_three=all_three)
    except OSError as error:
        if not once:
            raise CommandError(f"the archive's port {port} cannot be used: {error.strerror or error}") from error
        archives.say(f"no archive of our own: port {port}: {error.strerror or error}")
        archives.close()
        archives.ports.clear()
        return False
    return True


def _introduce(
    targets: Targets, programme: Programme, archives: Archives | None, stop: Event, say: Callable[[str], None]
) -> None:
    """Make the hospital known, and the archives where there are any; an endless one waits for Fiducial endlessly."""
    api = Api(*targets.http, targets.token)
    introduction = Introduction(api, say)
    pieces = [introduction.houses]
    if archives is not None:
        pieces.append(partial(introduction.archive, archives.main.ae_title, archives.main.port))
        pieces.append(partial(introduce_others, api, archives, say))
    try:
        for piece in pieces:
            introduce(piece, stop=stop, patience=programme.patience if programme.once else math.inf, say=say)
    except Stopped:
        say("the hospital closes before it was introduced")


def _tell(report: Report, path: Path | None, say: Callable[[str], None]) -> None:
    """The report into its file, and its sum and every defect as lines."""
    for detail in report["details"]:
        if detail["verdict"] in ("wrong", "unexplained"):
            say(f"{detail['verdict']}: exam {detail['exam']} study {detail['study_instance_uid']}: {detail['reason']}")
    sums = ("studies", "right", "held", "wrong", "unexplained", "not_judged", "messages_sent", "messages_refused")
    say(", ".join(f"{report[name]} {name.replace('_', ' ')}" for name in sums))
    if path is not None:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
