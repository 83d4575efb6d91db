"""Throwing gradients away: those of a step that is not taken, or of a pass that died half way."""

from typing import Any

import torch


@torch.no_grad()
def discard_gradients(engine: Any, stage: int) -> None:
    """Leave DeepSpeed as it is before a step's first pass; nothing is communicated.

    A pass that died leaves gradients in buckets, hooks that wait, and at stage 3 parameters that
    are gathered and a half-written record of the modules' order.

    Args:
        engine: DeepSpeed's.
        stage: ZeRO stage that it runs.
    """
    optimizer = engine.optimizer
    engine.zero_grad()
    engine._unmanaged_backward_count = 0
    if stage == 0:
        return
    optimizer.zero_grad(set_to_none=True)
    hooks = optimizer._backward_hook_state
    hooks.reset_for_new_step()
    hooks.backward_active_depth = hooks.remaining_grad_acc_hooks = 0
    if hasattr(optimizer, "bf16_groups_flat"):
        return
    for bucket in optimizer.ipg_buckets.values():
        (bucket.clear_params if stage == 3 else bucket.clear)()
    reduced = optimizer.params_already_reduced
    for place in reduced if isinstance(reduced, dict) else range(len(reduced)):
        reduced[place] = False
    if stage == 3:
        optimizer.averaged_gradients = {}
        _forget_half_a_pass(optimizer)
        return
    optimizer.micro_step_id = -1
    optimizer.extra_large_param_to_reduce.clear()
    optimizer._release_ipg_buffers()
    for place in optimizer.averaged_gradients:
        optimizer.averaged_gradients[place] = None
    for place in optimizer.all_grad_tensors:
        optimizer.all_grad_tensors[place] = None


def _forget_half_a_pass(optimizer: Any) -> None:
    coordinator = optimizer.parameter_offload.get_param_coordinator()
    coordinator.release_backward_leftovers()
    # A record that ends in the middle would be taken for the whole order.
    if not coordinator.is_invalid_trace():
        coordinator._invalidate_trace()
    for param in optimizer.module.parameters():
        param.ds_active_sub_modules.clear()
    optimizer.parameter_offload.partition_all_parameters()
