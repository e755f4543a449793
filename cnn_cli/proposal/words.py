"""The findings and the choice in words, for the config's comments and for the terminal."""

from __future__ import annotations

from cnn_cli.errors import printable
from cnn_cli.proposal.choose import Choice
from cnn_cli.proposal.survey import Survey

BUSY = 0.6  # fraction of the cores' time; on an idle machine a training gets more


def head_lines(survey: Survey, choice: Choice, budget: float) -> list[str]:
    """Return what was found and chosen, one fact per line, for the beginning of the config."""
    return [
        f"Made by `cnn init` for {counts_text(survey)}.",
        f"{pictures_text(survey)}.",
        f"Measured here: {speed_text(choice)}.",
        f"{choice.epochs} epochs take about {time_text(choice.seconds)}; "
        f"the budget is {time_text(budget)}.",
        *(f"{note}." for note in notes(survey, choice, budget)),
    ]


def counts_text(survey: Survey) -> str:
    """`4 classes, 640 training images, 160 for validation`"""
    parts = [f"{survey.train_images:,} training images"]
    parts += [f"{survey.val_images:,} for validation"] if survey.val_images else []
    parts += [f"{survey.test:,} for testing"] if survey.test else []
    return f"{len(survey.classes)} classes, {', '.join(parts)}"


def balance_text(survey: Survey) -> str:
    """`12 (dog) to 400 (cat) per class`"""
    least, most = (
        f"{count:,} ({printable(survey.classes[survey.train.index(count)])})"
        for count in (min(survey.train), max(survey.train))
    )
    return f"{least} to {most} per class" if least != most else f"{min(survey.train):,} per class"


def pictures_text(survey: Survey) -> str:
    """`Grayscale images, 28×28 pixels (all of the 250 examined)`

    Sizes are height×width, as in the config; images that are not square are described in words.
    """
    size = f"{survey.width}×{survey.height} pixels"
    if survey.width != survey.height:
        size = f"{survey.width} pixels wide, {survey.height} high"
    which = "all" if survey.uniform else "median"
    return f"{kind_text(survey)}, {size} ({which} of the {survey.looked_at} examined)"


def kind_text(survey: Survey) -> str:
    """`Grayscale images`, `Color images of 16 bits`, `Images with 5 bands of real numbers`"""
    kinds = {1: "Grayscale images", 3: "Color images"}
    kind = kinds.get(survey.bands, f"Images with {survey.bands} bands")
    return kind + {8: "", 16: " of 16 bits", "float": " of real numbers"}[survey.depth]


def speed_text(choice: Choice) -> str:
    """`310 images/s in training, 900 in validation, 400 decoded, 800 augmented`"""
    speed = choice.speed
    return (
        f"{speed.training:,.0f} images/s in training, {speed.prediction:,.0f} in "
        f"validation, {speed.decoding:,.0f} decoded, {speed.augmenting:,.0f} augmented"
    )


def network_text(choice: Choice) -> str:
    """`residual, 128×128 pixels`"""
    height, width = choice.network.size
    size = f"{height}×{width} pixels"
    if choice.tuning is None:
        return f"{choice.network.kind}, {size}"
    layers = "last layer, then its upper layers" if choice.tuning.frozen else "last layer"
    return f"{choice.tuning.weights}, {size}, trained weights; training its {layers}"


def notes(survey: Survey, choice: Choice, budget: float) -> list[str]:
    """Return notes for the user, one per line."""
    found = []
    if not choice.fits:
        found.append(
            f"The budget of {time_text(budget)} is too short even for the fastest network; "
            f"the config has {choice.epochs} epochs, the fewest that make sense"
        )
    if choice.speed.cpu_fraction < BUSY:
        found.append(
            f"Other programs used {1 - choice.speed.cpu_fraction:.0%} of the CPU during the "
            "measurement; on an idle machine, run cnn init again for a larger proposal"
        )
    if survey.unreadable:
        found.append(
            f"{survey.unreadable} of the {survey.looked_at} images examined cannot be read; "
            "cnn data check lists them"
        )
    if survey.val is None:
        found.append(
            "There are too few images to hold some back; training will run without validation"
        )
    return found


def time_text(seconds: float) -> str:
    """`45s`, `4m30s`, `2h05m`"""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s" if rest else f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if minutes else f"{hours}h"
