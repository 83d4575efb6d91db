"""What a recipe says: the model, the data, the diffusion, the conditions, and how it is trained.

The defaults are those of the recipe ``lcvd``, which is ours; ``lcvd-paper`` and ``lcvd-tiny`` are
TOML files beside this module that say only what they change, as a user's own recipe does.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from infra.tables import Table

Stream = Literal["shading", "reference", "landmarks"]
"""A picture that an adapter looks at: shading renders, the reference's picture, keypoint maps."""

Detail = Literal["generated", "original"]
"""`generated`: the portrait as the model made it, as LCVD has it; `original`: the film's own
portrait, with the model's change of light."""

_Count = Annotated[int, Field(ge=1)]
_Decay = Annotated[float, Field(ge=0, lt=1)]


class ModelTable(Table):
    """``[model]``: the network, and where its weights come from."""

    start: Literal["svd-xt", "lcvd", "random"] = "svd-xt"
    """Weights to begin with: `svd-xt`, Stable Video Diffusion's UNet with new adapters; `lcvd`, the
    authors' trained UNet and adapters; `random`, none."""
    adapters: tuple[Stream, ...] = ("shading", "reference")
    """Pictures that are summed into the UNet's input, each by an adapter of its own."""
    channels: tuple[_Count, ...] = Field((320, 640, 1280, 1280), min_length=1)
    """Width of each level of the UNet, the finest first."""
    heads: tuple[_Count, ...] = (5, 10, 20, 20)
    """Attention heads of each level. They change no tensor's shape, but every result."""
    layers: int = Field(2, ge=1, le=4)
    """Residual blocks a level."""
    token: Literal["clip", "colours"] = "clip"
    """What the UNet's cross-attention sees of the reference: `clip`, its CLIP embedding (ViT-H/14);
    `colours`, means of a coarse grid of it, which needs no weights."""
    token_width: int = Field(1024, ge=16)
    """Numbers of that token."""
    latents: Literal["vae", "blocks"] = "vae"
    """What the diffusion runs on: `vae`, the latents of sd-vae-ft-mse; `blocks`, the low
    frequencies of the pictures' 8x8 blocks (an orthonormal cosine transform): no weights."""
    luma: int = Field(20, ge=1, le=64)
    """Frequencies of a block's brightness that `blocks` keeps."""
    chroma: int = Field(3, ge=1, le=64)
    """Frequencies of each of a block's two colours that `blocks` keeps."""

    @model_validator(mode="after")
    def _check(self) -> "ModelTable":
        if len(self.channels) != len(self.heads):
            raise ValueError(f"channels has {len(self.channels)} levels, heads {len(self.heads)}")
        if not self.adapters or len(set(self.adapters)) != len(self.adapters):
            raise ValueError(f"adapters = {list(self.adapters)}: one or more, each once")
        return self


class AugmentTable(Table):
    """``[data.augment]``: changes drawn once a sample, the same for all of its streams."""

    flip: float = Field(0.5, ge=0, le=1)
    """Share of the samples that are mirrored, their light and keypoint maps with them."""
    zoom: float = Field(0.15, ge=0, lt=1)
    """Most that a square cut out of the pictures may be smaller than they are, as a share."""
    colour: float = Field(0.0, ge=0, le=1)
    """Most that hue, saturation and brightness change; with 1 any hue may become any other. Shading
    and keypoint maps stay as they are."""
    light: float = Field(0.0, ge=0, le=1)
    """Share of the samples whose frames, all but the reference, are lit anew: their pixels by the
    ratio of two shadings (a quotient image), their shading render to match."""

    @property
    def keeps_pictures(self) -> bool:
        """Whether pictures are shown as they are, or mirrored: as the latent cache holds them."""
        return self.zoom == self.colour == self.light == 0


class DataTable(Table):
    """``[data]``: what is read of a release."""

    size: int = Field(512, ge=64, le=2048, multiple_of=64)
    """Width and height of the pictures in pixels; larger ones are averaged down."""
    frames: int = Field(16, ge=2, le=128)
    """Frames of a sample; the first slot holds the reference."""
    stride: tuple[int, int] = (1, 4)
    """From each frame to the next, in frames of the clip: drawn from this range, both included."""
    conditions: Literal["render", "film"] = "render"
    """Where keypoint maps and shading come from: `render` draws them from the release's numbers,
    without loss; `film` takes the release's films, where it has them."""
    workers: int = Field(2, ge=0, le=64)
    """Processes a rank that read and decode; 0 reads in the training process itself."""
    prefetch: int = Field(2, ge=1, le=64)
    """Samples that each of them keeps ready."""
    wait_seconds: float = Field(300.0, gt=0)
    """A sample that takes longer than this to come ends the run: its reader hangs."""
    max_lost: int = Field(16, ge=0)
    """Samples that may turn out damaged, and are replaced by others, before the run stops."""
    augment: AugmentTable = AugmentTable()

    @model_validator(mode="after")
    def _check(self) -> "DataTable":
        low, high = self.stride
        if not 1 <= low <= high:
            raise ValueError(f"stride = {list(self.stride)}: 1 <= first <= second is needed")
        return self


class DiffusionTable(Table):
    """``[diffusion]``: noise and loss (EDM, Karras et al. 2022, with SVD's v-prediction)."""

    sigma_mean: float = 0.7
    """Mean of the noise level's logarithm."""
    sigma_std: float = Field(1.6, gt=0)
    """Standard deviation of the noise level's logarithm."""
    ground_noise_mean: float = -3.0
    """Mean of the logarithm of the noise put on the reference before it becomes the ground."""
    ground_noise_std: float = Field(0.5, ge=0)
    """Standard deviation of that logarithm; drawn for each sample by itself."""
    mask_weight: float = Field(1.0, ge=0)
    """Weight of the loss within the portrait's mask, beside that of the whole picture."""
    fps_id: int = Field(6, ge=0)
    """What the UNet is told of the frame rate (SVD's own: frames a second less 1)."""
    motion_id: int = Field(127, ge=0)
    """What the UNet is told of the amount of motion (SVD's motion bucket)."""


class ConditionsTable(Table):
    """``[conditions]``: which conditions a sample is trained with, drawn for each by itself.

    `branches` draws one of the sets that sampling asks for: ``full`` (shading, reference, token,
    ground), ``unlit`` (all but the shading), ``bare`` (the ground alone), ``posed`` (landmarks in
    the place of shading). `paper` drops each condition by itself, as LCVD's code does.
    """

    scheme: Literal["branches", "paper"] = "branches"
    """How conditions are dropped."""
    full: float = Field(0.7, ge=0, le=1)
    """Share of the samples with all conditions, in scheme `branches`."""
    unlit: float = Field(0.2, ge=0, le=1)
    """Share of the samples without shading, in scheme `branches`."""
    bare: float = Field(0.1, ge=0, le=1)
    """Share of the samples with their ground alone, in scheme `branches`."""
    posed: float = Field(0.0, ge=0, le=1)
    """Share of the samples with landmarks in the place of shading, in scheme `branches`."""

    @model_validator(mode="after")
    def _check(self) -> "ConditionsTable":
        total = self.full + self.unlit + self.bare + self.posed
        if abs(total - 1) > 1e-6:
            raise ValueError(f"full + unlit + bare + posed is {total:g}; it must be 1")
        return self


class OptimizerTable(Table):
    """``[optimizer]``: how the weights move."""

    name: Literal["adamw", "adamw8bit"] = "adamw"
    """`adamw` is PyTorch's; `adamw8bit` is that of bitsandbytes, with states of 8 bits."""
    rate: float = Field(1e-5, gt=0)
    """Learning rate."""
    betas: tuple[_Decay, _Decay] = (0.9, 0.999)
    """Decay of the first and the second moment; each at least 0, and less than 1."""
    epsilon: float = Field(1e-8, gt=0)
    """Added to the denominator."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay."""
    warmup: int = Field(500, ge=0)
    """Steps over which the rate rises from 0."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """The rate after that: kept, or lowered to a tenth by a half cosine until the last step."""
    clip_norm: float = Field(1.0, gt=0)
    """Gradients of a larger norm are scaled down to it, once a step."""
    ema: float = Field(0.9995, ge=0, lt=1)
    """Decay of the moving average of the weights, once a step; 0 keeps none. It starts lower:
    (1 + step) / (10 + step), while that is less."""


class EngineTable(Table):
    """``[engine]``: how DeepSpeed runs it; but for rounding, no result depends on it."""

    zero: Literal[0, 1, 2, 3] = 2
    """ZeRO stage: what the ranks share among them: 0 nothing, 1 optimizer states, 2 gradients too,
    3 weights too."""
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    """Number format of the forward and backward pass; the weights' master copy is always fp32."""
    micro_batch: int = Field(2, ge=1)
    """Samples that a rank holds at once. Where memory does not suffice it is halved, and
    accumulation doubled."""
    checkpointing: bool = True
    """Compute activations again in the backward pass: less memory, a third more arithmetic."""
    threads: int = Field(0, ge=0)
    """Threads of a rank on a processor; 0 shares the cores among the ranks of a machine."""


class RunTable(Table):
    """``[run]``: how long, how often, and from which random numbers."""

    steps: int = Field(30_000, ge=1)
    """Optimizer steps."""
    batch: int = Field(8, ge=1)
    """Samples an optimizer step, over all ranks."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Of every random number."""
    save_every: int = Field(1000, ge=1)
    """Steps from checkpoint to checkpoint; the last step is always saved."""
    keep: int = Field(2, ge=1)
    """Checkpoints that are kept."""
    validate_every: int = Field(1000, ge=1)
    """Steps from validation to validation; the start and the last step are always validated."""
    validate_clips: int = Field(8, ge=1)
    """Clips of the split `val` (or `test`, where that is empty) that are validated on."""
    preview_clips: int = Field(2, ge=0)
    """Clips of which each validation draws a video."""
    preview_steps: int = Field(25, ge=1)
    """Sampling steps of these."""


class SamplingTable(Table):
    """``[sampling]``: what `limelight relight` does with this model, unless told otherwise."""

    steps: int = Field(25, ge=1)
    """Sampling steps."""
    light: float = Field(4.5, ge=0)
    """Guidance by the light."""
    identity: float = Field(1.0, ge=0)
    """Guidance by the reference; at 1 a step costs two passes of the network, else three."""
    sigma_max: float = Field(700.0, gt=0)
    """Noise level that sampling starts from."""
    sigma_min: float = Field(0.002, gt=0)
    """Last noise level before 0."""
    window: int = Field(16, ge=2)
    """Frames that go through the network at once, the reference's slot among them."""
    overlap: int = Field(6, ge=1)
    """Slots that neighbouring windows share, the reference's among them."""
    detail: Detail = "generated"
    """Whose pixels a relit portrait is made of; `original` where the film itself is relit."""

    @model_validator(mode="after")
    def _check(self) -> "SamplingTable":
        if not self.sigma_min < self.sigma_max:
            raise ValueError(
                f"sigma_min = {self.sigma_min:g} must be less than sigma_max = {self.sigma_max:g}"
            )
        return self


class Recipe(Table):
    """All that decides a training run but the release."""

    name: str = "lcvd"
    """Of the recipe."""
    model: ModelTable = ModelTable()
    data: DataTable = DataTable()
    diffusion: DiffusionTable = DiffusionTable()
    conditions: ConditionsTable = ConditionsTable()
    optimizer: OptimizerTable = OptimizerTable()
    engine: EngineTable = EngineTable()
    run: RunTable = RunTable()
    sampling: SamplingTable = SamplingTable()

    @model_validator(mode="after")
    def _check(self) -> "Recipe":
        asked = self.conditions.scheme == "branches" and self.conditions.posed > 0
        if asked and "landmarks" not in self.model.adapters:
            raise ValueError("conditions.posed needs landmarks among model.adapters")
        if (
            self.conditions.scheme == "branches"
            and not asked
            and "landmarks" in self.model.adapters
        ):
            raise ValueError(
                "model.adapters has landmarks, which conditions.posed = 0 never shows: set"
                " conditions.posed above 0, or leave landmarks out"
            )
        if self.run.batch % self.engine.micro_batch:
            raise ValueError(
                f"run.batch = {self.run.batch} is no multiple of engine.micro_batch ="
                f" {self.engine.micro_batch}"
            )
        if not self.sampling.overlap < self.sampling.window:
            raise ValueError(
                f"sampling.overlap = {self.sampling.overlap} must be less than sampling.window ="
                f" {self.sampling.window}"
            )
        return self
