"""The distillation experiment as a job: it starts, tells how it goes, and leaves a student that is picked by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments import jobs
from vitedge_core.experiments.jobs import Job
from vitedge_core.experiments.lesson import ALONE, TAUGHT, WEIGHTS, Point, Result, Settings
from vitedge_core.experiments.worker import working

if TYPE_CHECKING:
    from torch import nn

    from vitedge_core.experiments.distil import Trained
    from vitedge_core.measure.accuracy import Outcome
    from vitedge_core.models.zoo import ModelCard
    from vitedge_core.preprocessing import Preprocessing

KIND = "distil"
TASK = "digits"  # the image set there is endless training data for
MOST_PARAMS = 12_000_000  # of a student; a larger one learns nothing in the time a person waits

Report = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Lesson:
    """An experiment as the store tells it. result is None until it has finished."""

    job: Job
    settings: Settings
    points: tuple[Point, ...]
    result: Result | None


def teachers() -> tuple[ModelCard, ...]:
    """The models that can teach: trained on the images there is training data for."""
    from vitedge_core.models.load import has_weights

    return tuple(card for card in students() if has_weights(card.name))


def students() -> tuple[ModelCard, ...]:
    """The models that can be trained: made for the images there is training data for."""
    from vitedge_core.models.zoo import cards

    return tuple(card for card in cards() if card.task == TASK)


def check(settings: Settings) -> None:
    """Make sure, before a process is started, that the experiment can be carried out.

    Raises:
        VitEdgeError: A model is unknown, not trained, made for other images, or too large to be trained here.
    """
    from vitedge_core.models.load import has_weights
    from vitedge_core.models.zoo import card

    teacher, student = card(settings.teacher), card(settings.student)
    if teacher.task != TASK or not has_weights(teacher.name):
        able = ", ".join(known.name for known in teachers()) or "none yet"
        raise VitEdgeError(f"{teacher.name} cannot teach: a teacher was trained on the digits; there are {able}.")
    if settings.start == WEIGHTS and (student.task != TASK or not has_weights(student.name)):
        raise VitEdgeError(f"{student.name} has no weights trained on the digits here; let it start from scratch.")
    if student.params > MOST_PARAMS:
        raise VitEdgeError(
            f"{student.name} has {student.params:,} parameters and a student here at most {MOST_PARAMS:,}; "
            "choose a smaller one."
        )


def start(settings: Settings) -> str:
    """Start the experiment as a job; returns its name.

    Raises:
        VitEdgeError: It cannot be carried out, or no process can be started.
    """
    check(settings)
    name = jobs.new_name(KIND)
    jobs.start(name, KIND, settings.title, arguments(settings, name))
    return name


def arguments(settings: Settings, name: str) -> list[str]:
    """What to type after `python -m vitedge_core` for this experiment."""
    told = [word for key, value in settings.to_dict().items() for word in (f"--{key}", f"{value}")]
    return ["distil", *told, "--job", name]


def lesson(name: str) -> Lesson:
    """How an experiment stands.

    Raises:
        VitEdgeError: There is none of that name.
    """
    job = jobs.status(name)
    if job.kind != KIND:
        raise VitEdgeError(f"The job {name[:80]} is no distillation.")
    settings, result = jobs.details(name, "settings"), jobs.details(name, "result")
    points = tuple(Point(**point) for point in jobs.details(name, "points") or ())
    return Lesson(job, settings and Settings(**settings), points, result and Result.from_dict(result))


def run_job(
    settings: Settings,
    name: str = "",
    report: Report = lambda share, sentence: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Result:
    """Carry the experiment out in this process; what `python -m vitedge_core distil` does.

    Args:
        settings: What a person chose.
        name: Of the job; a fresh one if empty.
        report: Called with the share done and a sentence.
        cancelled: Asked often, beside the job's own wish to stop.

    Raises:
        VitEdgeError: It cannot be carried out, or the training diverged.
        Cancelled: Somebody asked for it; no student is kept.
    """
    with working(name or jobs.new_name(KIND), KIND, settings.title) as worker:
        worker.keep("settings", settings.to_dict())
        check(settings)

        def tell(share: float, sentence: str) -> None:
            worker.report(share, sentence)
            report(share, sentence)

        def stopping() -> bool:
            return worker.cancelled() or cancelled()

        result = _carry_out(settings, worker.keep, tell, stopping)
        worker.keep("result", result.to_dict())
        tell(1.0, f"{result.model} is ready")
        return result


def _carry_out(
    settings: Settings, keep: Callable[[str, object], None], tell: Report, stopping: Callable[[], bool]
) -> Result:
    from vitedge_core.experiments.distil import train_both
    from vitedge_core.models.load import load

    teacher, (student, prepared) = load(settings.teacher).model, _student(settings)
    points: list[Point] = []

    def report(share: float, both: tuple[Point, Point]) -> None:
        points.extend(both)
        keep("points", [asdict(point) for point in points])
        tops = " and ".join(f"{point.top1:.1%} {point.arm}" for point in both)
        tell(0.95 * share, f"{both[0].images:,} images seen, {tops}")

    trained = train_both(student, teacher, settings, prepared, report=report, cancelled=stopping)
    tell(0.96, "asking all of them about the test images")
    answers = _examined(settings, {TAUGHT: trained.taught, ALONE: trained.alone}, prepared, stopping)
    return _kept(settings, trained, answers)


def _student(settings: Settings) -> tuple[nn.Module, Preprocessing]:
    """The network to train, and how it wants its images; one that was made for others is built anew for the digits."""
    import torch

    from vitedge_core.datasets.wild_digits import CLASSES, SIZE
    from vitedge_core.models.build import build
    from vitedge_core.models.load import load, preprocessing
    from vitedge_core.models.zoo import card

    name = settings.student
    if settings.start == WEIGHTS:
        return load(name).model, preprocessing(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if card(name).task == TASK:
            return build(name), preprocessing(name)
        student = build(name, SIZE, num_classes=len(CLASSES))
        known = preprocessing(name)
        return student, replace(known, size=SIZE)


def _examined(
    settings: Settings, students: dict[str, nn.Module], prepared: Preprocessing, stopping: Callable[[], bool]
) -> dict[str, Outcome]:
    """The answers of everybody to the test images: both students, the teacher, and the student before the lesson."""
    from vitedge_core.datasets.sets import open_images
    from vitedge_core.measure.accuracy import evaluate
    from vitedge_core.models.load import load, preprocessing

    asked = {name: (network, prepared) for name, network in students.items()}
    asked["teacher"] = (load(settings.teacher).model, preprocessing(settings.teacher))
    if settings.start == WEIGHTS:
        asked["before"] = (load(settings.student).model, prepared)
    images = open_images(TASK).unseen()
    return {
        name: evaluate(*who, cancelled=stopping) for name, who in ((n, (m, images, p)) for n, (m, p) in asked.items())
    }


def _kept(settings: Settings, trained: Trained, answers: dict[str, Outcome]) -> Result:
    """Put the student with the teacher where every page finds it."""
    from vitedge_core.measure.accuracy import difference
    from vitedge_core.models import own
    from vitedge_core.models.checkpoint import save_own

    student, top1 = settings.student, {name: outcome.top1 for name, outcome in answers.items()}
    gain = difference(answers[ALONE], answers[TAUGHT])
    told = {name: quantity.to_dict() for name, quantity in {**top1, "gain": gain}.items()}
    facts = {"lesson": settings.to_dict(), "steps": trained.steps, "images": trained.images,
             "seconds": trained.seconds, **told}  # fmt: skip
    architecture = own.facts(student)["architecture"] if own.is_own(student) else student
    card = save_own(trained.taught, architecture, settings.title, facts, task=TASK, top1=top1[TAUGHT])
    return Result(
        card.name, top1["teacher"], top1[TAUGHT], top1[ALONE], gain, top1.get("before"), trained.steps, trained.images,
        trained.seconds,
    )  # fmt: skip
