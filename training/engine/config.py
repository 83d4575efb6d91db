"""From a recipe to DeepSpeed's configuration."""

from typing import Any

from infra.errors import UsageError
from training.recipe.tables import Recipe

BUCKET = 200_000_000
"""Elements that are reduced at once, at most. DeepSpeed holds a buffer of that size."""


def zero_stage(recipe: Recipe) -> int:
    """The ZeRO stage that runs for the one that a recipe asks for.

    In half precision stage 0 runs as stage 1, which computes the same. DeepSpeed 0.19.8's own way
    (``FP16_UnfusedOptimizer``) takes an optimizer step with zero gradients as it is built, so that
    weight decay changes the weights, and does not scale the loss of fp16.
    """
    asked = recipe.engine.zero
    return 1 if asked == 0 and recipe.engine.precision != "fp32" else asked


def share_of(recipe: Recipe, ranks: int) -> int:
    """Samples of a step that fall to each rank.

    Raises:
        UsageError: The batch cannot be shared evenly.
    """
    batch = recipe.run.batch
    if batch % ranks:
        allowed = [count for count in range(1, batch + 1) if batch % count == 0]
        raise UsageError(
            f"run.batch = {batch} cannot be shared evenly among {ranks} ranks",
            hint=f"use {', '.join(map(str, allowed))} ranks, or a batch that is a multiple",
        )
    return batch // ranks


def deepspeed_config(
    recipe: Recipe, *, ranks: int, accelerator: str, parameters: int
) -> dict[str, Any]:
    """DeepSpeed's configuration: a pure function.

    Accumulation is ours: ``backward`` only adds up, ``step`` is the boundary. Stages 0 and 1 so
    reduce nothing before ``step``, and the micro-batch may change from step to step.

    Args:
        recipe: What to train, and how.
        ranks: World size.
        accelerator: ``cpu`` or ``cuda``.
        parameters: Elements of the model, which bound the buffers.

    Raises:
        UsageError: This accelerator cannot do it, or the batch cannot be shared.
    """
    engine, stage = recipe.engine, zero_stage(recipe)
    if engine.precision == "fp16" and accelerator == "cpu":
        raise UsageError(
            'engine.precision = "fp16" needs a GPU', hint='use "bf16" or "fp32" on a processor'
        )
    bucket = min(BUCKET, parameters + parameters % 2)
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": max(1, min(engine.micro_batch, share_of(recipe, ranks))),
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        # At stage 0 the engine clips, since DeepSpeed would not tell the norm.
        "gradient_clipping": recipe.optimizer.clip_norm if stage else 0.0,
        "steps_per_print": None,
        # bitsandbytes' optimizers: elementwise but for their blocks, hence fit for flat partitions.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {
            "stage": stage,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
            "contiguous_gradients": True,
            "overlap_comm": stage >= 2 and accelerator == "cuda" and ranks > 1,
            "round_robin_gradients": False,
        },
    }
    if engine.precision != "fp32":
        config[engine.precision] = {"enabled": True}
        # Micro-batches add up in fp32: else their number would change the result.
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    return config
