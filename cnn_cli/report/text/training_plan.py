"""What a training would do, as text: `cnn train --dry-run`."""

from __future__ import annotations

from cnn_cli.errors import size_text
from cnn_cli.training.planning import TrainingPlan


def plan_lines(plan: TrainingPlan) -> list[str]:
    """Return the plan as text, one fact per line."""
    # Threads and memory are those of one process.
    each = "" if plan.processes == 1 else f" in each of {plan.processes} processes"
    return [
        f"run folder   {plan.run}",
        f"classes      {len(plan.classes)}: {', '.join(plan.classes)}",
        f"images       {plan.train_images:,} to train on, {plan.val_images:,} to validate on",
        f"parameters   {plan.parameters:,}",
        f"steps        {plan.epochs} epochs of {plan.steps_per_epoch:,}",
        f"threads      {plan.threads}{each}",
        f"backend      {plan.backend}",
        f"memory       about {size_text(plan.memory_bytes)}{each}, without cached images",
    ]
