"""The metrics by name: what may be asked for, and what measures it on this machine.

Most metrics can be measured in two ways: by the field's own estimator, which needs weights and
packages, and by a stand-in. Which one it is, is settled once for all of a benchmark (`choose`),
and told to workers in JSON; each of them makes exactly that one (`make_metric`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from evaluation.makers import Maker
from evaluation.methods.base import Mode
from evaluation.methods.needs import lacking
from evaluation.metrics.background import BackgroundPsnr
from evaluation.metrics.base import Metric
from evaluation.metrics.cost import PeakGpuMemory, PeakMemory, SecondsPerFrame
from evaluation.metrics.fid import INCEPTION, Fid
from evaluation.metrics.flicker import GroundFlicker
from evaluation.metrics.frechet_embedded import RandomFrechet, random_offer
from evaluation.metrics.fvd import I3D, VIDEOMAE, ContentDebiasedFvd, Fvd
from evaluation.metrics.identity import Identity
from evaluation.metrics.image_quality import LIQE, ImageQuality
from evaluation.metrics.kid import Kid
from evaluation.metrics.light_error import LightError
from evaluation.metrics.light_instability import LightInstability
from evaluation.metrics.lights import LIGHTS
from evaluation.metrics.lpips import SourceLpips, TemporalLpips
from evaluation.metrics.perceivers import PERCEIVERS
from evaluation.metrics.pose import Pose
from evaluation.metrics.video_quality import VideoQuality
from infra.errors import UsageError
from stages.models.arcface.embed import ARCFACE
from stages.models.offer import Offer
from stages.quality import QUALITY_MODELS

_OWN = Offer("")  # needs nothing that the core has not


@dataclass(frozen=True)
class Estimator:
    """A way to measure something.

    Attributes:
        make: Makes the metric.
        offer: Weights and packages that it needs.
        forms: What `make` is called with, for each metric that comes of it.
    """

    make: Callable[..., Metric]
    offer: Offer = _OWN
    forms: tuple[Mapping[str, Any], ...] = ({},)


@dataclass(frozen=True)
class MetricEntry:
    """What may be asked for.

    Attributes:
        about: What it tells, in a line.
        estimators: Ways to measure it by name, the best first.
        optional: It is measured only where it is asked for.
        modes: In which it says something.
    """

    about: str
    estimators: Mapping[str, Estimator]
    optional: bool = False
    modes: frozenset[Mode] = frozenset({"relight", "animate"})


@dataclass(frozen=True)
class Chosen:
    """What a benchmark measures.

    Attributes:
        makers: How a worker on any machine makes each metric.
        left_out: Why a metric cannot be measured here, by the name that it was asked for.
    """

    makers: tuple[Maker, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def _by_light(make: Callable[..., Metric], *forms: Mapping[str, Any]) -> dict[str, Estimator]:
    """A metric of the light on faces, by every estimator of it."""
    return {
        name: Estimator(partial(make, name), light.offer, forms or ({},))
        for name, light in LIGHTS.items()
    }


def _by_eye(make: Callable[..., Metric]) -> dict[str, Estimator]:
    """A perceptual distance, by LPIPS on AlexNet or by its stand-in."""
    return {
        name: Estimator(partial(make, name), PERCEIVERS[name].offer) for name in ("alex", "random")
    }


_RELIT: frozenset[Mode] = frozenset({"relight"})

METRICS: Mapping[str, MetricEntry] = {
    "light_error": MetricEntry(
        "LE: distance of the light on the output from the light that was wanted",
        _by_light(
            LightError,
            *(
                {"colours": colours, "scale_free": scale_free}
                for scale_free in (False, True)
                for colours in ("rgb", "luminance")
            ),
        ),
    ),
    "identity": MetricEntry(
        "ID: whether the output shows the same person",
        {
            **{name: Estimator(partial(Identity, name), offer) for name, offer in ARCFACE.items()},
            "local_binary": Estimator(partial(Identity, "local_binary")),
        },
    ),
    "lpips": MetricEntry(
        "LPIPS between adjacent frames: how restless the output is", _by_eye(TemporalLpips)
    ),
    "lpips_source": MetricEntry(
        "LPIPS of the output's frames to the driving film's", _by_eye(SourceLpips), modes=_RELIT
    ),
    "lpips_vgg": MetricEntry(
        "LPIPS between adjacent frames, on VGG-16",
        {"vgg": Estimator(partial(TemporalLpips, "vgg"), PERCEIVERS["vgg"].offer)},
        optional=True,
    ),
    "image_quality": MetricEntry(
        "IQ: how good single frames look",
        {
            "liqe": Estimator(partial(ImageQuality, "liqe"), LIQE),
            "naturalness": Estimator(partial(ImageQuality, "naturalness")),
        },
    ),
    "video_quality": MetricEntry(
        "VQ: how good the clip looks",
        {
            "fastervqa": Estimator(partial(VideoQuality, "fastervqa"), QUALITY_MODELS["fastervqa"]),
            "naturalness": Estimator(partial(VideoQuality, "naturalness")),
        },
    ),
    "video_quality_dataset": MetricEntry(
        "VQ by FasterVQA, of frames all over the clip",
        {
            "fastervqa": Estimator(
                partial(VideoQuality, "fastervqa", "dataset"), QUALITY_MODELS["fastervqa"]
            )
        },
        optional=True,
    ),
    "fid": MetricEntry(
        "FID: how far the outputs' frames, as a set, are from the driving films'",
        {
            "inception": Estimator(Fid, INCEPTION),
            "random": Estimator(partial(RandomFrechet, "pictures"), random_offer("pictures")),
        },
    ),
    "fid_clean": MetricEntry(
        "FID of frames resized as clean-fid does",
        {"inception": Estimator(partial(Fid, "clean-fid"), INCEPTION)},
        optional=True,
    ),
    "fid_infinite": MetricEntry(
        "FID extrapolated to infinitely many frames",
        {"inception": Estimator(partial(Fid, infinite=True), INCEPTION)},
        optional=True,
    ),
    "kid": MetricEntry(
        "KID: the same by a kernel, without FID's bias where frames are few",
        {"inception": Estimator(Kid, INCEPTION)},
    ),
    "fvd": MetricEntry(
        "FVD: how far the outputs' clips, as a set, are from the driving films'",
        {
            "i3d": Estimator(Fvd, I3D),
            "random": Estimator(partial(RandomFrechet, "clips"), random_offer("clips")),
        },
    ),
    "fvd_infinite": MetricEntry(
        "FVD extrapolated to infinitely many clips",
        {"i3d": Estimator(partial(Fvd, infinite=True), I3D)},
        optional=True,
    ),
    "fvd_content_debiased": MetricEntry(
        "FVD in features of how things move rather than of what they are",
        {"videomae": Estimator(ContentDebiasedFvd, VIDEOMAE)},
        optional=True,
    ),
    "pose": MetricEntry(
        "POSE: distance of the face's keypoints from the driving film's", _by_light(Pose)
    ),
    "light_instability": MetricEntry(
        "How much the light changes from frame to frame, beyond the driving film's",
        _by_light(LightInstability),
    ),
    "ground_flicker": MetricEntry(
        "How much the ground changes from frame to frame, beyond the driving film's",
        {"selfie": Estimator(GroundFlicker)},
    ),
    "background_psnr": MetricEntry(
        "How well what is not the portrait was left alone",
        {"selfie": Estimator(BackgroundPsnr)},
        modes=_RELIT,
    ),
    "seconds_per_frame": MetricEntry(
        "How long the method took", {"recorded": Estimator(SecondsPerFrame)}
    ),
    "peak_memory": MetricEntry(
        "How much memory the method took", {"recorded": Estimator(PeakMemory)}
    ),
    "peak_gpu_memory": MetricEntry(
        "How much memory of a GPU the method took",
        {"recorded": Estimator(PeakGpuMemory)},
        optional=True,
    ),
}
"""What may be asked for, in the order of a report's columns."""


def choose(keys: Sequence[str] = (), mode: Mode | None = None) -> Chosen:
    """Settle what measures each metric: the best that this machine has weights and packages for.

    Nothing is loaded or fetched.

    Args:
        keys: Some of `METRICS`; without, all that are not optional.
        mode: What is benchmarked; without, all metrics are there whatever they say of it.

    Raises:
        UsageError: There is no such metric.
    """
    for key in keys:
        _entry(key)
    makers: list[Maker] = []
    left_out: dict[str, str] = {}
    for key in dict.fromkeys(keys) or _usual(mode):
        entry = METRICS[key]
        if mode and mode not in entry.modes:
            left_out[key] = f"it says nothing in mode {mode}"
            continue
        reason = ""
        for name, estimator in entry.estimators.items():
            reason = lacking(estimator.offer.packages, estimator.offer.weights)
            if not reason:
                makers += [_maker(key, name, form) for form in estimator.forms]
                break
        else:
            # Of the last one, which needs the least.
            left_out[key] = reason
    return Chosen(tuple(makers), left_out)


def make_metric(name: str, **arguments: Any) -> Metric:
    """The metric that was settled on, whatever this machine has; the factory of every `Maker`.

    Args:
        name: One of `METRICS`.
        arguments: ``estimator``, one of the metric's; beside it one of that estimator's forms.

    Raises:
        UsageError: There is no such metric, or it has no such estimator.
    """
    entry = _entry(name)
    chosen = arguments.pop("estimator", None)
    try:
        estimator = entry.estimators[chosen]
    except KeyError:
        raise UsageError(
            f"{name} is not measured by {chosen!r}",
            hint=f"it is by {', '.join(entry.estimators)}",
        ) from None
    return estimator.make(**arguments)


def _entry(key: str) -> MetricEntry:
    try:
        return METRICS[key]
    except KeyError:
        raise UsageError(
            f"no metric is called {key!r}", hint=f"there are {', '.join(METRICS)}"
        ) from None


def _usual(mode: Mode | None) -> list[str]:
    """What is measured where nothing is asked for."""
    return [
        key
        for key, entry in METRICS.items()
        if not entry.optional and (mode is None or mode in entry.modes)
    ]


def _maker(key: str, estimator: str, form: Mapping[str, Any]) -> Maker:
    arguments = {"name": key, "estimator": estimator, **form}
    return Maker(factory=f"{__name__}:{make_metric.__name__}", arguments=arguments)
